"""What the fuzzer sends, made to go deeper than made-up ids and signatures would.

Of the bodies that schemathesis makes up, most are turned, each in a way that only its own content decides, into
pushes that name a configured target and a registered server, that ask the simulator for one of its outcomes, and that
are signed as they should be: in the body as Mattermost does, or as a whole (Standard Webhooks). Every device token gets
a mark that the relay's log is searched for afterwards.

The environment says where: FUZZ_KEY (the registered server's private key, PEM), FUZZ_SECRET (the registered program's
secret, a file with whsec_...) and FUZZ_TALLY (where to write how often each answer came).
"""

import atexit
import base64
import collections
import hashlib
import hmac
import json
import os
import subprocess
import time

import schemathesis

# In every device token. Hexadecimal, since Apple's are.
MARK = "cafef00dfeedbeef"

SERVER = "demo-server"

# It signs as a whole.
PROGRAM = "program-webhook"
# The same key, and only one target.
LIMITED = "program-limited"

SEND_PUSH, NOTIFICATIONS = "/api/v1/send_push", "/v1/notifications"

with open(os.environ["FUZZ_SECRET"], encoding="ascii") as file:
    SECRET = base64.b64decode(file.read().strip().removeprefix("whsec_"))

# Outcomes that the simulator ties to the beginnings of device tokens (docs/simulator.md). None that only waits.
APPLE = ["", "", "", "", "dead0410", "dead0400", "dead3400", "dead8400", "dead0413", "dead0429", "dead0503", "dead0003"]
# A lost connection costs pauses before the next one, so a few of these are enough.
LOST = "dead0003"
GOOGLE = ["", "", "", "", "fcm-unregistered-", "fcm-invalid-argument-", "fcm-internal-", "fcm-reset-stream-"]

tally = collections.Counter()


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def es256(text: bytes) -> bytes:
    """r and s, 32 bytes each, out of the DER that openssl writes."""
    command = ["openssl", "dgst", "-sha256", "-sign", os.environ["FUZZ_KEY"]]
    der = subprocess.run(command, input=text, stdout=subprocess.PIPE, check=True).stdout
    r_length = der[3]
    r, s = der[4 : 4 + r_length], der[6 + r_length :]
    return b"".join(int.from_bytes(number, "big").to_bytes(32, "big") for number in (r, s))


def signature(ack_id: str, device: str) -> str:
    parts = ({"alg": "ES256", "typ": "JWT"}, {"ack_id": ack_id, "device_id": device})
    signed = ".".join(base64url(json.dumps(part).encode()) for part in parts)
    return signed + "." + base64url(es256(signed.encode()))


