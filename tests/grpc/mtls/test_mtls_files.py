"""The files that `MtlsFiles` writes for tests of mode mtls: names, lives and authorities."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from serviceradar_security import SecurityProvider
from serviceradar_security.errors import ConfigError
from serviceradar_security.testing import MtlsFiles

if TYPE_CHECKING:
    from pathlib import Path

ID = "spiffe://mesh.test/core"


def leaf_of(files: MtlsFiles) -> x509.Certificate:
    """Read the certificate."""
    return x509.load_pem_x509_certificates(files.cert_file.read_bytes())[0]


def test_an_id_beside_the_names(tmp_path: Path) -> None:
    """A certificate can name a SPIFFE ID beside hosts, as those of the platform's scripts do."""
    files = MtlsFiles.write(tmp_path, "core.test", "127.0.0.1", spiffe_id=ID)
    found = leaf_of(files).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert found.get_values_for_type(x509.UniformResourceIdentifier) == [ID]
    assert found.get_values_for_type(x509.DNSName) == ["core.test"]
    assert [str(each) for each in found.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    block = files.block(trust_domain="mesh.test")
    with SecurityProvider.open(block) as security:
        security.wait_ready(timeout=10)
        assert str(security.spiffe_id) == ID
    before = leaf_of(files)
    files.renew()
    assert leaf_of(files).serial_number != before.serial_number


@pytest.mark.parametrize("spiffe_id", ["", ID])
@pytest.mark.parametrize("ttl", [-60.0, 3600.0])
def test_a_life(tmp_path: Path, ttl: float, spiffe_id: str) -> None:
    """A certificate ends when it is asked to."""
    end = leaf_of(MtlsFiles.write(tmp_path, ttl=ttl, spiffe_id=spiffe_id)).not_valid_after_utc
    assert abs(end - datetime.now(UTC) - timedelta(seconds=ttl)) < timedelta(seconds=30)


@pytest.mark.parametrize("keep", [False, True])
def test_another_authority(tmp_path: Path, *, keep: bool) -> None:
    """A new authority goes into the file of all parties, and renewals are of it."""
    files = MtlsFiles.write(tmp_path)
    peer = files.peer()
    old = files.ca_file.read_bytes()
    files.replace_authority(keep_old=keep)
    new = files.ca_file.read_bytes()
    assert (old in new) == keep
    assert peer.ca_file.read_bytes() == new
    root = x509.load_pem_x509_certificates(new)[0]
    with pytest.raises(ValueError, match="issuer"):
        leaf_of(peer).verify_directly_issued_by(root)
    peer.renew()
    leaf_of(peer).verify_directly_issued_by(root)


def test_no_id(tmp_path: Path) -> None:
    """What is no SPIFFE ID is refused by our error."""
    with pytest.raises(ConfigError, match="no certificate for the names"):
        MtlsFiles.write(tmp_path, spiffe_id="core.test")


def test_a_folder_that_went_away(tmp_path: Path) -> None:
    """What cannot be written any more is refused by our error."""
    folder = tmp_path / "files"
    folder.mkdir()
    files = MtlsFiles.write(folder)
    for each in folder.iterdir():
        each.unlink()
    folder.rmdir()
    with pytest.raises(ConfigError, match="cannot be written"):
        files.replace_authority()
