"""Programs of our own are found by what they were built from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.realparts import build, process
from tests.realparts.errors import RealPartError
from tests.realparts.own import own_program

if TYPE_CHECKING:
    from pathlib import Path

_MAIN = 'package main\n\nimport "fmt"\n\nfunc main() {{ fmt.Print("{}") }}\n'


@pytest.fixture
def tiny_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Source of a Go module of one small program, and a cache of its own."""
    source = tmp_path / "go" / "tiny"
    source.mkdir(parents=True)
    (source / "go.mod").write_text("module example.org/tiny\n\ngo 1.24\n\ntool example.org/tiny\n")
    (source / "main.go").write_text(_MAIN.format("one"))
    monkeypatch.setattr(build, "GO_MODULES", tmp_path / "go")
    monkeypatch.setenv("SERVICERADAR_SECURITY_CACHE", str(tmp_path / "cache"))
    return source


@pytest.mark.spire
def test_another_source_is_another_program(tiny_module: Path) -> None:
    """A program is built once, again when its source changes, and needs no go.sum."""
    first = own_program("tiny")
    assert own_program("tiny") == first
    (tiny_module / "main.go").write_text(_MAIN.format("two"))
    second = own_program("tiny")
    printed = [process.run([each], cwd=tiny_module, timeout=10) for each in (first, second)]
    assert printed == ["one", "two"]


def test_without_go(tiny_module: Path) -> None:
    """Without Go, the message says what to install."""
    with pytest.raises(RealPartError, match=r"(?s)`go` is not on PATH.*go\.dev"):
        own_program("tiny", search_path="")
