#!/usr/bin/env bash
# Two npm libraries for Web Push turn a TTL of 0 into another one.
#
# In RFC 8030 (5.2) a TTL of 0 is a value of its own: now or never, for a call that rings or a code that is typed at once. Asked
# for 0, @block65/webcrypto-web-push 2.0.0 writes a TTL of 60 seconds, @pushforge/builder 2.0.5 one of 86,400 (a day);
# web-push 3.6.7 writes 0. The first two take 0 for "not given". Who needs "now or never" must look at the request that is
# written, and a push service sees such requests with times nobody meant.
#
# Needs Node.js 20 or newer and npm. Nothing is sent.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
npm init -y >/dev/null
npm install --silent --no-fund --no-audit --ignore-scripts @block65/webcrypto-web-push@2.0.0 @pushforge/builder@2.0.5 web-push@3.6.7
cat >try.mjs <<'JS'
import crypto from 'node:crypto';
import webpush from 'web-push';
import { buildPushPayload } from '@block65/webcrypto-web-push';
import { buildPushHTTPRequest } from '@pushforge/builder';

const receiver = crypto.createECDH('prime256v1');
const subscription = {
  endpoint: 'https://push.example.com/send/1', expirationTime: null,
  keys: { p256dh: receiver.generateKeys('base64url'), auth: crypto.randomBytes(16).toString('base64url') },
};
const subject = 'mailto:admin@example.com';
const vapid = webpush.generateVAPIDKeys();
const header = (headers, name) => new Headers(headers).get(name);

for (const ttl of [0, 1]) {
  const one = await buildPushPayload({ data: 'hello', options: { ttl } }, subscription, { subject, ...vapid });
  console.log(`@block65/webcrypto-web-push: asked for ${ttl}, wrote ${header(one.headers, 'ttl')}`);

  const point = Buffer.from(vapid.publicKey, 'base64url');
  const part = (from, to) => point.subarray(from, to).toString('base64url');
  const privateJWK = { kty: 'EC', crv: 'P-256', x: part(1, 33), y: part(33, 65), d: vapid.privateKey };
  const two = await buildPushHTTPRequest({
    privateJWK, subscription, message: { payload: { title: 'hello' }, adminContact: subject, options: { ttl } },
  });
  console.log(`@pushforge/builder: asked for ${ttl}, wrote ${header(two.headers, 'ttl')}`);

  const three = webpush.generateRequestDetails(subscription, 'hello', { TTL: ttl, vapidDetails: { subject, ...vapid } });
  console.log(`web-push: asked for ${ttl}, wrote ${header(three.headers, 'ttl')}`);
}
JS
node try.mjs | tee seen
diff seen - <<'EXPECTED'
@block65/webcrypto-web-push: asked for 0, wrote 60
@pushforge/builder: asked for 0, wrote 86400
web-push: asked for 0, wrote 0
@block65/webcrypto-web-push: asked for 1, wrote 1
@pushforge/builder: asked for 1, wrote 1
web-push: asked for 1, wrote 1
EXPECTED
