"""The source of plain mutual TLS: it opens, waits, follows and closes as every source does."""

from __future__ import annotations

import asyncio
import textwrap
import threading
from typing import TYPE_CHECKING, Any

import pytest

from serviceradar_security.errors import (
    ConfigError,
    SourceClosedError,
    SourceError,
    SourceTimeoutError,
)
from serviceradar_security.testing import MtlsFiles
from serviceradar_security.testing.authority import FakeAuthority
from serviceradar_security.workload.file_tls_source import TlsFileSource
from tests.workload.clock import ShiftedClock
from tests.workload.peers import until
from tests.workload.scripts import PRELUDE, run_alone

if TYPE_CHECKING:
    from pathlib import Path

    from serviceradar_security.identity.credentials import TlsCredentials


@pytest.fixture
def files(tmp_path: Path) -> MtlsFiles:
    """Files of a party."""
    return MtlsFiles.write(tmp_path)


def source_of(files: MtlsFiles, **options: Any) -> TlsFileSource:
    """Make a source of a party's files."""
    names = {"cert_file": files.cert_file, "key_file": files.key_file, "ca_file": files.ca_file}
    return TlsFileSource(**{**names, "poll_interval": 0.01, **options})


def shows(source: TlsFileSource, files: MtlsFiles) -> bool:
    """Tell whether a source gives what the files hold."""
    chain, key = source.current().to_pem()
    return chain == files.cert_file.read_bytes() and b"PRIVATE" in key


def test_a_life(files: MtlsFiles) -> None:
    """It gives nothing before it is open, the newest credentials then, and nothing afterwards."""
    source = source_of(files)
    with pytest.raises(SourceError, match="not open"):
        source.current()
    assert repr(source) == f"TlsFileSource({str(files.cert_file)!r}, not open)"
    with source as opened:
        assert opened is source
        found = source.wait_ready(timeout=10)
        assert source.current() is found
        assert shows(source, files)
        assert source.status().last_update is not None
        assert repr(source).endswith("READY)")
        assert source.files == tuple(map(str, (files.cert_file, files.key_file, files.ca_file)))
        assert source.trust_domain is None
        files.renew()
        until(lambda: shows(source, files), "the renewed certificate")
        assert source.status().updates == 2
    for ask in (source.current, source.open, source.reload, lambda: source.wait_ready(timeout=1)):
        with pytest.raises(SourceClosedError):
            ask()
    assert source.status().state.value == "CLOSED"
    source.close()


def test_a_certificate_that_peers_refuse(tmp_path: Path) -> None:
    """It serves, and the record is not READY: it says which rule is broken, and what to do."""
    spiffe_id = "spiffe://mesh.test/core"
    files = MtlsFiles.write(tmp_path, spiffe_id=spiffe_id)
    made = FakeAuthority("mesh.test").issue_certificate(spiffe_id)
    for path, data in zip((files.cert_file, files.key_file), made.to_pem(), strict=True):
        path.write_bytes(data)
    with source_of(files, trust_domain="mesh.test") as source:
        found = source.wait_ready(timeout=10)
        status = source.status()
        assert (status.state.value, status.spiffe_id, found.spiffe_id) == ("DEGRADED", None, None)
        assert (
            f"it names {spiffe_id}, which the authorities of clients do not prove" in status.cause
        )
        assert "have a certificate issued" in status.advice
        assert (status.rejected, status.failures) == (0, {})
        files.renew()
        until(lambda: source.status().state.value == "READY", "the renewed certificate")
        assert str(source.current().spiffe_id) == spiffe_id


def test_asyncio(files: MtlsFiles) -> None:
    """Waiting and iterating work in asyncio, and end with the source."""

    async def follow() -> list[TlsCredentials]:
        seen: list[TlsCredentials] = []
        async with source_of(files) as source:
            first = await source.wait_ready_async(timeout=10)
            async for each in source.updates():
                seen.append(each)
                if len(seen) == 2:
                    break
                assert each is first
                files.renew()
        return seen

    first, second = asyncio.run(follow())
    assert first != second


def test_subscribers(files: MtlsFiles) -> None:
    """A subscriber is told of each new set in a thread of its own."""
    told: list[tuple[TlsCredentials, threading.Thread]] = []
    with source_of(files) as source:
        source.wait_ready(timeout=10)
        with source.subscribe(lambda new: told.append((new, threading.current_thread()))):
            files.renew()
            until(lambda: bool(told), "the subscriber")
            assert told[0][0] is source.current()
            assert told[0][1] is not threading.current_thread()


def test_an_end(tmp_path: Path) -> None:
    """The last good set serves until its certificate ends, and is never given after that."""
    files = MtlsFiles.write(tmp_path, ttl=3600)
    clock = ShiftedClock()
    with source_of(files, clock=clock) as source:
        source.wait_ready(timeout=10)
        files.ca_file.unlink()
        until(lambda: source.status().state.value == "DEGRADED", "the missing file")
        assert "authority file" in source.status().cause
        clock.advance(3500)
        source.current()
        clock.advance(200)
        with pytest.raises(SourceError, match=r"serial number .* expired at") as caught:
            source.current()
        assert caught.value.retryable
        assert source.status().state.value == "EXPIRED"


def test_files_that_are_not_there(tmp_path: Path) -> None:
    """A wait that ends in vain says which file is missing and what to do."""
    with (
        TlsFileSource(cert_file=tmp_path / "a", key_file=tmp_path / "b", ca_file="c") as source,
        pytest.raises(SourceTimeoutError, match=r"certificate file .* not there.*correct the path"),
    ):
        source.wait_ready(timeout=0.1)


def test_an_expired_certificate(tmp_path: Path) -> None:
    """A certificate that is over is not taken, and the record names it and its end."""
    files = MtlsFiles.write(tmp_path, ttl=-60)
    with source_of(files) as source:
        until(lambda: source.status().state.value == "NO_IDENTITY", "the refusal")
        assert "serial number" in source.status().cause
        assert "expired at" in source.status().cause


def test_fork(tmp_path: Path) -> None:
    """The child of a fork starts afresh on first use, and the parent is undisturbed."""
    script = """
        from pathlib import Path
        from serviceradar_security.testing import MtlsFiles
        from serviceradar_security.workload.file_tls_source import TlsFileSource

        files = MtlsFiles.write(Path(sys.argv[1]))
        names = dict(cert_file=files.cert_file, key_file=files.key_file, ca_file=files.ca_file)
        with TlsFileSource(**names, poll_interval=0.01) as source:
            parents = source.wait_ready(timeout=10)

            def child():
                assert repr(source).endswith("not open)")
                found = source.wait_ready(timeout=10)
                assert found == parents and found is not parents
                files.renew()
                until(lambda: source.current() != parents)
                source.close()

            assert in_child(child) == 0
            until(lambda: source.current() != parents)
        """
    run_alone(PRELUDE + textwrap.dedent(script), str(tmp_path))


def test_arguments(files: MtlsFiles) -> None:
    """What cannot be honoured is refused before anything is opened."""
    with pytest.raises(ConfigError, match="poll_interval"):
        source_of(files, poll_interval=0)
    with pytest.raises(ConfigError, match="trust_domain"):
        source_of(files, trust_domain="A B")
    assert str(source_of(files, trust_domain="a.test").trust_domain) == "a.test"
