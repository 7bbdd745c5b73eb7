"""Sends one notification through the relay.

    pip install standardwebhooks
    RELAY_URL=http://localhost:8066 WEBHOOK_SECRET=whsec_… SERVER=my-server TARGET=my-app DEVICE=… python notify.py

Prints what became of each device; fails unless all were reached or wait at the relay, which then goes on trying.
"""

import json
import os
import sys
import urllib.error
import urllib.request
import uuid
from datetime import datetime, timezone

from standardwebhooks.webhooks import Webhook

devices = [os.environ["DEVICE"]]
body = json.dumps({
    "target": os.environ["TARGET"],
    "devices": devices,
    "kind": "alert",
    "title": "Town Square",
    "body": "Hello from Python 🐍",
    "sound": "default",
    "data": {"channel": "town-square"},
    "ttl_s": 3600,
})

# Another attempt at the same message keeps the id and takes a new time.
message_id, now = f"msg_{uuid.uuid4().hex}", datetime.now(timezone.utc)
request = urllib.request.Request(
    os.environ["RELAY_URL"] + "/v1/notifications",
    data=body.encode(),  # exactly what is signed
    headers={
        "content-type": "application/json",
        "pushrelay-server": os.environ["SERVER"],
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(os.environ["WEBHOOK_SECRET"]).sign(message_id, now, body),
    },
)

try:
    with urllib.request.urlopen(request, timeout=40) as response:
        answer = json.load(response)
except urllib.error.HTTPError as error:
    # The body says what is wrong and where; `code` is for programs, `retry-after` for 429 and 503.
    sys.exit(f"HTTP {error.code}: {error.read().decode()}")

for result in answer["results"]:
    match result["status"]:
        case "delivered":
            print(f"device {result['device']} was reached")
        case "queued":
            print(f"device {result['device']}: the relay has it and goes on trying; do not send it again")
        case "unregistered":
            print(f"device {result['device']} is gone: forget its token")
        case other:
            print(f"device {result['device']}: {other}, {result.get('message')}")
sys.exit(0 if answer["counts"]["delivered"] + answer["counts"]["queued"] == len(devices) else 1)
