"""Fuzz the targets one after the other, each for a bounded time in a process of its own."""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from tests.fuzz.interpreter import MISSING, is_supported
from tests.fuzz.layout import CORPUS
from tests.fuzz.targets import TARGETS

if TYPE_CHECKING:
    from collections.abc import Sequence

_MISSING = "atheris is not installed in this environment: `make fuzz` makes one that has it"
_HANG = 10  # seconds for one input
_MEMORY = 2048  # MiB
_GRACE = 60.0  # seconds to start, to replay the seeds and to end
_NOISE = re.compile(r"#\d+\s|INFO: |WARNING: Failed to find function")
_FINDINGS = Path(".fuzz")


def main(arguments: Sequence[str] | None = None) -> int:
    """Give 0 if no target was found wanting, 1 if one was, 2 if fuzzing is not possible here."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=_seconds, default=60, help="for each target (60)")
    parser.add_argument("--findings", type=Path, default=_FINDINGS, help="folder (.fuzz)")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    options = parser.parse_args(arguments)
    if unknown := sorted(set(options.targets) - set(TARGETS)):
        parser.error(f"unknown: {', '.join(unknown)} (there are: {', '.join(TARGETS)})")
    if find_spec("atheris") is None:
        sys.stderr.write(f"{_MISSING if is_supported() else MISSING}\n")
        return 2
    options.findings.mkdir(parents=True, exist_ok=True)
    chosen = options.targets or list(TARGETS)
    # All of them, whatever one finds.
    fine = [_fuzz(name, options.seconds, options.findings) for name in chosen]
    return 0 if all(fine) else 1


def _seconds(text: str) -> int:
    seconds = int(text)
    if seconds < 1:  # libFuzzer takes 0 for "forever"
        raise argparse.ArgumentTypeError("at least 1")
    return seconds


def _fuzz(name: str, seconds: int, findings: Path) -> bool:
    """Fuzz one target and print what came of it."""
    with tempfile.TemporaryDirectory() as scratch:
        # libFuzzer writes into the first folder and only reads the others.
        command = [
            *(sys.executable, "-m", "tests.fuzz.child", name),
            *(scratch, str(CORPUS / name)),
            f"-max_total_time={seconds}",
            f"-timeout={_HANG}",
            f"-rss_limit_mb={_MEMORY}",
            f"-max_len={TARGETS[name].max_length}",
            f"-artifact_prefix={findings}/{name}-",
            "-print_final_stats=1",
        ]
        try:
            ended = subprocess.run(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=seconds + _GRACE,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            _report(name, f"did not end {_GRACE:.0f} s after its time", error.stdout or b"")
            return False
    fine, text = outcome(name, ended.returncode, ended.stdout.decode(errors="replace"))
    _report(name, text, b"" if fine else ended.stdout)
    return fine


def outcome(name: str, code: int, log: str) -> tuple[bool, str]:
    """Read from libFuzzer's log whether a target held, and what to say of it.

    Without its count of executions nothing was fuzzed, whatever the code says.
    """
    executions = re.search(r"stat::number_of_executed_units:\s*(\d+)", log)
    coverage = re.findall(r"\bcov: (\d+)", log)
    if code == 0 and executions and coverage:
        return True, f"{int(executions[1]):,} executions, {coverage[-1]} edges, no finding"
    written = re.findall(r"Test unit written to (\S+)", log)
    if not written:
        return False, f"failed with code {code}; no input was written"
    command = [sys.executable, "-m", "tests.fuzz.child", name, written[-1], f"-timeout={_HANG}"]
    replay = shlex.join(command)
    return False, f"failed with code {code} on {written[-1]}; to see it again: {replay}"


def _report(name: str, text: str, log: bytes) -> None:
    told = [line for line in log.decode(errors="replace").splitlines() if not _NOISE.match(line)]
    sys.stdout.write("".join(f"{line}\n" for line in [*told, f"{name}: {text}"]))
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
