"""Files that give no identity: which one, why, and what to do."""

from __future__ import annotations

import errno
import json
import os
import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)

from serviceradar_security import TrustDomain
from serviceradar_security.workload.file_disk import DiskReader
from serviceradar_security.workload.files import (
    MAX_CHAIN_FILE_BYTES,
    MAX_KEY_FILE_BYTES,
)
from tests.workload.clock import START
from tests.workload.identity_files import (
    AUTHORITY,
    BUNDLE,
    CERT,
    DOMAIN,
    ID,
    KEY,
    NAMES,
    OTHER_AUTHORITY,
    Folder,
    context_of,
    generation,
    jwks,
    look,
    problem_of,
    reading,
    triple,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from serviceradar_security.workload.file_reading import FileContent

OWN = TrustDomain.parse(DOMAIN)
OTHER = OTHER_AUTHORITY.trust_domain


FIRST: Final = generation  # what the fixture `folder` begins with


# ---- what cannot be used -------------------------------------------------------------------------


def _encrypted() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))


def _mutated(**mutations: Any) -> dict[str, bytes]:
    return dict(triple(AUTHORITY.issue_certificate(ID, **mutations)).items())


def _bundle(document: object) -> dict[str, bytes]:
    return {**_mutated(), BUNDLE: json.dumps(document).encode()}


