"""Write the JSON Schema of a security block from the members that the reader knows.

Run: python tools/gen_schema.py [--check]
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from serviceradar_security.config.schema import security_block_schema

TARGET = Path(__file__).resolve().parents[1] / "schema" / "security-block.schema.json"


def generate() -> str:
    """Give the text of the file."""
    return json.dumps(security_block_schema(), indent=2) + "\n"


def main(arguments: list[str] | None = None, *, target: Path = TARGET) -> int:
    """Write the file, or compare it with what is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    options = parser.parse_args(arguments)
    text = generate()
    if not options.check:
        target.parent.mkdir(exist_ok=True)
        target.write_text(text)
    elif not target.exists() or target.read_text() != text:
        print(
            f"{target} is not what the reader gives: run `python tools/gen_schema.py`",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
