#!/usr/bin/env bash
# npm @parse/node-apn 8.1.0 tells every push as failed that was open when a server began an orderly close.
#
# HTTP/2 lets a server say in two steps that it will close (RFC 9113, 6.8): a GOAWAY with the highest stream number first ("no
# new streams, all of yours are being served"), the answers, then the real last number. A server here does so while ten pushes
# are open, and answers each with 200 after the first step. Node's own HTTP/2 client on the same server hears ten answers;
# node-apn hears none: "stream ended unexpectedly with status null and empty body". Who sends again on that word wakes ten
# phones twice. What a sender must do instead: after GOAWAY open no stream, and wait for those with a number up to the last.
#
# Needs Node.js 20 or newer, npm and openssl. Uses loopback only.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
npm init -y >/dev/null
npm install --silent --no-fund --no-audit --ignore-scripts @parse/node-apn@8.1.0
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout tls.key -out tls.pem -days 2 \
  -subj /CN=localhost -addext subjectAltName=DNS:localhost 2>/dev/null
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out provider.p8
cat >try.cjs <<'JS'
const fs = require('node:fs'), http2 = require('node:http2'), apn = require('@parse/node-apn');
const COUNT = 10;
const tokens = Array.from({ length: COUNT }, (_, n) => String(n).repeat(64));
const ca = fs.readFileSync('tls.pem');

/** Holds COUNT requests, then answers all with 200; before that says GOAWAY in its first form, after that in its second. */
function serve(orderly) {
  const seen = { requests: 0 };
  const server = http2.createSecureServer({ key: fs.readFileSync('tls.key'), cert: ca });
  let held = [];
  server.on('session', (session) => session.on('error', () => {}));
  server.on('stream', (stream) => {
    seen.requests += 1;
    stream.on('error', () => {});
    stream.resume();
    stream.on('end', () => {
      held.push(stream);
      if (held.length < COUNT) return;
      const all = held, session = stream.session;
      held = [];
      if (orderly) session.goaway(0, 2 ** 31 - 1);
      setTimeout(() => {
        for (const one of all) one.respond({ ':status': 200, 'apns-id': '00000000-0000-4000-8000-000000000000' }, { endStream: true });
        if (orderly) setTimeout(() => { if (!session.destroyed) { session.goaway(0, all[COUNT - 1].id); session.close(); } }, 100);
      }, 300);
    });
  });
  return new Promise((done) => server.listen(0, '127.0.0.1', () => done({ server, seen, port: server.address().port })));
}

async function byNodeApn(orderly) {
  const { seen, port } = await serve(orderly);
  const provider = new apn.Provider({
    token: { key: fs.readFileSync('provider.p8'), keyId: 'ABC123DEFG', teamId: 'DEF123GHIJ' }, address: 'localhost', port, ca,
  });
  const note = new apn.Notification({ alert: 'hello', topic: 'com.example.chat' });
  const { sent, failed } = await provider.send(note, tokens);
  const word = failed.length ? String(failed[0].error) : '';
  return `requests=${seen.requests} sent=${sent.length} failed=${failed.length}${word && ` (${word})`}`;
}

async function byNode(orderly) {
  const { seen, port } = await serve(orderly);
  const client = http2.connect(`https://localhost:${port}`, { ca });
  const answers = await Promise.all(tokens.map((token) => new Promise((done) => {
    const request = client.request({ ':method': 'POST', ':path': `/3/device/${token}` });
    let status = 0;
    request.on('response', (headers) => { status = headers[':status']; });
    request.on('error', () => {});
    request.on('close', () => done(status));
    request.resume();
    request.end('{}');
  })));
  return `requests=${seen.requests} answered=${answers.filter((status) => status === 200).length}`;
}

(async () => {
  console.log('node:http2, orderly close:', await byNode(true));
  console.log('node-apn, no close:', await byNodeApn(false));
  console.log('node-apn, orderly close:', await byNodeApn(true));
  process.exit(0);
})();
JS
timeout 60 node try.cjs | tee seen
diff seen - <<'EXPECTED'
node:http2, orderly close: requests=10 answered=10
node-apn, no close: requests=10 sent=10 failed=0
node-apn, orderly close: requests=10 sent=0 failed=10 (VError: stream ended unexpectedly with status null and empty body)
EXPECTED
