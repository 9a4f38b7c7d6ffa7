"""Files that change under running services: rotation, replacement, damage, and the end of a life."""

from __future__ import annotations

import contextlib
import ssl
import warnings
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from cryptography import x509

from serviceradar_security import SecurityProvider, SourceTimeoutError
from serviceradar_security.grpc import host_channel, tls_server_credentials
from serviceradar_security.testing import MtlsFiles
from serviceradar_security.workload.file_tls_source import TlsFileSource
from tests.grpc.client.conftest import Server, eventually
from tests.grpc.mtls.party import STACKS, dial, outcome, serving
from tests.grpc.server.service import DEADLINE, SERVICE
from tests.grpc.server.tls_client import call_once, context_for, presented
from tests.workload.clock import ShiftedClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

METHOD = f"/{SERVICE}/unary_unary"
UNARY = "/t/unary"
HOUR = 3600.0


@pytest.fixture
def core(tmp_path: Path) -> MtlsFiles:
    """The files of a server."""
    return MtlsFiles.write(tmp_path, name="core")


@contextlib.contextmanager
def opened(files: MtlsFiles, **members: Any) -> Iterator[SecurityProvider]:
    """Open a provider of files and wait for it."""
    with SecurityProvider.open(files.block(**members)) as security:
        security.wait_ready(timeout=DEADLINE)
        yield security


def reload(security: SecurityProvider) -> None:
    """Let a provider look at its files now, and wait until it took what is new."""
    source = security.source
    assert isinstance(source, TlsFileSource)
    updates = source.status().updates
    source.reload()
    eventually(lambda: source.status().updates > updates)


def serial_of(pem: bytes) -> int:
    """Give the serial number of the first certificate."""
    return x509.load_pem_x509_certificates(pem)[0].serial_number


# ---- rotation ------------------------------------------------------------------------------------


