#!/usr/bin/env bash
# PyPI aioapns 4.0 sends pushes that a server has taken a second time, in two cases in which nothing went wrong.
#
# 1. The server begins an orderly close: GOAWAY with the highest stream number, then the answers (RFC 9113, 6.8). aioapns closes
#    the connection at the first step and sends all that was open anew on another: ten pushes, twenty requests.
# 2. The answer takes longer than ten seconds. Its timer for idle connections runs while pushes are open: the connection is closed
#    under them and they are sent anew. One push, answered after 11 s the first time and at once the second: two requests.
#
# Both times it tells success, so that only the server's own count shows it. Each request carries the same apns-id. Who counts
# what clients send must count pushes, not requests; who sends must wait for what is open after a GOAWAY.
#
# Needs Python 3.9 or newer with venv, Node.js 20 or newer and openssl. Uses loopback only. Takes some 15 seconds.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check aioapns==4.0 h2==4.4.1
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout tls.key -out tls.pem -days 2 \
  -subj /CN=localhost -addext subjectAltName=DNS:localhost 2>/dev/null
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out provider.p8
cat >server.cjs <<'JS'
// `close`: ten requests are held, then an orderly close, then their answers. `slow`: the first answer takes 11 s.
const fs = require('node:fs'), http2 = require('node:http2');
const how = process.argv[2];
const ids = [];
let held = [];
const server = http2.createSecureServer({ key: fs.readFileSync('tls.key'), cert: fs.readFileSync('tls.pem') });
const answer = (stream, id) => { if (!stream.destroyed) stream.respond({ ':status': 200, 'apns-id': id }, { endStream: true }); };
server.on('session', (session) => session.on('error', () => {}));
server.on('stream', (stream, headers) => {
  const id = headers['apns-id'];
  ids.push(id);
  stream.on('error', () => {});
  stream.resume();
  if (how === 'slow') return void setTimeout(answer, ids.length === 1 ? 11_000 : 0, stream, id);
  if (ids.length > 10) return answer(stream, id);
  held.push([stream, id]);
  if (held.length === 10) {
    stream.session.goaway(0, 2 ** 31 - 1);
    setTimeout(() => held.forEach(([one, its]) => answer(one, its)), 300);
  }
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
process.stdin.resume().on('end', () => { console.log(ids.length, new Set(ids).size); process.exit(0); });
JS
cat >try.py <<'PY'
import asyncio, logging, ssl, subprocess, sys
from aioapns import APNs, NotificationRequest
from aioapns.connection import APNsDevelopmentClientProtocol

logging.disable(logging.CRITICAL)

async def run(how, count):
    server = subprocess.Popen(["node", "server.cjs", how], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    APNsDevelopmentClientProtocol.APNS_SERVER = "localhost"
    APNsDevelopmentClientProtocol.APNS_PORT = int(server.stdout.readline())
    client = APNs(key=open("provider.p8").read(), key_id="ABC123DEFG", team_id="DEF123GHIJ", topic="com.example.chat", use_sandbox=True)
    # Its own context names no protocol (ALPN), and Node's server closes such connections.
    client.pool.ssl_context = ssl.create_default_context(cafile="tls.pem")
    client.pool.ssl_context.set_alpn_protocols(["h2"])
    pushes = [NotificationRequest(device_token=str(n) * 64, message={"aps": {"alert": "hello"}}) for n in range(count)]
    results = await asyncio.gather(*(client.send_notification(push) for push in pushes))
    out, _ = server.communicate()
    requests, ids = out.split()
    print(f"{how}: pushes={count} told as sent={sum(r.is_successful for r in results)} requests={requests} apns-ids={ids}")

asyncio.run(run("close", 10))
asyncio.run(run("slow", 1))
PY
timeout 60 venv/bin/python -W ignore try.py | tee seen
diff seen - <<'EXPECTED'
close: pushes=10 told as sent=10 requests=20 apns-ids=10
slow: pushes=1 told as sent=1 requests=2 apns-ids=1
EXPECTED
