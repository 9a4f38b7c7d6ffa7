"""Fuzz one target in this process, until libFuzzer says that it is enough."""

from __future__ import annotations

import sys
from importlib import import_module


def main() -> None:
    """Run ``python -m tests.fuzz.child TARGET [libFuzzer's own arguments]``; does not return."""
    name, *arguments = sys.argv[1:]
    atheris = import_module("atheris")  # not at the top: only the fuzzing environment has it
    with atheris.instrument_imports(include=["serviceradar_security"]):
        targets = import_module("tests.fuzz.targets")
    atheris.Setup([sys.argv[0], *arguments], targets.TARGETS[name].run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
