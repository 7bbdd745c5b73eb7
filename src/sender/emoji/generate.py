#!/usr/bin/env python3
"""Writes table.rs, the names of the emoji that chat servers send as `:name:`.

Source:  github.com/kyokomi/emoji, the module version `mattermost-push-proxy` is built with (see VERSION and SUM).
         Only its data (name and characters) is read. It is under the MIT licence; the notice is in NOTICE.
Command: go mod download github.com/kyokomi/emoji@v2.2.4+incompatible
         python3 src/sender/emoji/generate.py \\
             "$(go env GOMODCACHE)/github.com/kyokomi/emoji@v2.2.4+incompatible/emoji_codemap.go"
"""

import pathlib
import re
import sys

VERSION = "v2.2.4+incompatible"
SUM = "h1:np0woGKwx9LiHAQmwZx79Oc0rHpNw3o+3evou4BEPv4="
ENTRY = re.compile(r'^\t+":(?P<name>[^"\\]+):": +"(?P<characters>[^"]+)",$')
ESCAPE = re.compile(r"\\(?:u([0-9a-f]{4})|U([0-9a-f]{8}))")

HEADER = f"""\
//! Emoji names and their characters, sorted by the bytes of the name. Written by `generate.py`; do not edit.
//!
//! Source: github.com/kyokomi/emoji {VERSION}
//! ({SUM}), under the MIT licence; see NOTICE.

/// `(name without colons, characters)`.
#[rustfmt::skip]
"""


def main(codemap: str) -> None:
    table: dict[str, str] = {}
    lines = iter(pathlib.Path(codemap).read_text(encoding="utf-8").splitlines())
    for line in lines:
        if "emojiCodeMap = map[string]string{" in line:
            break
    for line in lines:
        if line.strip() == "}":
            break
        entry = ENTRY.match(line)
        if entry is None:
            sys.exit(f"not understood: {line}")
        characters = ESCAPE.sub(lambda m: chr(int(m[1] or m[2], 16)), entry["characters"])
        if "\\" in characters:
            sys.exit(f"an escape not understood: {line}")
        table[entry["name"]] = characters

    # Escaped, so that joiners and variation selectors can be seen in a review.
    def literal(text: str) -> str:
        return '"' + "".join(c if " " < c < "\x7f" else f"\\u{{{ord(c):x}}}" for c in text) + '"'

    rows = sorted(table.items(), key=lambda item: item[0].encode())
    body = "".join(f'    ("{name}", {literal(characters)}),\n' for name, characters in rows)
    out = pathlib.Path(__file__).with_name("table.rs")
    out.write_text(f"{HEADER}pub(super) static TABLE: [(&str, &str); {len(rows)}] = [\n{body}];\n", encoding="utf-8")
    print(f"{len(rows)} names")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