UNUSABLE: dict[str, tuple[dict[str, bytes], str]] = {
    "an empty certificate": ({CERT: b""}, "certificate file .* is empty"),
    "an empty key": ({KEY: b" \n"}, "key file .* is empty"),
    "an empty bundle": ({BUNDLE: b"\n"}, "bundle file .* is empty"),
    "garbage for a certificate": ({CERT: b"garbage"}, "certificate file .*not a row"),
    "garbage for a key": ({KEY: b"garbage"}, "key file .* the private key cannot be read"),
    "garbage for a bundle": ({BUNDLE: b"garbage"}, "bundle file .* has no certificate"),
    "half a certificate": ({CERT: generation(1).cert[:-40]}, "certificate file "),
    "half a key": ({KEY: generation(1).key[:-40]}, "key file .* the private key cannot be read"),
    "half a bundle": ({BUNDLE: generation(1).bundle[:-40]}, "bundle file "),
    "DER": ({CERT: generation(1).context.default.chain_der[0]}, "certificate file "),
    "a key for a certificate": ({CERT: generation(1).key}, "certificate file "),
    "a certificate for a key": ({KEY: generation(1).cert}, "key file .* cannot be read"),
    "a key in the bundle": ({BUNDLE: generation(1).bundle + generation(1).key}, "bundle file "),
    "the key of another": ({KEY: generation(2).key}, "key file .* does not belong"),
    "the certificate of another": ({CERT: generation(2).cert}, "key file .* does not belong"),
    "an encrypted key": ({KEY: _encrypted()}, "key file .* unencrypted"),
    "no SPIFFE ID": (_mutated(uris=[]), "certificate file .* no SPIFFE ID"),
    "a host's name alone": (_mutated(uris=[], dns_names=["a.test"]), "certificate file .* no SP"),
    "a CA": (_mutated(ca=True), "certificate file .* CA"),
    "no key usage": (_mutated(key_usage=None), "certificate file .* key usage"),
    "a leaf for an intermediate": (
        {CERT: generation(1).cert + generation(2).cert},
        "certificate file .* certificate 2 of the chain",
    ),
    "another domain's authorities too": (
        {BUNDLE: generation(1).bundle + OTHER_AUTHORITY.bundle.to_pem()},
        "bundle file .* is for a.test and has an authority of b.test, which could forge",
    ),
    "another domain's authorities": (
        {BUNDLE: OTHER_AUTHORITY.bundle.to_pem()},
        "bundle file .* has an authority of b.test",
    ),
    "broken JSON": ({BUNDLE: b'{"keys": ['}, "bundle file .* not JSON"),
    "JSON of a kind": ({BUNDLE: b"{}"}, "bundle file .* no array 'keys'"),
    "a map without ours": (
        _bundle({"trust_domains": {"b.test": jwks(OTHER_AUTHORITY.bundle)}}),
        "bundle file .* bundle map without our own a.test",
    ),
    "a broken map": (_bundle({"trust_domains": []}), "bundle file .* no object 'trust_domains'"),
    "both a map and a document": (
        _bundle({"trust_domains": {}, "keys": []}),
        "bundle file .* both a bundle map and a bundle document",
    ),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_unusable(folder: Folder, case: str) -> None:
    """What cannot be used is refused whole, with the file, the reason and an advice; no key shows."""
    contents, text = UNUSABLE[case]
    for name, data in contents.items():
        folder.put(name, data)
    problem = problem_of(look(folder.files()))
    assert not problem.unreadable
    assert re.search(text, problem.text)
    assert str(folder.path) in problem.text
    for line in generation(1).key.splitlines()[1:-1]:
        assert line.decode() not in repr(problem)


def test_named_bundle_of_our_own_domain_twice(folder: Folder) -> None:
    """The own bundle in two files is refused: which one is meant is not for us to say."""
    files = folder.files(bundle_files={DOMAIN: folder.path / BUNDLE})
    assert "both hold the bundle of a.test" in problem_of(look(files)).text


def test_no_file_for_our_own_domain(folder: Folder) -> None:
    """Without a bundle for the identity's own trust domain there is no identity."""
    folder.put("b.pem", OTHER_AUTHORITY.bundle.to_pem())
    files = folder.files(bundle_file=None, bundle_files={"b.test": folder.path / "b.pem"})
    assert "no file is for the bundle of a.test" in problem_of(look(files)).text


def test_map_for_one_domain(folder: Folder) -> None:
    """A bundle map is no bundle of one trust domain."""
    folder.put("b.json", json.dumps({"trust_domains": {"b.test": {"keys": []}}}).encode())
    files = folder.files(bundle_files={"b.test": folder.path / "b.json"})
    problem = problem_of(look(files))
    assert "bundle file of b.test" in problem.text
    assert "is a bundle map, where one bundle belongs" in problem.text


def test_bad_named_bundle(folder: Folder) -> None:
    """A broken bundle of another trust domain refuses the set: files are corrected, not guessed."""
    folder.put("b.json", b"{")
    files = folder.files(bundle_files={"b.test": folder.path / "b.json"})
    assert "bundle file of b.test" in problem_of(look(files)).text


def test_other_trust_domain(folder: Folder) -> None:
    """An identity of another trust domain than the one asked for is refused."""
    problem = problem_of(look(folder.files(trust_domain="b.test")))
    assert f"is for {ID}/1, which is not of b.test" in problem.text


def test_authority_that_says_nothing(folder: Folder) -> None:
    """An authority whose names say nothing of a trust domain is taken: upstream ones do not."""
    silent = AUTHORITY.issue_certificate(None, uris=["https://a.test"], ca=True)
    folder.put(BUNDLE, generation(1).bundle + silent.to_pem()[0])
    assert len(context_of(look(folder.files())).bundles[OWN].authorities) == 2


# ---- what cannot be read -------------------------------------------------------------------------


def _missing(path: Path) -> None:
    path.unlink()


def _folder_missing(path: Path) -> None:
    path.unlink()
    path.symlink_to("/nowhere/at/all.pem")


def _below_a_file(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/null/x.pem")


def _loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def _a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def _socket(path: Path) -> None:
    path.unlink()
    before = Path.cwd()
    os.chdir(path.parent)  # a socket's address is short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(before)


def _oversized(path: Path) -> None:
    os.truncate(path, 64 * 1024 * 1024)


UNREADABLE: dict[str, tuple[Callable[[Path], None], str]] = {
    "missing": (_missing, "is not there"),
    "its folder missing": (_folder_missing, "is not there"),
    "below a file": (_below_a_file, "is not there"),
    "a loop of links": (_loop, "cannot be read: Too many levels of symbolic links"),
    "a folder": (_a_folder, "it is a folder"),
    "a pipe": (_fifo, "it is a pipe"),
    "a device": (_device, "it is a device"),
    "a socket": (_socket, "it is a socket"),
    "oversized": (_oversized, "it has 67108864 bytes or more: at most "),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("case", UNREADABLE)
def test_unreadable(folder: Folder, case: str, name: str) -> None:
    """A file that cannot be read is told with its path and the reason, and never waited for."""
    spoil, text = UNREADABLE[case]
    spoil(folder.path / name)
    problem = problem_of(look(folder.files()))
    assert problem.unreadable
    assert str(folder.path / name) in problem.text
    assert text in problem.text


class Refusing(DiskReader):
    """A disk that refuses one file."""

    def __init__(self, name: str, error: OSError) -> None:
        self.name, self.error = name, error

    def read(self, path: str, limit: int) -> FileContent:
        if path.endswith(self.name):
            raise self.error
        return super().read(path, limit)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("error", "text"),
    [
        (PermissionError(errno.EACCES, "x"), "may not be read"),
        (OSError(errno.EIO, "x"), "cannot be read: Input/output error"),
        (OSError(errno.ESTALE, "x"), "cannot be read: Stale file handle"),
        (BlockingIOError(errno.EAGAIN, "x"), "cannot be read: Resource temporarily unavailable"),
        (OSError("odd"), "cannot be read: OSError"),
    ],
)
def test_refused_by_the_system(folder: Folder, name: str, error: OSError, text: str) -> None:
    """Whatever the system answers is told with the path."""
    problem = problem_of(reading(folder.files(), Refusing(name, error)).look(at=START))
    assert problem.unreadable
    assert f"{folder.path / name} {text}" in problem.text


@pytest.mark.parametrize("path", ["/proc/self/stat", "/proc/self/status"])
def test_file_without_a_size(path: str) -> None:
    """A file that the system gives no size is read to the limit and no further."""
    reader = DiskReader()
    assert reader.read(path, 1_000_000).data
    with pytest.raises(Exception, match="or more: at most 10"):
        reader.read(path, 10)


@pytest.mark.parametrize("size", [0, 1])
def test_limits(folder: Folder, size: int) -> None:
    """A file may have as many bytes as the limit says, and not one more."""
    for name, limit in ((CERT, MAX_CHAIN_FILE_BYTES), (KEY, MAX_KEY_FILE_BYTES)):
        data = dict(generation(1).items())[name]
        folder.write(generation(1))
        folder.put(name, data + b"\n" * (limit - len(data) + size))
        outcome = look(folder.files())
        if size:
            assert "or more: at most" in problem_of(outcome).text
        elif name == CERT:
            context_of(outcome)
        else:
            assert "the private key has" in problem_of(outcome).text  # a rule of the SVID itself
