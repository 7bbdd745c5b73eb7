"""What the fuzzer sends, made to go deeper than made-up ids and signatures would.

Of the bodies that schemathesis makes up, most are turned, each in a way that only its own content decides, into
pushes that name a configured target and a registered server, that ask the simulator for one of its outcomes, and that
are signed as they should be. Every device token gets a mark that the relay's log is searched for afterwards.

The environment says where: FUZZ_KEY (the registered server's private key, PEM) and FUZZ_TALLY (where to write how often
each answer came).
"""

import atexit
import base64
import collections
import hashlib
import json
import os
import subprocess

import schemathesis

# In every device token. Hexadecimal, since Apple's are.
MARK = "cafef00dfeedbeef"

SERVER = "demo-server"

# Outcomes that the simulator ties to the beginnings of device tokens (docs/simulator.md). None that only waits.
APPLE = ["", "", "", "", "dead0410", "dead0400", "dead3400", "dead8400", "dead0413", "dead0429", "dead0503", "dead0003"]
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


def deepen(body: dict) -> dict:
    """The same push, nearer to one that is sent."""
    device = body.get("device_id")
    if not isinstance(device, str) or not device:
        return body
    # Of the content itself: the same body always becomes the same push.
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).digest()
    body = dict(body)
    if digest[0] % 8 == 0:
        body["device_id"] = MARK + device
        return body
    apple = digest[1] % 2 == 0
    if apple:
        body["device_id"] = (APPLE[digest[2] % len(APPLE)] + MARK + digest.hex())[:64]
    else:
        body["device_id"] = GOOGLE[digest[2] % len(GOOGLE)] + MARK + digest.hex()
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
    return body


@schemathesis.hook
def before_call(context, case, kwargs):
    if case.path == "/api/v1/send_push" and isinstance(case.body, dict):
        case.body = deepen(case.body)


@schemathesis.hook
def after_call(context, case, response):
    try:
        answer = json.loads(response.content)["status"]
    except (ValueError, KeyError, TypeError):
        answer = "-"
    tally[f"{case.path} {response.status_code} {answer}"] += 1


@atexit.register
def write_tally():
    with open(os.environ["FUZZ_TALLY"], "w", encoding="utf-8") as file:
        for answer, count in sorted(tally.items()):
            print(count, answer, file=file)
