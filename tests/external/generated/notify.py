"""Sends one message with the client that openapi-python-client made, and signs it as Standard Webhooks says."""

import os
import sys
import time
import uuid

import httpx
from push_relay_api_client import Client
from push_relay_api_client.api.programs import notify
from push_relay_api_client.models import Message, MessageKind, Results
from standardwebhooks.webhooks import Webhook

from datetime import datetime, timezone


def sign(request: httpx.Request) -> None:
    id, now = f"msg_{uuid.uuid4()}", int(time.time())
    signature = Webhook(os.environ["WEBHOOK_SECRET"]).sign(id, datetime.fromtimestamp(now, timezone.utc), request.content.decode())
    request.headers.update({"webhook-id": id, "webhook-timestamp": str(now), "webhook-signature": signature})


client = Client(base_url=os.environ["RELAY_URL"], httpx_args={"event_hooks": {"request": [sign]}})
message = Message(target=os.environ["TARGET"], devices=[os.environ["DEVICE"]], kind=MessageKind.ALERT, title="Generated", body="Hello")
answer = notify.sync(client=client, body=message, pushrelay_server=os.environ["SERVER"])
if not isinstance(answer, Results) or answer.results[0].status not in ("delivered", "queued"):
    sys.exit(f"not delivered: {answer}")
