// Sends one notification through the relay. Node 18 or newer.
//
//   npm install standardwebhooks typescript @types/node     in this file's directory
//   npx tsc --target es2022 --module nodenext --strict --skipLibCheck notify.ts
//   RELAY_URL=http://localhost:8066 WEBHOOK_SECRET=whsec_… SERVER=my-server TARGET=my-app DEVICE=… node notify.js
//
// Prints what became of each device; fails unless all were reached or wait at the relay, which then goes on trying.

import { randomUUID } from "node:crypto";
import { Webhook } from "standardwebhooks";

interface Message {
  target: string;
  devices: string[];
  kind: "alert" | "background" | "voip";
  title?: string;
  body?: string;
  sound?: string;
  data?: Record<string, string>;
  ttl_s?: number;
}

interface Answer {
  results: { device: number; status: string; reason?: string; message?: string }[];
}

function setting(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set`);
  return value;
}

async function send(message: Message): Promise<Answer> {
  const body = JSON.stringify(message);
  // Another attempt at the same message keeps the id and takes a new time.
  const id = `msg_${randomUUID()}`;
  const now = new Date();
  const response = await fetch(`${setting("RELAY_URL")}/v1/notifications`, {
    method: "POST",
    headers: {
      "content-type": "application/json",
      "pushrelay-server": setting("SERVER"),
      "webhook-id": id,
      "webhook-timestamp": String(Math.floor(now.getTime() / 1000)),
      "webhook-signature": new Webhook(setting("WEBHOOK_SECRET")).sign(id, now, body),
    },
    body, // exactly what is signed
    signal: AbortSignal.timeout(40_000),
  });
  // The body says what is wrong and where; `code` is for programs, `retry-after` for 429 and 503.
  if (!response.ok) throw new Error(`HTTP ${response.status}: ${await response.text()}`);
  return (await response.json()) as Answer;
}

async function main(): Promise<void> {
  const { results } = await send({
    target: setting("TARGET"),
    devices: [setting("DEVICE")],
    kind: "alert",
    title: "Town Square",
    body: "Hello from TypeScript",
    sound: "default",
    data: { channel: "town-square" },
    ttl_s: 3600,
  });
  let missed = 0;
  for (const { device, status, message } of results) {
    if (status === "delivered") console.log(`device ${device} was reached`);
    else if (status === "queued") console.log(`device ${device}: the relay has it and goes on trying; do not send it again`);
    else {
      missed += 1;
      console.log(status === "unregistered" ? `device ${device} is gone: forget its token` : `device ${device}: ${status}, ${message}`);
    }
  }
  process.exitCode = missed === 0 ? 0 : 1;
}

main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
});
