"""Identities on a disk, the ways in which others write them, and a reader that is interrupted."""

from __future__ import annotations

import shutil
from base64 import b64encode
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from serviceradar_security import TrustBundle, X509Context, X509Svid
from serviceradar_security.testing.authority import FakeAuthority, IssuedCertificate
from serviceradar_security.workload.file_disk import DiskReader
from serviceradar_security.workload.file_engine import FileEngine
from serviceradar_security.workload.file_reading import (
    FileContent,
    FileProblem,
    FileSnapshot,
    FilesReader,
)
from serviceradar_security.workload.file_source import FileSource
from serviceradar_security.workload.files import IdentityFiles
from tests.workload.clock import START, Clock
from tests.workload.peers import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

CERT: Final = "svid.pem"
KEY: Final = "svid_key.pem"
BUNDLE: Final = "svid_bundle.pem"
NAMES: Final = (CERT, KEY, BUNDLE)
DOMAIN: Final = "a.test"
ID: Final = "spiffe://a.test/web"
OFTEN: Final = 0.01
NEVER: Final = 3600.0  # looked at when told to, and not before
LOG: Final = "serviceradar_security.workload"
AUTHORITY: Final = FakeAuthority(DOMAIN, now=lambda: START)
OTHER_AUTHORITY: Final = FakeAuthority("b.test", now=lambda: START)


@dataclass(frozen=True)
class Triple:
    """What three files hold."""

    cert: bytes
    key: bytes
    bundle: bytes

    def items(self) -> Iterable[tuple[str, bytes]]:
        """Give names with contents, in the order in which spiffe-helper writes."""
        return zip(NAMES, (self.cert, self.key, self.bundle), strict=True)

    @property
    def context(self) -> X509Context:
        """What a source should make of it."""
        svid = X509Svid.from_pem(self.cert, self.key)
        own = svid.spiffe_id.trust_domain
        return X509Context(svids=[svid], bundles={own: TrustBundle.from_pem(own, self.bundle)})


def triple(issued: IssuedCertificate | X509Svid, authority: FakeAuthority = AUTHORITY) -> Triple:
    """Write an identity beside the bundle of an authority."""
    cert, key = issued.to_pem()
    return Triple(cert, key, authority.bundle.to_pem())


@cache
def generation(number: int, *, ttl: float = 3600.0) -> Triple:
    """Give one of a row of identities; each has an authority of its own, and so another bundle."""
    authority = FakeAuthority(DOMAIN, now=lambda: START)
    return triple(authority.issue(f"{ID}/{number}", ttl=ttl), authority)


@cache
def current(number: int) -> Triple:
    """Give one of a row of identities that are valid by the clock of the system."""
    authority = FakeAuthority(DOMAIN)
    return triple(authority.issue(f"{ID}/{number}"), authority)


class Folder:
    """A folder with the three files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)

    def files(self, **options: object) -> IdentityFiles:
        """Name the files; `options` replace some."""
        given: dict[str, object] = {
            "cert_file": self.path / CERT,
            "key_file": self.path / KEY,
            "bundle_file": self.path / BUNDLE,
        }
        return IdentityFiles.of(**{**given, **options})  # type: ignore[arg-type] # any of them

    def write(self, content: Triple) -> None:
        """Write in place, as spiffe-helper does."""
        for name, data in content.items():
            self.put(name, data)

    def put(self, name: str, data: bytes) -> None:
        """Write one file in place, readable by its owner alone."""
        path = self.path / name
        path.touch(mode=0o600)
        path.write_bytes(data)

    def replace(self, content: Triple) -> None:
        """Replace each file by a rename."""
        for name, data in content.items():
            self.put(f"{name}.new", data)
            (self.path / f"{name}.new").replace(self.path / name)


class Volume(Folder):
    """A volume of Kubernetes: the files are links through ``..data``, which is swapped."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._count = 0

    def publish(self, content: Triple, *, keep: bool = False) -> None:
        """Swap to a new set, and take the old one away as the kubelet does, unless `keep`."""
        self._count += 1
        inner = Folder(self.path / f"..{self._count}")
        inner.write(content)
        self.swap(self._count)
        for name in NAMES:
            link = self.path / name
            if not link.is_symlink():
                link.symlink_to(Path("..data") / name)
        if not keep:
            shutil.rmtree(self.path / f"..{self._count - 1}", ignore_errors=True)

    def swap(self, number: int) -> None:
        """Point ``..data`` at a set that was published."""
        temporary = self.path / "..data_tmp"
        temporary.symlink_to(f"..{number}")
        temporary.replace(self.path / "..data")


class Interrupted(DiskReader):
    """The disk, where something happens before each operation on it."""

    def __init__(self, steps: Sequence[Callable[[], object]] = ()) -> None:
        self.steps = list(steps)
        self.operations = 0
        self.reads = 0

    def link(self, path: str) -> str | None:
        self._step()
        return super().link(path)

    def resolve(self, folder: str) -> str:
        self._step()
        return super().resolve(folder)

    def read(self, path: str, limit: int) -> FileContent:
        self._step()
        self.reads += 1
        return super().read(path, limit)

    def _step(self) -> None:
        self.operations += 1
        if self.steps:
            self.steps.pop(0)()


def reading(files: IdentityFiles, reader: DiskReader | None = None) -> FilesReader[X509Context]:
    """Make a reader of a set."""
    return FilesReader(files, reader or DiskReader())


def look(files: IdentityFiles, *, at: datetime = START) -> object:
    """Read a set once."""
    return reading(files).look(at=at)


def context_of(outcome: object) -> X509Context:
    """Give what a good reading gave."""
    assert isinstance(outcome, FileSnapshot), outcome
    assert isinstance(outcome.context, X509Context)
    return outcome.context


def problem_of(outcome: object) -> FileProblem:
    """Give why a reading gave nothing."""
    assert isinstance(outcome, FileProblem), outcome
    assert "\n" not in outcome.text
    assert outcome.advice
    return outcome


def jwks(bundle: TrustBundle, **members: object) -> dict[str, object]:
    """Write a bundle document."""
    keys = [
        {"kty": "EC", "use": "x509-svid", "x5c": [b64encode(each).decode()]} for each in bundle.der
    ]
    return {"keys": keys, **members}


def source_of(folder: Folder, **options: Any) -> FileSource:
    """Make a source of a folder."""
    given: dict[str, Any] = {
        "cert_file": folder.path / CERT,
        "key_file": folder.path / KEY,
        "bundle_file": folder.path / BUNDLE,
        "poll_interval": OFTEN,
    }
    return FileSource(**{**given, **options})


def until_current(source: FileSource, number: int) -> None:
    """Wait for a generation."""
    until(lambda: source.current() == current(number).context, f"generation {number}")


def engine_of(folder: Folder, **options: Any) -> tuple[FileEngine[X509Context], Clock]:
    """Make what runs behind a source, without its thread: a test takes each step."""
    clock = Clock()
    given: dict[str, Any] = {"reader": DiskReader(), "poll_interval": 5.0, "clock": clock}
    return FileEngine(folder.files(), **{**given, **options}), clock
