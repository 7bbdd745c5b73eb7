"""Looks for every metric that alert rules and a dashboard name in what relays have shown of themselves.

    names.py METRICS... -- RULES.yaml|DASHBOARD.json...

METRICS are answers of /metrics. A metric must be there, each label by which it is chosen or grouped, and each value that a label
must have. Ends with 1 and what is missing: a rule on a metric that does not exist never fires.
"""

import json
import pathlib
import re
import sys

import yaml

# Ours, those that dashboards for mattermost-push-proxy use, and the process's own. `up` is Prometheus'.
SELECTOR = re.compile(r"\b((?:service|pushrelay|process)_\w+)(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? ")
GROUPED = re.compile(r"\b(?:by|on)\s*\(([^)]*)\)")

# Labels that Prometheus puts on by itself.
SCRAPED = {"job", "instance"}


def shown(files):
    """Metric -> label -> values."""
    metrics = {}
    for file in files:
        for line in pathlib.Path(file).read_text(encoding="utf-8").splitlines():
            if sample := SAMPLE.match(line):
                labels = metrics.setdefault(sample[1], {})
                for name, _, value in MATCHER.findall(sample[2] or ""):
                    labels.setdefault(name, set()).add(value)
    return metrics


def queries(file):
    text = pathlib.Path(file).read_text(encoding="utf-8")
    if file.endswith(".json"):
        dashboard = json.loads(text)
        yield from (target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", []))
        yield from (note["expr"] for note in dashboard["annotations"]["list"] if "expr" in note)
        yield from (variable["definition"] for variable in dashboard["templating"]["list"] if "definition" in variable)
    else:
        for group in yaml.safe_load(text)["groups"]:
            yield from (rule["expr"] for rule in group["rules"])


def missing(query, metrics):
    chosen = set()
    for name, matchers in SELECTOR.findall(query):
        if name not in metrics:
            yield f"no metric {name}"
            continue
        chosen |= metrics[name].keys()
        for label, operator, value in MATCHER.findall(matchers):
            if label in SCRAPED:
                continue
            if label not in metrics[name]:
                yield f"no label {label} of {name}"
            elif operator == "=" and value not in metrics[name][label]:
                yield f'no {name}{{{label}="{value}"}}'
    for group in GROUPED.findall(query):
        for label in filter(None, (label.strip() for label in group.split(","))):
            if label not in chosen | SCRAPED:
                yield f"no label {label} to group by"


def main():
    arguments = sys.argv[1:]
    split = arguments.index("--")
    metrics = shown(arguments[:split])
    looked_at, names, problems = 0, set(), []
    for file in arguments[split + 1 :]:
        for query in queries(file):
            looked_at += 1
            names |= {name for name, _ in SELECTOR.findall(query)}
            problems += [f"{file}: {problem}: {query}" for problem in missing(query, metrics)]
    if not looked_at or not names:
        problems.append("there was nothing to look at")
    if problems:
        sys.exit("\n".join(problems))
    print(f"{looked_at} queries of ours name {len(names)} metrics, and all are there")


main()
