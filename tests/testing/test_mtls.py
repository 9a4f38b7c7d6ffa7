"""Files for plain mutual TLS: they work with each other, and fail with a reason."""

from __future__ import annotations

import socket
import ssl
import threading
from typing import TYPE_CHECKING

import pytest

from serviceradar_security.errors import ConfigError
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


def test_a_folder_that_there_is_not(tmp_path: Path) -> None:
    """What cannot be written is refused by our error, which names it."""
    with pytest.raises(ConfigError, match="missing"):
        MtlsFiles.write(tmp_path / "missing")


def test_without_trustme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra the error says in a line what to install."""
    monkeypatch.setitem(__import__("sys").modules, "trustme", None)

    with pytest.raises(ConfigError, match=r"pip install 'serviceradar-security\[testing\]'"):
        MtlsFiles.write(tmp_path)
