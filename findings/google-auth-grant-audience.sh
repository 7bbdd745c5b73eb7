#!/usr/bin/env bash
# google-auth 2.63.0 for Python signs Google's public address as the audience of a grant, whatever the key file's token_uri says.
#
# A service account's key file names where tokens are had (`token_uri`). The library posts its assertion there, but the claim
# `aud` in it is always https://oauth2.googleapis.com/token. golang.org/x/oauth2 v0.34.0 signs the address that it posts to.
# So a stand-in for Google's token service, or a gateway before it, that holds `aud` against its own address turns away every
# sender that is written in Python; it has to take Google's address as well.
#
# Needs Python 3.9 or newer with venv, Go 1.24 or newer and openssl. Uses loopback only.
set -euo pipefail
work=$(mktemp -d); trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check google-auth==2.63.0 requests==2.34.2
openssl genrsa 2048 >key.pem 2>/dev/null
cat >asks.go <<'GO'
package main

import (
	"context"
	"os"

	"golang.org/x/oauth2/google"
)

func main() {
	file, err := os.ReadFile("account.json")
	if err != nil {
		panic(err)
	}
	config, err := google.JWTConfigFromJSON(file, "https://www.googleapis.com/auth/firebase.messaging")
	if err != nil {
		panic(err)
	}
	if _, err := config.TokenSource(context.Background()).Token(); err != nil {
		panic(err)
	}
}
GO
export GOPATH="$work/go" GOFLAGS=-mod=mod
go mod init example.com/asks >/dev/null 2>&1
go get golang.org/x/oauth2@v0.34.0 >/dev/null 2>&1
go build -o asks asks.go
cat >try.py <<'PY'
import base64, http.server, json, subprocess, threading, urllib.parse
import google.auth.transport.requests
from google.oauth2 import service_account

audiences = []

class TokenService(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        form = urllib.parse.parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
        claims = form["assertion"][0].split(".")[1]
        audiences.append(json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["aud"])
        body = json.dumps({"access_token": "t", "token_type": "Bearer", "expires_in": 3600}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

service = http.server.ThreadingHTTPServer(("127.0.0.1", 0), TokenService)
threading.Thread(target=service.serve_forever, daemon=True).start()
address = f"http://127.0.0.1:{service.server_port}/token"
account = {
    "type": "service_account", "project_id": "example", "private_key_id": "1", "private_key": open("key.pem").read(),
    "client_email": "sender@example.iam.gserviceaccount.com", "client_id": "1", "token_uri": address,
}
json.dump(account, open("account.json", "w"))
scopes = ["https://www.googleapis.com/auth/firebase.messaging"]
credentials = service_account.Credentials.from_service_account_info(account, scopes=scopes)
credentials.refresh(google.auth.transport.requests.Request())
subprocess.run(["./asks"], check=True, env={"PATH": "/usr/bin:/bin"})
python, go = ("the address it posts to" if aud == address else aud for aud in audiences)
print("google-auth for Python signs", python)
print("golang.org/x/oauth2 signs", go)
PY
venv/bin/python try.py | tee seen
diff seen - <<'EXPECTED'
google-auth for Python signs https://oauth2.googleapis.com/token
golang.org/x/oauth2 signs the address it posts to
EXPECTED
