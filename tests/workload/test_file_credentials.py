"""Files of plain mutual TLS: what they make together, and what is refused of them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import pytest

from serviceradar_security.errors import ConfigError
from serviceradar_security.testing.authority import FakeAuthority
from serviceradar_security.workload.file_credentials import CredentialFiles
from serviceradar_security.workload.file_disk import DiskReader
from serviceradar_security.workload.file_reading import FileProblem, FileSnapshot, FilesReader
from tests.workload.clock import START
from tests.workload.identity_files import Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from serviceradar_security.identity.credentials import TlsCredentials

CERT, KEY, CA, CLIENT_CA = "cert.pem", "key.pem", "ca.pem", "clients.pem"
NAMES: Final = (CERT, KEY, CA, CLIENT_CA)
ID: Final = "spiffe://mesh.test/core"


def generation(number: int) -> dict[str, bytes]:
    """Give what four files hold; each generation has authorities of its own."""
    servers = FakeAuthority("mesh.test", now=lambda: START)
    clients = FakeAuthority("clients.test", now=lambda: START)
    made = servers.issue_certificate(ID, dns_names=[f"core{number}.test"])
    chain, key = made.to_pem()
    roots = servers.bundle.to_pem(), clients.bundle.to_pem()
    return dict(zip(NAMES, (chain, key, *roots), strict=True))


FIRST: Final = generation(1)
SECOND: Final = generation(2)


def put(folder: Path, content: dict[str, bytes]) -> None:
    """Write files in place, readable by their owner alone."""
    for name, data in content.items():
        path = folder / name
        path.touch(mode=0o600)
        path.write_bytes(data)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder with the first generation."""
    put(tmp_path, FIRST)
    return tmp_path


def files_in(folder: Path, **options: Any) -> CredentialFiles:
    """Name the files of a folder."""
    given: dict[str, Any] = {
        "cert_file": folder / CERT,
        "key_file": folder / KEY,
        "ca_file": folder / CA,
        "client_ca_file": folder / CLIENT_CA,
    }
    return CredentialFiles.of(**{**given, **options})


def look(files: CredentialFiles, reader: DiskReader | None = None) -> Any:
    """Read a set once."""
    return FilesReader(files, reader or DiskReader()).look(at=START)


def held(credentials: TlsCredentials) -> dict[str, bytes]:
    """Give what the files held of which the credentials were made."""
    parts = (*credentials.to_pem(), credentials.authorities.to_pem())
    return dict(zip(NAMES, (*parts, credentials.client_authorities.to_pem()), strict=True))


def test_four_files(here: Path) -> None:
    """Chain, key and both sets of authorities become one snapshot."""
    outcome = look(files_in(here))
    assert isinstance(outcome, FileSnapshot)
    assert (held(outcome.context), outcome.warnings, outcome.doubt) == (FIRST, (), None)
    assert outcome.held.spiffe_id is None
    assert outcome.held.title.startswith("the certificate with serial number")
    assert outcome.held.not_after == outcome.context.not_after


def test_our_id(here: Path) -> None:
    """Our ID is in the record if the authorities of clients prove it; else a doubt names the file."""
    proven = look(files_in(here, trust_domain="mesh.test", client_ca_file=None))
    assert (proven.held.title, str(proven.held.spiffe_id), proven.doubt) == (ID, ID, None)
    claimed = look(files_in(here, trust_domain="mesh.test"))
    assert isinstance(claimed, FileSnapshot)
    assert claimed.held.spiffe_id is None
    assert claimed.doubt is not None
    assert claimed.doubt.text.startswith(
        f"the certificate file {here / CERT}: it names {ID}, which"
    )
    assert "the authorities of clients do not prove" in claimed.doubt.text
    assert "by an authority of these files" in claimed.doubt.advice
    assert not claimed.doubt.unreadable


@pytest.mark.parametrize(("name", "held_by"), [(CA, "authority file"), (CLIENT_CA, "of clients")])
def test_a_leaf_among_the_authorities(here: Path, name: str, held_by: str) -> None:
    """A certificate without cA is no authority: the file is refused whole, and named."""
    (here / name).write_bytes(FIRST[name] + FIRST[CERT])
    problem = look(files_in(here))
    assert isinstance(problem, FileProblem)
    assert "certificate 2 of" in problem.text
    assert "is no authority" in problem.text
    assert held_by in problem.text
    assert str(here / name) in problem.text
    assert problem.advice.startswith("write the certificates of the authorities")


