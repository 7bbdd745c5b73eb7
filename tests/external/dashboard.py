"""Asks a real Prometheus, which scrapes a relay under traffic, what dashboards and alerts ask.

    dashboard.py PROMETHEUS RELAY FOLDER QUERIES...

PROMETHEUS is the program, RELAY the address of a relay that observes in front of a simulator, with a queue of 1,000 entries, calls that last a second
and further targets, apple_trouble, apple_refused and android_trouble, FOLDER a new one to work in, QUERIES files of queries, one a line, or
Grafana's dashboards (*.json). Ends with 1 and the reasons if one of them has no answer.
"""

import concurrent.futures
import json
import math
import pathlib
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

# Seconds. Only ends a run that has failed: with a scrape a second, all is there after a handful.
PATIENCE = 60

# Between two looks, seconds.
PAUSE = 0.2

PLATFORMS = ("apple", "android")

# Prometheus asks for a fixed port; another program can take it between our looking and its binding.
PORTS_TO_TRY = 5

# Per platform: target, what an outcome's device token begins with (docs/simulator.md), what its phones call themselves.
PHONES = {
    "apple": ("apple_rn-v2", {"removed": "dead0410", "failed": "dead8400"}, "ios"),
    "android": ("android_rn-v2", {"removed": "fcm-unregistered-", "failed": "fcm-invalid-argument-"}, "android"),
}

# What provokes the metrics of trouble, at targets of its own.
APPLE_TROUBLE, APPLE_REFUSED, ANDROID_TROUBLE = "apple_trouble-v2", "apple_refused-v2", "android_trouble-v2"

# More than the 20 removals that are believed ([removal_guard] in docs/configuration.md).
REMOVALS = 25

# More than the 10 attempts in trouble that open a breaker, each push being tried three times.
TROUBLES = 6

# More than fit into the queue, which has the least bound that there is; and how many are sent at once.
QUEUE_FULL = 1010
AT_ONCE = 32

# What Grafana puts into queries.
GRAFANA = {"$__rate_interval": "1m", "$__range": "5m", "$job": ".*", "$instance": ".*"}

# No proxy from the environment between loopback addresses.
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def get(url):
    with opener.open(url, timeout=10) as answer:
        return answer.read()


def post(url, body):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with opener.open(request, timeout=30) as answer:
        return json.load(answer)


