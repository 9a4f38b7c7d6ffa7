"""Files for plain mutual TLS: they work with each other, and fail with a reason."""

from __future__ import annotations

import socket
import ssl
import threading
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509

from serviceradar_security.errors import ConfigError
from serviceradar_security.identity.spiffe_id import SpiffeId
from serviceradar_security.testing import MtlsFiles

if TYPE_CHECKING:
    from pathlib import Path


def context(purpose: int, files: MtlsFiles) -> ssl.SSLContext:
    """Make a context of files that asks for the peer's certificate."""
    made = ssl.SSLContext(purpose)
    made.verify_mode = ssl.CERT_REQUIRED
    made.load_cert_chain(files.cert_file, files.key_file)
    made.load_verify_locations(files.ca_file)
    return made


def shake_hands(server: MtlsFiles, client: MtlsFiles, name: str) -> str:
    """Give what went wrong on the client's side, or nothing."""
    mine, theirs = socket.socketpair()

    def serve() -> None:
        try:
            with context(ssl.PROTOCOL_TLS_SERVER, server).wrap_socket(
                theirs, server_side=True
            ) as secure:
                secure.sendall(b"well")
        except OSError:
            theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        made = context(ssl.PROTOCOL_TLS_CLIENT, client)
        with made.wrap_socket(mine, server_hostname=name) as secure:
            return "" if secure.recv(4) == b"well" else "nothing came"
    except OSError as error:
        return str(error)
    finally:
        mine.close()
        thread.join(10)


def test_two_parties(tmp_path: Path) -> None:
    """Two parties of one authority accept each other, by the names that they were given."""
    server = MtlsFiles.write(tmp_path)
    client = server.peer()

    assert shake_hands(server, client, "localhost") == ""
    assert shake_hands(server, client, "127.0.0.1") == ""
    assert "match" in shake_hands(server, client, "elsewhere")
    assert server.names == client.names == ("localhost", "127.0.0.1")
    assert {path.name for path in tmp_path.iterdir()} == {
        "root.pem",
        "service.pem",
        "service-key.pem",
        "peer.pem",
        "peer-key.pem",
    }


def test_another_authority(tmp_path: Path) -> None:
    """Parties of two authorities refuse each other."""
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()

    assert "CERTIFICATE_VERIFY_FAILED" in shake_hands(
        MtlsFiles.write(one), MtlsFiles.write(other), "localhost"
    )


def test_renewal(tmp_path: Path) -> None:
    """A renewal puts a new certificate and key into the same files, and nothing else there."""
    server = MtlsFiles.write(tmp_path, "core.test", name="core")
    before = [path.read_bytes() for path in (server.cert_file, server.key_file, server.ca_file)]

    server.renew()

    after = [path.read_bytes() for path in (server.cert_file, server.key_file, server.ca_file)]
    assert [one == other for one, other in zip(before, after, strict=True)] == [False, False, True]
    assert len(list(tmp_path.iterdir())) == 3
    assert shake_hands(server, server.peer(), "core.test") == ""


def test_nobody_else_reads_a_key(tmp_path: Path) -> None:
    """Files are the owner's alone, and what is printed shows no key."""
    files = MtlsFiles.write(tmp_path)

    assert files.key_file.stat().st_mode & 0o777 == 0o600
    assert "CA" not in repr(files)


@pytest.mark.parametrize("names", [("",), ("a b", ""), ("*.*.test",)])
def test_names_that_there_are_not(names: tuple[str, ...], tmp_path: Path) -> None:
    """A name that no certificate can have is refused by our error."""
    with pytest.raises(ConfigError, match="no certificate for the names"):
        MtlsFiles.write(tmp_path, *names)


@pytest.mark.parametrize("name", ["../esc", "/esc", "a/b", "", "a\0b", "\ud800", "root"])
def test_a_name_that_is_no_file_of_the_folder(name: str, tmp_path: Path) -> None:
    """Files are written into the folder, and not over the authority: other names are refused."""
    folder = tmp_path / "files"
    folder.mkdir()
    files = MtlsFiles.write(folder)
    before = {path: path.read_bytes() for path in folder.iterdir()}

    for write in (MtlsFiles.write, lambda _, **given: files.peer(**given)):
        with pytest.raises(ConfigError, match="name"):
            write(folder, name=name)

    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("ttl", ["x", float("nan"), float("inf"), 1e300, -1e300, -1e9])
def test_a_life_that_there_is_not(ttl: Any, tmp_path: Path) -> None:
    """A life that no certificate can have is refused, and the files stay as they were."""
    files = MtlsFiles.write(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}

    for write in (files.renew, files.peer):
        with pytest.raises(ConfigError, match=r"ttl|no certificate"):
            write(ttl=ttl)

    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("host", [5, None, "\ud800"])
def test_a_host_that_is_no_text(host: Any, tmp_path: Path) -> None:
    """A host name is a text, and is told alone."""
    with pytest.raises(ConfigError, match=r"host is .*: give a text"):
        MtlsFiles.write(tmp_path, "localhost", host)
    assert list(tmp_path.iterdir()) == []


def test_paths_and_ids_as_elsewhere(tmp_path: Path) -> None:
    """A folder may be a text, and an ID a `SpiffeId`: they give the same as the other forms."""
    parsed = SpiffeId.parse("spiffe://example.org/core")

    files = MtlsFiles.write(str(tmp_path), spiffe_id=parsed)

    assert files.cert_file == tmp_path / "service.pem"
    assert files.spiffe_id == files.peer(spiffe_id=str(parsed)).spiffe_id == str(parsed)
    files.renew()
    (leaf,) = x509.load_pem_x509_certificates(files.cert_file.read_bytes())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [str(parsed)]


def test_who_makes_them(tmp_path: Path) -> None:
    """Files are made by `write` and `peer`, and whoever tries otherwise is told so."""
    files = MtlsFiles.write(tmp_path)
    nobody: Any = None

    with pytest.raises(ConfigError, match=r"MtlsFiles\.write\(\.\.\.\)"):
        MtlsFiles(files.cert_file, files.key_file, files.ca_file, files.names, nobody)


def test_a_folder_that_there_is_not(tmp_path: Path) -> None:
    """What cannot be written is refused by our error, which names it."""
    with pytest.raises(ConfigError, match="missing"):
        MtlsFiles.write(tmp_path / "missing")


def test_without_trustme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra the error says in a line what to install."""
    monkeypatch.setitem(__import__("sys").modules, "trustme", None)

    with pytest.raises(ConfigError, match=r"pip install 'serviceradar-security\[testing\]'"):
        MtlsFiles.write(tmp_path)
