"""Programs are built once, whole or not at all, and what is missing is named with its cure."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.realparts import build, process
from tests.realparts.errors import RealPartError
from tests.realparts.postgres import find_postgres

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("ask", "named"),
    [
        (lambda empty: build.binaries("spire", search_path=""), ["`go`", "PATH", "curl", "go.dev"]),
        (lambda empty: build.binaries("sprie"), ["'sprie'", "spire"]),
        (
            lambda empty: find_postgres(search_path="", debian_root=empty),
            ["initdb", "apt-get install -y postgresql"],
        ),
    ],
    ids=["no go", "no such module", "no postgres"],
)
def test_a_missing_part_is_an_error_that_names_its_cure(
    ask: Any, named: list[str], tmp_path: Path
) -> None:
    """Without Go, Postgres or a user for it, the message says what to install and how."""
    with pytest.raises(RealPartError) as caught:
        ask(tmp_path)
    assert [text for text in named if text not in str(caught.value)] == []


def test_an_old_go_is_refused(tmp_path: Path) -> None:
    """A Go older than go.mod asks for is refused by name, before it compiles for minutes."""
    go = tmp_path / "go"
    go.write_text("#!/bin/sh\necho go version go1.9.9 linux/amd64\n")
    go.chmod(0o755)
    with pytest.raises(RealPartError, match=r"too old \(go version go1\.9\.9 .*needs Go 1\."):
        build.binaries("spire", search_path=str(tmp_path))


@pytest.fixture
def tiny_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Source of a Go module of one small program, and a cache of its own."""
    source = tmp_path / "go" / "tiny"
    source.mkdir(parents=True)
    (source / "go.mod").write_text("module example.org/tiny\n\ngo 1.24\n\ntool example.org/tiny\n")
    (source / "go.sum").write_text("")
    (source / "main.go").write_text("package main\n\nfunc main() {}\n")
    monkeypatch.setattr(build, "GO_MODULES", tmp_path / "go")
    monkeypatch.setenv("SERVICERADAR_SECURITY_CACHE", str(tmp_path / "cache"))
    return source


@pytest.mark.spire
def test_parallel_workers_build_once(tiny_module: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Of several who need a program at once, one builds it and all get the same."""
    found: list[Path] = []
    threads = [
        threading.Thread(target=lambda: found.append(build.binaries("tiny"))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1
    process.run([found[0] / "tiny"], cwd=tiny_module, timeout=10)
    assert capfd.readouterr().err.count("packages compiled") <= 2  # one build's first and last line
    assert build.binaries("tiny") == found[0]
    assert capfd.readouterr().err == ""


@pytest.mark.spire
def test_a_failed_build_leaves_nothing_half_done(
    tiny_module: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The compiler's words are in the error, and the next attempt builds."""
    main = tiny_module / "main.go"
    whole = main.read_text()
    main.write_text("package main\n\nfunc main() { undefined() }\n")
    assert build.main(["tiny"]) == 2
    assert "undefined: undefined" in capsys.readouterr().err
    main.write_text(whole)
    assert build.main(["tiny"]) == 0


@pytest.mark.spire
def test_another_go_sum_is_another_folder(tiny_module: Path) -> None:
    """Programs are found by what they were built from."""
    first = build.binaries("tiny")
    (tiny_module / "go.sum").write_text("\n")
    assert build.binaries("tiny") != first
