"""Ask pyright whether every public name of the package has a known type.

pyright looks only at installed packages that ship types, and an editable install hides them from
it; so the package is laid out in a folder of its own first.

Run: python tools/verify_types.py
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PACKAGE = "serviceradar_security"
# With --ignoreexternal pyright looks at no other package, and so calls a base from there unknown.
# Without it, it answers for the types of all the others as well.
EXTERNAL_BASES = {f"{PACKAGE}.metrics.prometheus.SourceCollector"}


def main() -> int:
    """Print what is not known, and the share that is."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(Path("src") / PACKAGE, Path(folder) / PACKAGE)
        done = subprocess.run(
            [
                str(Path(sys.executable).with_name("pyright")),
                "--verifytypes",
                PACKAGE,
                "--ignoreexternal",
                "--outputjson",
                "--pythonpath",
                sys.executable,
            ],
            capture_output=True,
            text=True,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": folder},
            check=False,
        )
    try:
        report = json.loads(done.stdout)["typeCompleteness"]
    except (ValueError, KeyError):
        print(done.stdout, done.stderr, file=sys.stderr)
        return 1
    unknown = 0
    for symbol in report["symbols"]:
        if symbol["name"] in EXTERNAL_BASES or not symbol["isExported"]:
            continue
        for diagnostic in symbol["diagnostics"]:
            print(symbol["name"], diagnostic["message"], file=sys.stderr)
        unknown += not symbol["isTypeKnown"]
    count = sum(symbol["isExported"] for symbol in report["symbols"])
    print(f"{PACKAGE}: {count - unknown} of {count} public names have known types")
    return 0 if unknown == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
