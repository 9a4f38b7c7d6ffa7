"""Files read as one set: what is taken of them, and what changes count."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from typing import Final

import pytest

from serviceradar_security import TrustDomain
from serviceradar_security.workload.file_disk import DiskReader
from serviceradar_security.workload.file_reading import (
    FileProblem,
    FileReader,
    FileSnapshot,
)
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
    Interrupted,
    Triple,
    context_of,
    generation,
    jwks,
    look,
    problem_of,
    reading,
    triple,
)
from tests.workload.users import descriptors

OWN = TrustDomain.parse(DOMAIN)
OTHER = OTHER_AUTHORITY.trust_domain


FIRST: Final = generation  # what the fixture `folder` begins with


# ---- good ones -----------------------------------------------------------------------------------


def test_pem(folder: Folder) -> None:
    """PEM files give the identity, with its bundle under its own trust domain and no other."""
    context = context_of(look(folder.files()))
    assert context == generation(1).context
    assert list(context.bundles) == [OWN]


@pytest.mark.parametrize("order", ["chain first", "key first"])
def test_one_file_for_both(folder: Folder, order: str) -> None:
    """Chain and key may be in one file, in any order."""
    parts = [generation(1).cert, generation(1).key]
    folder.put("both.pem", b"".join(parts if order == "chain first" else parts[::-1]))
    both = folder.path / "both.pem"
    assert context_of(look(folder.files(cert_file=both, key_file=both))) == generation(1).context


def test_intermediates(folder: Folder) -> None:
    """A chain is taken whole, the leaf first."""
    folder.write(triple(AUTHORITY.issue(ID, intermediates=2)))
    assert len(context_of(look(folder.files())).default.certificates) == 3


@pytest.mark.parametrize("lead", [b"", b"\n  "])
def test_bundle_document(folder: Folder, lead: bytes) -> None:
    """The own bundle may be a SPIFFE bundle document."""
    folder.write(triple(AUTHORITY.issue(ID)))
    folder.put(BUNDLE, lead + json.dumps(jwks(AUTHORITY.bundle, spiffe_sequence=3)).encode())
    context = context_of(look(folder.files()))
    assert context.bundles[OWN] == AUTHORITY.bundle
    assert context.bundles[OWN].sequence == 3


def test_bundle_map(folder: Folder) -> None:
    """The own bundle may be in a bundle map, which names the trust domain of each."""
    folder.write(triple(AUTHORITY.issue(ID)))
    members = {DOMAIN: jwks(AUTHORITY.bundle), "b.test": jwks(OTHER_AUTHORITY.bundle)}
    folder.put(BUNDLE, json.dumps({"trust_domains": members}).encode())
    bundles = context_of(look(folder.files())).bundles
    assert bundles == {OWN: AUTHORITY.bundle, OTHER: OTHER_AUTHORITY.bundle}


@pytest.mark.parametrize("form", ["pem", "jwks"])
@pytest.mark.parametrize("own", ["bundle_file", "bundle_files"])
def test_bundles_of_other_domains(folder: Folder, form: str, own: str) -> None:
    """Other trust domains are those that the user names (R-BUNDLE-12)."""
    folder.write(triple(AUTHORITY.issue(ID)))
    bundle = OTHER_AUTHORITY.bundle
    data = bundle.to_pem() if form == "pem" else json.dumps(jwks(bundle)).encode()
    folder.put("named-c.test.pem", data)
    bundles: dict[object, object] = {"b.test": folder.path / "named-c.test.pem"}
    options: dict[str, object] = {"bundle_files": bundles}
    if own == "bundle_files":
        bundles[OWN] = folder.path / BUNDLE
        options["bundle_file"] = None
    context = context_of(look(folder.files(**options)))
    assert context.bundles == {OWN: AUTHORITY.bundle, OTHER: bundle}


def test_hint_and_trust_domain(folder: Folder) -> None:
    """The identity gets the hint that the user gives, and is of the trust domain asked for."""
    files = folder.files(hint="internal", trust_domain=DOMAIN)
    assert context_of(look(files)).by_hint("internal").spiffe_id.trust_domain == OWN


# ---- what is dubious -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "who"),
    [(0o600, ""), (0o400, ""), (0o640, "its group"), (0o440, "its group"), (0o644, "everybody")],
)
def test_key_that_others_may_read(folder: Folder, mode: int, who: str) -> None:
    """A key that others may read is taken, since volumes often are so, with a warning."""
    (folder.path / KEY).chmod(mode)
    outcome = look(folder.files())
    assert isinstance(outcome, FileSnapshot)
    assert len(outcome.warnings) == bool(who)
    for warning in outcome.warnings:
        assert f"key file {folder.path / KEY} may be read by {who}" in warning
        assert f"mode {mode:04o}" in warning


def test_identity_that_its_bundle_does_not_prove(folder: Folder) -> None:
    """An identity that its own bundle does not prove is read, with a doubt (R-X509-29)."""
    folder.put(BUNDLE, generation(2).bundle)
    outcome = look(folder.files())
    assert isinstance(outcome, FileSnapshot)
    assert outcome.doubt is not None
    assert "is not proven by the bundle beside it" in outcome.doubt.text
    assert "write the bundle" in outcome.doubt.advice
    assert outcome.warnings == ()
    expired = look(folder.files(), at=START + timedelta(days=1))
    assert isinstance(expired, FileSnapshot)
    assert expired.doubt is None  # that it expired is told elsewhere


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("mode", "who"), [(0o620, "its group"), (0o602, "everybody")])
def test_file_that_others_may_write(folder: Folder, name: str, mode: int, who: str) -> None:
    """A file that others may write is named once, with its mode and the remedy."""
    (folder.path / name).chmod(mode)
    outcome = look(folder.files())
    assert isinstance(outcome, FileSnapshot)
    (warning,) = outcome.warnings
    assert f"{folder.path / name} may be written by {who} on this host (mode {mode:04o})" in warning
    assert "chmod go-w" in warning


@pytest.mark.parametrize(
    ("mode", "who"),
    [
        (0o755, ""),
        (0o775, "its group"),
        (0o757, "everybody"),
        (0o1777, ""),
        (0o3777, ""),
        (0o2775, "its group"),
    ],
)
def test_folder_that_others_may_write(folder: Folder, mode: int, who: str) -> None:
    """A folder in which others can replace the files is named once; a sticky one is no danger."""
    folder.path.chmod(mode)
    outcome = look(folder.files())
    assert isinstance(outcome, FileSnapshot)
    assert len(outcome.warnings) == bool(who)
    for warning in outcome.warnings:
        assert f"{folder.path / CERT} may be written by {who}" in warning
        assert f"(mode {mode:04o})" in warning
        assert "chmod go-w" in warning


# ---- changes -------------------------------------------------------------------------------------


def test_unchanged(folder: Folder) -> None:
    """What did not change is read once and not parsed again, good or bad."""
    for contents in (generation(1), Triple(b"x", b"y", b"z")):
        folder.write(contents)
        disk = Interrupted()
        reader = reading(folder.files(), disk)
        first = reader.look(at=START)
        assert disk.reads == 6
        assert reader.look(at=START) is first
        assert disk.reads == 9


@pytest.mark.parametrize("how", ["touched", "written again", "replaced by the same"])
def test_same_content(folder: Folder, how: str) -> None:
    """The same bytes are the same identity, however new the files are (R-WLAPI-32)."""
    reader = reading(folder.files())
    first = reader.look(at=START)
    if how == "touched":
        for name in NAMES:
            os.utime(folder.path / name, ns=(1, 1))
    elif how == "written again":
        folder.write(generation(1))
    else:
        folder.replace(generation(1))
    assert reader.look(at=START) is first


def test_change_that_the_system_does_not_show(folder: Folder) -> None:
    """Other bytes are another identity, though size and time of the file stay the same."""
    path = folder.path / BUNDLE
    os.utime(path, ns=(1, 1))
    reader = reading(folder.files())
    first = context_of(reader.look(at=START))
    status = path.stat()
    data = bytearray(path.read_bytes())
    data[-2:-1] = b" "  # the last dash of the last line
    path.write_bytes(data)
    os.utime(path, ns=(1, 1))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    outcome = reader.look(at=START)
    assert isinstance(outcome, FileProblem) or outcome.context != first


def test_back_again(folder: Folder) -> None:
    """A set that was broken and is as before is the one before."""
    reader = reading(folder.files())
    first = context_of(reader.look(at=START))
    folder.put(KEY, b"")
    problem_of(reader.look(at=START))
    folder.write(generation(1))
    assert context_of(reader.look(at=START)) == first


def test_older_bundle_document(folder: Folder) -> None:
    """A bundle document never gives way to an older one (R-BUNDLE-09)."""
    reader = reading(folder.files())

    def publish(**members: object) -> object:
        folder.write(triple(AUTHORITY.issue(ID)))
        folder.put(BUNDLE, json.dumps(jwks(AUTHORITY.bundle, **members)).encode())
        return reader.look(at=START)

    context_of(publish(spiffe_sequence=7))
    problem = problem_of(publish(spiffe_sequence=6))
    assert "spiffe_sequence 6, which is older than the 7 in force" in problem.text
    context_of(publish(spiffe_sequence=7))
    context_of(publish(spiffe_sequence=8))
    context_of(publish())
    context_of(publish(spiffe_sequence=1))  # after one without a number anything goes


def test_other_identity(folder: Folder) -> None:
    """An identity of another trust domain takes the place of the one before, with its bundle."""
    reader = reading(folder.files())
    context_of(reader.look(at=START))
    folder.write(triple(OTHER_AUTHORITY.issue("spiffe://b.test/x"), OTHER_AUTHORITY))
    assert list(context_of(reader.look(at=START)).bundles) == [OTHER]


def test_forget(folder: Folder) -> None:
    """What is forgotten is read anew."""
    disk = Interrupted()
    reader = reading(folder.files(), disk)
    first = reader.look(at=START)
    reader.forget()
    again = reader.look(at=START)
    assert again == first
    assert again is not first


def test_contents_show_no_key(folder: Folder) -> None:
    """What was read shows nothing of its bytes."""
    content = DiskReader().read(str(folder.path / KEY), MAX_KEY_FILE_BYTES)
    assert content.data == generation(1).key
    assert "PRIVATE" not in repr(content)
    assert "PRIVATE" not in str(content)


def test_the_disk_is_a_reader(folder: Folder) -> None:
    """The disk's reader is what a set is read with, and leaves no descriptor open."""
    disk: FileReader = DiskReader()
    before = descriptors()
    for name in NAMES:
        disk.read(str(folder.path / name), MAX_CHAIN_FILE_BYTES)
    assert disk.link(str(folder.path / CERT)) is None
    assert descriptors() == before
