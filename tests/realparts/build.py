"""Builds the Go programs that tests run, once, into a cache outside the tree.

Each folder below ``tests/go`` is a Go module whose ``tool`` lines name the programs. They land in
``${SERVICERADAR_SECURITY_CACHE:-${XDG_CACHE_HOME:-~/.cache}/serviceradar-security}/go``, in a
folder named after the module and a key over its go.mod, its go.sum and the Go version: another
version is another folder, and the next run finds what this one built.

``python -m tests.realparts.build spire`` builds ahead of the tests, so that the minutes are seen.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from tests.realparts import process
from tests.realparts.errors import RealPartError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["binaries", "main"]

GO_MODULES: Final = Path(__file__).resolve().parent.parent / "go"
_BUILD_TIMEOUT: Final = 3600.0  # a cold build of SPIRE takes eight minutes on two cores
_GO_TIMEOUT: Final = 120.0  # other go commands; the first may fetch a toolchain
_FLAGS: Final = ("-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w")


def binaries(module: str, *, search_path: str | None = None) -> Path:
    """Return the folder with the programs of a Go module, building them if they are not there.

    Args:
        module: The name of a folder below ``tests/go``.
        search_path: Where to look for ``go``; ``PATH`` if none is given.

    Raises:
        RealPartError: There is no such module, Go is missing or too old, or the build failed.
    """
    source = GO_MODULES / module
    if not (source / "go.mod").is_file():
        known = ", ".join(sorted(path.parent.name for path in GO_MODULES.glob("*/go.mod")))
        raise RealPartError(f"there is no Go module {module!r} in tests/go; there are: {known}")
    go, version = _find_go(source, search_path)
    digest = hashlib.sha256()
    for part in ((source / "go.mod").read_bytes(), (source / "go.sum").read_bytes(), version):
        digest.update(hashlib.sha256(part).digest())
    target = _cache() / "go" / f"{module}-{digest.hexdigest()[:16]}"
    if not target.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        with _locked(target.with_suffix(".lock"), f"another process to build {module}"):
            if not target.is_dir():
                _build(go, source, target)
    return target / "bin"


def _cache() -> Path:
    if own := os.environ.get("SERVICERADAR_SECURITY_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "serviceradar-security"


def _find_go(source: Path, search_path: str | None) -> tuple[str, bytes]:
    """Return the path of ``go`` and what ``go version`` prints, if it is new enough."""
    needed = re.findall(r"(?m)^go (\S+)$", (source / "go.mod").read_text())[0]
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    advice = (
        f"tests/go/{source.name} needs Go {needed} or newer. Install it with:\n"
        f"  curl -fsSL https://go.dev/dl/go{needed}.linux-{machine}.tar.gz"
        " | sudo tar -C /usr/local -xz && export PATH=/usr/local/go/bin:$PATH"
    )
    go = shutil.which("go", path=search_path)
    if go is None:
        raise RealPartError(f"`go` is not on PATH; {advice}")
    version = process.run([go, "version"], cwd=source, timeout=_GO_TIMEOUT, env=os.environ).strip()
    found = re.search(r"\bgo(\d+(?:\.\d+)*)", version)
    if found is None or _numbers(found[1]) < _numbers(needed):
        raise RealPartError(f"{go} is too old ({version}); {advice}")
    return go, version.encode()


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version))


@contextlib.contextmanager
def _locked(path: Path, awaited: str) -> Iterator[None]:
    """Hold a lock file; other processes that need it wait and say so."""
    deadline = time.monotonic() + _BUILD_TIMEOUT
    with path.open("w") as file, _Progress(f"waiting for {awaited}") as progress:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise RealPartError(f"waited too long for {awaited}: {path}") from None
                progress.show()
                time.sleep(0.2)
        progress.clear()
        yield


def _build(go: str, source: Path, target: Path) -> None:
    module = json.loads(
        process.run([go, "mod", "edit", "-json"], cwd=source, timeout=_GO_TIMEOUT, env=os.environ)
    )
    tools = [tool["Path"] for tool in module["Tool"]]
    partial = target.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)  # what a killed build has left
    (partial / "bin").mkdir(parents=True)
    log = partial / "build.log"
    names = ", ".join(path.rpartition("/")[2] for path in tools)
    builder = process.start(
        # -v prints each package as its compilation starts
        [go, "build", *_FLAGS, "-v", "-o", f"{partial}/bin/", *tools],
        cwd=source,
        log=log,
        env={**os.environ, "GOTMPDIR": str(partial)},  # go leaves much there when interrupted
    )
    try:
        with _Progress(f"building {names} (once):") as progress:
            deadline = time.monotonic() + _BUILD_TIMEOUT
            while builder.running and time.monotonic() < deadline:
                progress.show(_compiled(log))
                time.sleep(0.2)
            progress.done(_compiled(log))
        if builder.wait(timeout=0):
            raise builder.failure(f"could not build {names}")
        partial.rename(target)
    finally:
        builder.stop(signal.SIGINT)
        shutil.rmtree(partial, ignore_errors=True)


def _compiled(log: Path) -> str:
    lines = log.read_bytes().splitlines()
    fetched = sum(line.startswith(b"go: downloading") for line in lines)
    modules = f"{fetched} modules fetched, " if fetched else ""
    return f"{modules}{len(lines) - fetched} packages compiled"


class _Progress:
    """One line on standard error: rewritten in place for a person, every 30 s for a log."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._terminal = sys.stderr.isatty()
        self._started = time.monotonic()
        self._next = self._started

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def show(self, detail: str = "") -> None:
        """Show what is going on, if it is time to."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + (0.5 if self._terminal else 30.0)
            line = self._line(detail)
            if self._terminal:
                line = f"\r\x1b[K{line[: shutil.get_terminal_size().columns - 1]}"
            self._write(line if self._terminal else f"{line}\n")

    def done(self, detail: str) -> None:
        """Leave a line for good."""
        self.clear()
        self._write(f"{self._line(detail)}\n")

    def clear(self) -> None:
        """Take the line back that was rewritten in place."""
        if self._terminal:
            self._write("\r\x1b[K")

    def _line(self, detail: str) -> str:
        elapsed = int(time.monotonic() - self._started)
        return f"{elapsed // 60}:{elapsed % 60:02d} {self._what} {detail}".rstrip()

    def _write(self, text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()


def main(argv: list[str]) -> int:
    """Build the named modules, all if none is named, and print where the programs are."""
    try:
        for module in argv or sorted(path.parent.name for path in GO_MODULES.glob("*/go.mod")):
            sys.stdout.write(f"{binaries(module)}\n")
    except RealPartError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; nothing half-built is left\n")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