@pytest.mark.parametrize("options", [{"client_ca_file": None}, {"client_ca_file": CA}])
def test_one_file_of_authorities(here: Path, options: dict[str, Any]) -> None:
    """Without a file for clients, or with the same, the authorities are the same."""
    given = {name: each and here / each for name, each in options.items()}
    files = files_in(here, **given)
    assert len(list(files)) == 3
    context = look(files).context
    assert context.client_authorities is context.authorities


def test_one_file_for_chain_and_key(here: Path) -> None:
    """Key and chain may be in one file."""
    (here / CERT).write_bytes(FIRST[KEY] + FIRST[CERT])
    assert held(look(files_in(here, key_file=here / CERT)).context) == FIRST


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        (CERT, b"", "certificate file .* is empty"),
        (KEY, b" \n", "key file .* is empty"),
        (CA, b"", "authority file .* is empty"),
        (CLIENT_CA, b"", "authority file of clients .* is empty"),
        (CERT, FIRST[CERT][:-30], "the certificate chain cannot be read"),
        (KEY, FIRST[KEY][:-30], "the private key cannot be read"),
        (KEY, SECOND[KEY], "does not belong"),
        (CA, FIRST[CA][:-30], "authority file .* has a certificate that cannot be read"),
        (CA, FIRST[KEY], "a block that is not a CERTIFICATE"),
        (CLIENT_CA, b"text", "authority file of clients .* has no certificates"),
    ],
    ids=[
        "no chain",
        "no key",
        "no authorities",
        "no authorities of clients",
        "chain cut off",
        "key cut off",
        "key of another",
        "authorities cut off",
        "a key among authorities",
        "text",
    ],
)
def test_unusable(here: Path, name: str, data: bytes, reason: str) -> None:
    """What cannot be used is named with its file and a remedy, and nothing of it is shown."""
    (here / name).write_bytes(data)
    problem = look(files_in(here))
    assert isinstance(problem, FileProblem)
    assert re.search(reason, problem.text), problem.text
    assert problem.advice.startswith("write" if data.strip() else "see that")
    assert not problem.unreadable
    assert FIRST[KEY].decode().splitlines()[1] not in f"{problem!r}"


@pytest.mark.parametrize("name", NAMES)
def test_missing(here: Path, name: str) -> None:
    """A file that is not there is told by its path."""
    (here / name).unlink()
    problem = look(files_in(here))
    assert isinstance(problem, FileProblem)
    assert problem.unreadable
    assert f"{here / name} is not there" in problem.text


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("operation", range(14))
def test_a_file_replaced_at_any_moment(here: Path, name: str, operation: int) -> None:
    """Whenever a set is replaced while it is read, the old one or the new one comes, never both."""

    def replace_all() -> None:
        for each in (name, *(other for other in NAMES if other != name)):
            (here / f"{each}.new").write_bytes(SECOND[each])
            (here / f"{each}.new").replace(here / each)

    steps: list[Callable[[], object]] = [lambda: None] * operation
    outcome = look(files_in(here), Interrupted([*steps, replace_all]))
    assert isinstance(outcome, FileSnapshot)
    assert held(outcome.context) in (FIRST, SECOND)


@pytest.mark.parametrize("name", NAMES)
def test_file_that_others_may_write(here: Path, name: str) -> None:
    """Authorities that others may write are worth a warning: they decide whom we trust."""
    (here / name).chmod(0o606)
    outcome = look(files_in(here))
    assert isinstance(outcome, FileSnapshot)
    writable = [each for each in outcome.warnings if "may be written by everybody" in each]
    assert len(writable) == 1
    assert str(here / name) in writable[0]


def test_every_problem_of_the_arguments() -> None:
    """Arguments that cannot be used are told all at once."""
    wrong: Any = {"cert_file": 1, "key_file": "a\0b", "ca_file": "/", "trust_domain": "A B"}
    with pytest.raises(ConfigError) as caught:
        CredentialFiles.of(**wrong, client_ca_file="..")
    paths = [each.path for each in caught.value.problems]
    assert sorted(paths) == ["ca_file", "cert_file", "client_ca_file", "key_file", "trust_domain"]
