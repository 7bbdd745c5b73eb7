#!/usr/bin/env bash
# The Standard Webhooks project's own libraries verify no Ed25519 signature, which its specification describes.
#
# The specification has two forms: `v1`, HMAC-SHA256 with a shared secret (`whsec_`), and `v1a`, Ed25519 with a public key
# (`whpk_`). The libraries for Python (standardwebhooks 1.1.0) and JavaScript (standardwebhooks 1.1.1) take the first and have
# no way to give them a key for the second: a request signed as `v1a` is turned away, and one that carries both forms passes by
# its `v1`. So a sender that signs with Ed25519 alone is understood by none of them, and a receiver that offers public keys
# cannot point its senders to these libraries.
#
# Needs Python 3.9 or newer with venv, Node.js 20 or newer, npm and openssl. Nothing is sent.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check standardwebhooks==1.1.0
npm init -y >/dev/null
npm install --silent --no-fund --no-audit --ignore-scripts standardwebhooks@1.1.1
cat >sign.cjs <<'JS'
// Four requests: by the shared secret, by the private key (for a verifier with either key), and by both.
const crypto = require('node:crypto'), fs = require('node:fs');
const secret = crypto.randomBytes(32);
const { publicKey, privateKey } = crypto.generateKeyPairSync('ed25519');
const raw = publicKey.export({ format: 'der', type: 'spki' }).subarray(-32);
const id = 'msg_1', timestamp = String(Math.floor(Date.now() / 1000)), body = '{"hello":"world"}';
const content = Buffer.from(`${id}.${timestamp}.${body}`);
const v1 = `v1,${crypto.createHmac('sha256', secret).update(content).digest('base64')}`;
const v1a = `v1a,${crypto.sign(null, content, privateKey).toString('base64')}`;
if (!crypto.verify(null, content, publicKey, Buffer.from(v1a.slice(4), 'base64'))) throw new Error('the signature is wrong');
const whsec = `whsec_${secret.toString('base64')}`, whpk = `whpk_${raw.toString('base64')}`;
const one = (name, key, signature) =>
  ({ name, key, body, headers: { 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': signature } });
fs.writeFileSync('requests.json', JSON.stringify([
  one('v1 with whsec', whsec, v1), one('v1a with whpk', whpk, v1a), one('v1a with whsec', whsec, v1a), one('both with whsec', whsec, `${v1a} ${v1}`),
]));
JS
node sign.cjs
cat >verify.py <<'PY'
import json
from standardwebhooks.webhooks import Webhook
for request in json.load(open("requests.json")):
    try:
        Webhook(request["key"]).verify(request["body"], request["headers"])
        said = "taken"
    except Exception:
        said = "refused"
    print("Python,", request["name"] + ":", said)
PY
cat >verify.cjs <<'JS'
const { Webhook } = require('standardwebhooks');
for (const { name, key, body, headers } of require('./requests.json')) {
  let said = 'refused';
  try { new Webhook(key).verify(body, headers); said = 'taken'; } catch { /* refused */ }
  console.log(`JavaScript, ${name}: ${said}`);
}
JS
{ venv/bin/python verify.py; node verify.cjs; } | tee seen
diff seen - <<'EXPECTED'
Python, v1 with whsec: taken
Python, v1a with whpk: refused
Python, v1a with whsec: refused
Python, both with whsec: taken
JavaScript, v1 with whsec: taken
JavaScript, v1a with whpk: refused
JavaScript, v1a with whsec: refused
JavaScript, both with whsec: taken
EXPECTED
