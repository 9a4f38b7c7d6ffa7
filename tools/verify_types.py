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
    for symbol in report["symbols"]:
        for diagnostic in symbol["diagnostics"]:
            print(symbol["name"], diagnostic["message"], file=sys.stderr)
    score = 100 * report["completenessScore"]
    print(f"{PACKAGE}: {score:.1f} % of the public names have known types")
    return 0 if score == 100 else 1  # noqa: PLR2004 - all of them


if __name__ == "__main__":
    sys.exit(main())