def digest_of(body) -> bytes:
    """What decides about a body: its own content, so that the same body always becomes the same request."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).digest()


def token(apple: bool, digest: bytes) -> str:
    """A device token that asks for an outcome."""
    if apple:
        outcome = APPLE[digest[2] % len(APPLE)]
        if outcome == LOST and digest[11] % 4:
            outcome = ""
        return (outcome + MARK + digest.hex())[:64]
    return GOOGLE[digest[2] % len(GOOGLE)] + MARK + digest.hex()


def deepen(body: dict) -> dict:
    """The same push, nearer to one that is sent."""
    device = body.get("device_id")
    if not isinstance(device, str) or not device:
        return body
    digest = digest_of(body)
    body = dict(body)
    if digest[0] % 8 == 0:
        body["device_id"] = MARK + device
        return body
    apple = digest[1] % 2 == 0
    body["device_id"] = token(apple, digest)
    body["platform"] = ("apple_rn" if apple else "android_rn") + ["-v2", "", "-v1", "-vx"][digest[3] % 4]
    body["server_id"] = SERVER
    if digest[4] % 8 == 0:
        body["type"], body["signature"] = "test", ""
    elif digest[4] % 8 < 6:
        ack_id = body.get("ack_id")
        if ack_id is None or isinstance(ack_id, str):
            body["signature"] = signature(ack_id or "", body["device_id"])
    if digest[5] % 2 == 0 and isinstance(body.get("type"), (str, type(None))):
        body["type"] = ["message", "clear", "update_badge", "session"][digest[5] // 2 % 4]
    if digest[6] % 4 == 0:
        # To be signed as a whole.
        body["server_id"], body["signature"] = PROGRAM, ""
    return body


def deepen_message(body: dict) -> dict:
    """The same message to many devices, nearer to one that is sent."""
    devices = body.get("devices")
    if not isinstance(devices, list):
        return body
    digest = digest_of(body)
    apple = digest[1] % 2 == 0
    body = dict(body)
    if digest[0] % 8 == 0 or not all(isinstance(device, str) for device in devices):
        body["devices"] = [MARK + device if isinstance(device, str) and device else device for device in devices]
        return body
    # Some more than once.
    body["devices"] = [token(apple, digest_of([body, place % 3])) for place in range(1 + digest[2] % 5)]
    body["target"] = "apple_rn" if apple else "android_rn"
    if digest[3] % 4 == 0:
        # As far as it goes, whatever was made up about the rest.
        body = {name: body[name] for name in ("target", "devices", "id", "data", "ttl_s", "priority") if name in body}
        body["kind"] = ["alert", "background", "voip"][digest[4] % 3]
        if body["kind"] == "alert":
            body["title"] = "t"
    return body


class AsAWhole:
    """Signs a request when its bytes are known; a few of them wrongly."""

    def __init__(self, digest: bytes):
        self.digest = digest

    def __call__(self, request):
        body = request.body or b""
        if isinstance(body, str):
            body = body.encode()
        way = self.digest[8] % 32
        if way == 0:
            # Whatever the fuzzer made up.
            return request
        name = f"msg_{self.digest.hex()}"
        seconds = str(int(time.time()) - (301 if way == 1 else 0))
        signed = f"{name}.{seconds}.".encode() + body + (b" " if way == 2 else b"")
        tag = base64.b64encode(hmac.new(SECRET, signed, hashlib.sha256).digest()).decode()
        server = {3: "stranger", 4: SERVER, 5: LIMITED, 6: LIMITED}.get(way, PROGRAM)
        request.headers.update({
            "pushrelay-server": server,
            "webhook-id": name,
            "webhook-timestamp": seconds,
            "webhook-signature": f"v1,{tag}",
        })
        if way == 7:
            del request.headers[["pushrelay-server", "webhook-id", "webhook-timestamp"][self.digest[9] % 3]]
        return request


class NotAsAWhole:
    """Takes off what the fuzzer made up: as Mattermost sends it."""

    def __call__(self, request):
        for name in ("pushrelay-server", "webhook-id", "webhook-timestamp", "webhook-signature"):
            request.headers.pop(name, None)
        return request


@schemathesis.hook
def before_call(context, case, kwargs):
    if case.method != "POST" or case.path not in (SEND_PUSH, NOTIFICATIONS):
        return
    if isinstance(case.body, dict):
        case.body = deepen(case.body) if case.path == SEND_PUSH else deepen_message(case.body)
    try:
        digest = digest_of(case.body)
    except TypeError:
        # No JSON.
        digest = hashlib.sha256(repr(case.body).encode()).digest()
    if case.path == NOTIFICATIONS or isinstance(case.body, dict) and case.body.get("server_id") == PROGRAM:
        kwargs["auth"] = AsAWhole(digest)
    elif digest[7] % 8:
        kwargs["auth"] = NotAsAWhole()


def answer_of(content: bytes) -> str:
    try:
        answer = json.loads(content)
        if results := answer.get("results"):
            return "+".join(sorted({result["status"] for result in results}))
        return answer["status"] if "status" in answer else answer["error"]["code"]
    except (ValueError, KeyError, TypeError, AttributeError):
        return "-"


@schemathesis.hook
def after_call(context, case, response):
    tally[f"{case.path} {response.status_code} {answer_of(response.content)}"] += 1


@atexit.register
def write_tally():
    with open(os.environ["FUZZ_TALLY"], "w", encoding="utf-8") as file:
        for answer, count in sorted(tally.items()):
            print(count, answer, file=file)