@pytest.mark.parametrize("stack", STACKS)
def test_a_server_shows_its_newest_certificate(core: MtlsFiles, stack: str) -> None:
    """Each handshake is done with what the files hold now; calls go on meanwhile."""
    client = core.peer(name="poller")
    with (
        opened(core) as security,
        opened(client) as caller,
        serving(stack, security) as server,
        caller.grpc_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        assert outcome(channel)[0] == "OK"
        for _ in range(3):
            core.renew()
            reload(security)
            shown = presented(server.port)
            assert shown is not None
            assert shown.serial_number == serial_of(core.cert_file.read_bytes())
            assert outcome(channel)[0] == "OK"
            assert dial(stack, caller, f"127.0.0.1:{server.port}")[0] == "OK"


@pytest.mark.parametrize("stack", STACKS)
def test_a_client_shows_its_newest_certificate(core: MtlsFiles, stack: str) -> None:
    """A new connection of a client is made with what the files hold, within two seconds."""
    client = core.peer(name="poller")
    chain, key, root = (each.read_bytes() for each in (core.cert_file, core.key_file, core.ca_file))
    server = Server(_Files(chain, key), root)  # type: ignore[arg-type] # it asks for PEM alone
    with opened(client) as caller:
        assert dial(stack, caller, server.target, UNARY)[0] == "OK"
        client.renew()
        reload(caller)
        newest = serial_of(client.cert_file.read_bytes())
        eventually(lambda: dial(stack, caller, server.target, UNARY) == ("OK", str(newest)))
    server.stop()


class _Files:
    """Chain and key, as the helper for servers asks for them."""

    def __init__(self, chain: bytes, key: bytes) -> None:
        self._pem = chain, key

    def to_pem(self) -> tuple[bytes, bytes]:
        return self._pem


@pytest.mark.parametrize("stack", STACKS)
def test_replacement_of_the_authority(core: MtlsFiles, stack: str) -> None:
    """With both authorities trusted first, no call fails; when the old one goes, so do its parties."""
    client, laggard = core.peer(name="poller"), core.peer(name="laggard")
    with (
        opened(core) as security,
        opened(client) as caller,
        opened(laggard) as late,
        serving(stack, security) as server,
    ):
        target = f"127.0.0.1:{server.port}"
        with caller.grpc_channel(target) as channel, late.grpc_channel(target) as old:
            assert [outcome(each)[0] for each in (channel, old)] == ["OK", "OK"]
            core.replace_authority(keep_old=True)
            for each in (security, caller, late):
                reload(each)
            for files, each in ((client, caller), (core, security)):
                files.renew()
                reload(each)
                assert outcome(channel)[0] == "OK"
            core.ca_file.write_bytes(core.ca_file.read_bytes().split(b"-----END")[0] + _END)
            for each in (security, caller, late):
                reload(each)
            eventually(lambda: outcome(channel)[0] == "OK")
            assert dial(stack, caller, target)[0] == "OK"
            # The laggard's connection lives on, and its next call is judged anew.
            before = len(server.seen.requests)
            assert outcome(old)[0] in ("UNAUTHENTICATED", "UNAVAILABLE")
            assert dial(stack, late, target)[0] == "UNAVAILABLE"
            assert len(server.seen.requests) == before


_END = b"-----END CERTIFICATE-----\n"


@pytest.mark.parametrize("stack", STACKS)
def test_a_client_drops_a_removed_authority(core: MtlsFiles, stack: str) -> None:
    """A live channel does not outlive the authority that its server was verified by."""
    client = core.peer(name="poller")
    with (
        opened(core) as security,
        opened(client) as caller,
        serving(stack, security) as server,
        caller.grpc_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        assert outcome(channel)[0] == "OK"
        core.replace_authority()
        reload(caller)
        eventually(lambda: outcome(channel)[0] == "UNAVAILABLE")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("stack", STACKS)
def test_a_resumed_session_gains_nothing(
    core: MtlsFiles,
    stack: str,
    version: ssl.TLSVersion,
    tmp_path: Path,
) -> None:
    """A client whose authority was removed is not served on an old session's ticket (R-TLS-10)."""
    client = core.peer(name="poller")
    shown = _Files(client.cert_file.read_bytes(), client.key_file.read_bytes())
    context = context_for(shown, tmp_path, version=version)  # type: ignore[arg-type] # it asks for PEM alone
    with opened(core) as security, serving(stack, security) as server:
        first = call_once(context, server.port)
        assert first.status == "0"
        again = call_once(context, server.port, first.session)
        assert (again.status, again.resumed) == ("0", False)
        core.replace_authority()
        core.renew()
        reload(security)
        handled = len(server.seen.handled)
        assert call_once(context, server.port, first.session).status != "0"
        assert len(server.seen.handled) == handled


@pytest.mark.parametrize(
    ("version", "status"), [(ssl.TLSVersion.TLSv1_1, ""), (ssl.TLSVersion.TLSv1_2, "0")]
)
def test_the_oldest_version(
    core: MtlsFiles, version: ssl.TLSVersion, status: str, tmp_path: Path
) -> None:
    """TLS 1.2 is the oldest version that a server speaks (R-TLS-09)."""
    client = core.peer(name="poller")
    shown = _Files(client.cert_file.read_bytes(), client.key_file.read_bytes())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the version, which is the point
        context = context_for(shown, tmp_path, version=version)  # type: ignore[arg-type] # likewise
    context.set_ciphers("ALL:@SECLEVEL=0")
    with opened(core) as security, serving("sync", security) as server:
        assert call_once(context, server.port).status == status


# ---- damage --------------------------------------------------------------------------------------


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


DAMAGE: list[Any] = [
    pytest.param(lambda files: files.key_file.unlink(), "key file", id="key deleted"),
    pytest.param(lambda files: files.cert_file.unlink(), "certificate file", id="chain deleted"),
    pytest.param(lambda files: files.ca_file.unlink(), "authority file", id="authority deleted"),
    pytest.param(lambda files: _cut(files.key_file), "key file", id="key torn"),
    pytest.param(lambda files: _cut(files.cert_file), "certificate file", id="chain torn"),
    pytest.param(lambda files: _cut(files.ca_file), "authority file", id="authority torn"),
    pytest.param(lambda files: files.ca_file.write_bytes(b""), "authority file", id="emptied"),
    pytest.param(
        lambda files: files.ca_file.write_bytes(files.ca_file.read_bytes() + b"-----BEGIN X-----"),
        "authority file",
        id="another block",
    ),
    pytest.param(
        lambda files: files.key_file.write_bytes(files.peer(name="x").key_file.read_bytes()),
        "does not belong",
        id="key of another",
    ),
]


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize(("damage", "named"), DAMAGE)
def test_damage(
    core: MtlsFiles,
    stack: str,
    damage: Callable[[MtlsFiles], object],
    named: str,
) -> None:
    """Files that are torn or gone leave the last good ones in force, and the record names them."""
    with opened(core) as security, serving(stack, security) as server:
        source = security.source
        assert isinstance(source, TlsFileSource)
        damage(core)

        def state() -> str:
            source.reload()
            return source.status().state.value

        eventually(lambda: state() == "DEGRADED")
        status = source.status()
        assert named in status.cause
        assert status.advice
        assert "PRIVATE" not in f"{status!r}{security!r}{source.current()!r}"
        assert dial(stack, security, f"127.0.0.1:{server.port}")[0] == "OK"


@contextlib.contextmanager
def _shifted(files: MtlsFiles) -> Iterator[tuple[TlsFileSource, ShiftedClock]]:
    clock = ShiftedClock()
    source = TlsFileSource(
        cert_file=files.cert_file, key_file=files.key_file, ca_file=files.ca_file, clock=clock
    )
    with source:
        source.wait_ready(timeout=DEADLINE)
        yield source, clock


def test_a_server_ends_with_its_certificate(tmp_path: Path) -> None:
    """The last good certificate serves until its end, and then every handshake fails."""
    files = MtlsFiles.write(tmp_path, name="core", ttl=HOUR)
    client = files.peer(name="poller")
    with _shifted(files) as (source, clock), opened(client) as caller:
        server = grpc.server(_pool())
        server.add_generic_rpc_handlers([_handler()])
        port = server.add_secure_port("127.0.0.1:0", tls_server_credentials(source))
        server.start()
        files.key_file.unlink()
        clock.advance(HOUR - 60)
        assert dial("sync", caller, f"127.0.0.1:{port}")[0] == "OK"
        clock.advance(120)
        assert dial("sync", caller, f"127.0.0.1:{port}")[0] == "UNAVAILABLE"
        assert source.status().state.value == "EXPIRED"
        files.renew()
        source.reload()
        eventually(lambda: dial("sync", caller, f"127.0.0.1:{port}")[0] == "OK")
        server.stop(None).wait(DEADLINE)


def test_a_client_ends_with_its_certificate(tmp_path: Path) -> None:
    """A channel is cut off at the end of its certificate, live connections too, and comes back."""
    core = MtlsFiles.write(tmp_path, name="core")
    files = core.peer(name="poller", ttl=HOUR)
    with (
        opened(core) as security,
        serving("sync", security) as server,
        _shifted(files) as (source, clock),
        host_channel(f"127.0.0.1:{server.port}", source) as channel,
    ):
        assert outcome(channel, METHOD)[0] == "OK"
        files.cert_file.unlink()
        clock.advance(HOUR - 60)
        assert outcome(channel, METHOD)[0] == "OK"
        clock.advance(120)
        eventually(lambda: outcome(channel, METHOD)[0] == "UNAVAILABLE")
        before = len(server.seen.requests)
        assert outcome(channel, METHOD)[0] == "UNAVAILABLE"
        assert len(server.seen.requests) == before
        files.renew()
        source.reload()
        eventually(lambda: outcome(channel, METHOD)[0] == "OK")


def test_files_that_come_later(core: MtlsFiles) -> None:
    """A service starts before its files; channels and servers work once they are there."""
    held = core.cert_file.read_bytes()
    core.cert_file.unlink()
    with SecurityProvider.open(core.block()) as security:
        with pytest.raises(SourceTimeoutError, match=r"certificate file .* is not there.*correct"):
            security.wait_ready(timeout=0.1)
        with (
            serving("sync", security) as server,
            security.grpc_channel(f"127.0.0.1:{server.port}") as channel,
        ):
            assert outcome(channel)[0] == "UNAVAILABLE"
            core.cert_file.write_bytes(held)
            reload(security)
            eventually(lambda: outcome(channel)[0] == "OK")


def _pool() -> Any:
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

    return ThreadPoolExecutor(2)


def _handler() -> grpc.GenericRpcHandler:
    unary: Any = grpc.unary_unary_rpc_method_handler(lambda request, _context: request)
    return grpc.method_handlers_generic_handler(SERVICE, {"unary_unary": unary})
