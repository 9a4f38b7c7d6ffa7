"""The command: what it refuses, and how it reads what libFuzzer says."""

from __future__ import annotations

import runpy

import pytest

from tests.fuzz import __main__ as command
from tests.fuzz import interpreter
from tests.fuzz.targets import TARGETS

_FINE = """\
#2	INITED cov: 31 ft: 64 corp: 12/345b exec/s: 0 rss: 60Mb
#262144	pulse  cov: 45 ft: 99 corp: 20/678b lim: 4096 exec/s: 26214 rss: 67Mb
Done 305123 runs in 11 second(s)
stat::number_of_executed_units: 305123
"""
_FOUND = """\
 === Uncaught Python exception: ===
AssertionError: the ID changed
==4711== ERROR: libFuzzer: fuzz target exited
Test unit written to .fuzz/spiffe_id-crash-da39a3ee5e6b4b0d3255bfef95601890afd80709
stat::number_of_executed_units: 17
"""


def test_no_finding() -> None:
    """A run to the end is told with its executions and its last coverage."""
    assert command.outcome("spiffe_id", 0, _FINE) == (
        True,
        "305,123 executions, 45 edges, no finding",
    )


def test_finding() -> None:
    """A finding is told with the file of its input and the command that shows it again."""
    fine, text = command.outcome("spiffe_id", 77, _FOUND)
    assert not fine
    assert "failed with code 77 on .fuzz/spiffe_id-crash-da39a3ee" in text
    assert "-m tests.fuzz.child spiffe_id .fuzz/spiffe_id-crash-da39a3ee" in text


@pytest.mark.parametrize("log", ["", "Done 0 runs", "stat::number_of_executed_units: 5"])
def test_nothing_fuzzed(log: str) -> None:
    """A process that ends well without having fuzzed anything is a failure."""
    assert not command.outcome("spiffe_id", 0, log)[0]


@pytest.mark.parametrize(
    ("supported", "text"),
    [(True, "`make fuzz` makes one"), (False, "CPython 3.11 to 3.14 on Linux x86-64")],
)
def test_without_atheris(
    supported: bool,
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Where atheris is missing, the command says what is needed to have it."""
    monkeypatch.setattr(command, "find_spec", lambda _: None)
    monkeypatch.setattr(command, "is_supported", lambda: supported)
    assert command.main([]) == 2
    assert text in capsys.readouterr().err


def test_interpreter_without_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interpreter for which atheris has no wheel is told so before anything is installed."""
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    assert not interpreter.is_supported()
    with pytest.raises(SystemExit, match="name another, as in make fuzz PYTHON="):
        runpy.run_path(interpreter.__file__, run_name="__main__")


@pytest.mark.parametrize("arguments", [["nothing"], ["--seconds", "0"], ["--seconds", "x"]])
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Unknown targets and times that would never end are wrong usage."""
    with pytest.raises(SystemExit) as ended:
        command.main(arguments)
    assert ended.value.code == 2
    assert "error" in capsys.readouterr().err


def test_targets_have_bounds() -> None:
    """Inputs of every target are bounded, so that an execution stays short."""
    assert all(0 < each.max_length <= 65_536 for each in TARGETS.values())