class Traffic:
    """A little of each kind, on both platforms."""

    def __init__(self, relay):
        self.url = f"http://{relay}/api/v1"
        self.sent = 0

    def push(self, platform, expected, kind="message", outcome="", version=None):
        target, tokens, _ = PHONES[platform]
        self.sent += 1
        body = {
            "ack_id": f"ack-{self.sent}",
            "platform": target if version is None else target.replace("-v2", version),
            "server_id": "demo-server",
            "device_id": f"{tokens.get(outcome, '')}{self.sent:x}".ljust(64, "0"),
            "type": kind,
            "version": "v2",
            "message": "hello",
            "channel_id": "channel",
        }
        answer = post(f"{self.url}/send_push", body)
        if answer["status"] != expected:
            sys.exit(f"a push ({platform}, {kind}, {outcome}) was answered with {answer}, not with {expected}")
        return body

    def one_round(self):
        for platform in PLATFORMS:
            body = self.push(platform, "OK")
            # A caller that had no answer.
            post(f"{self.url}/send_push", body)
            # Only receipts for what arrived count.
            receipt = {"id": f"ack-{self.sent}", "platform": PHONES[platform][2], "type": "message"}
            post(f"{self.url}/ack", receipt)
            # The same again, and one that nothing was sent for.
            post(f"{self.url}/ack", receipt)
            post(f"{self.url}/ack", receipt | {"id": "nothing"})
            self.push(platform, "OK", kind="clear")
            self.push(platform, "OK", version="")
            self.push(platform, "FAIL", outcome="failed")
            self.push(platform, "FAIL", kind="clear", outcome="failed")
            self.push(platform, "REMOVE", outcome="removed")
        post(f"{self.url}/send_push", {})
        self.supersede()

    def trouble(self, target, token, kind="message", sub_type=""):
        """A push whose answer depends on those before it."""
        self.sent += 1
        body = {
            "ack_id": f"ack-{self.sent}",
            "platform": target,
            "server_id": "demo-server",
            "device_id": (token if kind == "update_badge" else f"{token}{self.sent:x}").ljust(64, "0"),
            "type": kind,
            "sub_type": sub_type,
            "version": "v2",
            "message": "hello",
            "badge": 1,
        }
        post(f"{self.url}/send_push", body)

    def supersede(self):
        """Two badges for one phone wait, so that the later one takes the place of the earlier."""
        for _ in range(2):
            self.trouble(APPLE_TROUBLE, "dead0503", kind="update_badge")

    def troubles(self):
        """Each once: credentials refused, removals withheld, a breaker open, a quota met, a caller refused, a queue that is full."""
        self.trouble(APPLE_REFUSED, "dead1403")
        for _ in range(REMOVALS):
            self.trouble(APPLE_TROUBLE, "dead0400")
        for _ in range(TROUBLES):
            self.trouble(APPLE_TROUBLE, "dead0503")
            self.trouble(ANDROID_TROUBLE, "fcm-quota-exceeded-")
        self.supersede()
        # A call that nobody can be told of in time.
        self.trouble(APPLE_TROUBLE, "dead0503", sub_type="calls")
        try:
            post(self.url.removesuffix("/api/v1") + "/v1/notifications", {})
            sys.exit("a message of the native API without a signature was not refused")
        except urllib.error.HTTPError as error:
            if error.code != 401:
                sys.exit(f"a message of the native API without a signature was answered with {error.code}, not with 401")
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda _: self.trouble(APPLE_TROUBLE, "dead0503"), range(QUEUE_FULL)))


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def until(what, look):
    """What `look` gives once it gives anything."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(PAUSE)
    sys.exit(f"after {PATIENCE} s: {what}")


def start(program, relay, folder):
    """A Prometheus that scrapes the relay, and its address."""
    configuration = folder / "prometheus.yml"
    scrape = {"job_name": "pushrelay", "static_configs": [{"targets": [relay]}]}
    whole = {"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": [scrape]}
    # JSON is YAML.
    configuration.write_text(json.dumps(whole), encoding="utf-8")
    for attempt in range(PORTS_TO_TRY):
        address = f"127.0.0.1:{free_port()}"
        log = folder / f"prometheus-{attempt}.log"
        command = [
            program,
            f"--config.file={configuration}",
            f"--storage.tsdb.path={folder / f'data-{attempt}'}",
            f"--web.listen-address={address}",
        ]
        with open(log, "wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)

        def scrapes():
            if process.poll() is not None:
                return "ended"
            try:
                targets = json.loads(get(f"http://{address}/api/v1/targets"))["data"]["activeTargets"]
            except (OSError, ValueError):
                return None
            # Somebody else's Prometheus would not know our relay.
            return any(target["health"] == "up" and relay in target["scrapeUrl"] for target in targets)

        try:
            state = until(f"Prometheus does not scrape the relay, see {log}", scrapes)
        except BaseException:
            end(process)
            raise
        if state != "ended":
            return process, address
        if "address already in use" not in log.read_text(encoding="utf-8", errors="replace"):
            sys.exit(f"Prometheus has ended:\n{log.read_text(encoding='utf-8', errors='replace')}")
    sys.exit(f"no free port for Prometheus in {PORTS_TO_TRY} attempts")


def end(process):
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def shortcoming(prometheus, query):
    """What is wrong with a query's answer, or None."""
    url = f"http://{prometheus}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    try:
        answer = json.loads(get(url))
    except urllib.error.HTTPError as error:
        return f"refused: {error.read().decode(errors='replace')}"
    if answer["status"] != "success" or answer["data"]["resultType"] != "vector":
        return f"no vector: {answer}"
    samples = answer["data"]["result"]
    if not samples:
        return "empty"
    for sample in samples:
        if not math.isfinite(float(sample["value"][1])):
            return f"{sample['value'][1]} for {sample['metric']}"
    return None


def read_queries(file):
    if file.endswith(".json"):
        panels = json.loads(pathlib.Path(file).read_text(encoding="utf-8"))["panels"]
        for target in (target for panel in panels for target in panel.get("targets", [])):
            query = target["expr"]
            for name, value in GRAFANA.items():
                query = query.replace(name, value)
            yield query
        return
    lines = (line.strip() for line in pathlib.Path(file).read_text(encoding="utf-8").splitlines())
    for line in lines:
        if line and not line.startswith("#"):
            platforms = PLATFORMS if "$platform" in line else ("",)
            yield from (line.replace("$platform", platform) for platform in platforms)


def main():
    program, relay, folder, *files = sys.argv[1:]
    # So that Prometheus is ended whatever ends us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    queries = [query for file in files for query in read_queries(file)]
    traffic = Traffic(relay)
    traffic.troubles()
    traffic.one_round()
    process, prometheus = start(program, relay, pathlib.Path(folder))
    try:
        waiting = dict.fromkeys(queries)
        deadline = time.monotonic() + PATIENCE
        while waiting and time.monotonic() < deadline:
            # Rates need figures that move between scrapes.
            traffic.one_round()
            waiting = {query: shortcoming(prometheus, query) for query in waiting}
            waiting = {query: reason for query, reason in waiting.items() if reason}
            time.sleep(PAUSE)
    finally:
        end(process)
    until("the call has not expired", lambda: b'outcome="expired"' in get(f"http://{relay}/metrics"))
    for query, reason in waiting.items():
        print(f"no answer within {PATIENCE} s: {query}\n  {reason}", file=sys.stderr)
    if waiting:
        sys.exit(1)
    print(f"{len(queries)} queries answered, {traffic.sent} pushes sent")


main()
