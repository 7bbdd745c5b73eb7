// Sends one notification through the relay. Node 18 or newer.
//
//   npm install standardwebhooks     in this file's directory: Node looks for node_modules beside the file, not where you are
//   RELAY_URL=http://localhost:8066 WEBHOOK_SECRET=whsec_… SERVER=my-server TARGET=my-app DEVICE=… node notify.mjs
//
// Prints what became of each device; fails unless all were reached or wait at the relay, which then goes on trying.

import { randomUUID } from "node:crypto";
import process from "node:process";
import { Webhook } from "standardwebhooks";

const { RELAY_URL, WEBHOOK_SECRET, SERVER, TARGET, DEVICE } = process.env;

const devices = [DEVICE];
const body = JSON.stringify({
  target: TARGET,
  devices,
  kind: "alert",
  title: "Town Square",
  body: "Hello from JavaScript ☕",
  sound: "default",
  data: { channel: "town-square" },
  ttl_s: 3600,
});

// Another attempt at the same message keeps the id and takes a new time.
const id = `msg_${randomUUID()}`;
const now = new Date();
const response = await fetch(`${RELAY_URL}/v1/notifications`, {
  method: "POST",
  headers: {
    "content-type": "application/json",
    "pushrelay-server": SERVER,
    "webhook-id": id,
    "webhook-timestamp": String(Math.floor(now.getTime() / 1000)),
    "webhook-signature": new Webhook(WEBHOOK_SECRET).sign(id, now, body),
  },
  body, // exactly what is signed
  signal: AbortSignal.timeout(40_000),
});

if (!response.ok) {
  // The body says what is wrong and where; `code` is for programs, `retry-after` for 429 and 503.
  console.error(`HTTP ${response.status}: ${await response.text()}`);
  process.exit(1);
}

const { results, counts } = await response.json();
for (const { device, status, message } of results) {
  if (status === "delivered") console.log(`device ${device} was reached`);
  else if (status === "queued") console.log(`device ${device}: the relay has it and goes on trying; do not send it again`);
  else if (status === "unregistered") console.log(`device ${device} is gone: forget its token`);
  else console.log(`device ${device}: ${status}, ${message}`);
}
process.exit(counts.delivered + counts.queued === devices.length ? 0 : 1);
