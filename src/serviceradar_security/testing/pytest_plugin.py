"""The pytest plugin: fixtures for services with a SPIFFE identity.

pytest imports this module in every run, so it imports nothing that costs: the fixtures do. They
are plain functions, and so serve tests under threads, pytest-asyncio and anyio alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from serviceradar_security.identity.spiffe_id import SpiffeId
    from serviceradar_security.identity.svid import X509Svid
    from serviceradar_security.testing.authority import FakeAuthority
    from serviceradar_security.testing.mtls import MtlsFiles
    from serviceradar_security.testing.workload_api import FakeWorkloadApi
    from serviceradar_security.workload.source import X509Source

_READY_TIMEOUT = 10.0


@pytest.fixture
def spiffe_id() -> SpiffeId:
    """Name the service under test: ``spiffe://example.org/service``; override it for another."""
    from serviceradar_security.identity.spiffe_id import SpiffeId  # noqa: PLC0415 - see above

    return SpiffeId.parse("spiffe://example.org/service")


@pytest.fixture
def spiffe_authority(spiffe_id: SpiffeId) -> FakeAuthority:
    """Give the authority of the trust domain of `spiffe_id`."""
    from serviceradar_security.testing.authority import FakeAuthority  # noqa: PLC0415 - see above

    return FakeAuthority(spiffe_id.trust_domain)


@pytest.fixture
def spiffe_svid(spiffe_authority: FakeAuthority, spiffe_id: SpiffeId) -> X509Svid:
    """Give an SVID of `spiffe_id`."""
    return spiffe_authority.issue(spiffe_id)


@pytest.fixture
def spiffe_workload_api(
    spiffe_authority: FakeAuthority,
    spiffe_id: SpiffeId,
) -> Iterator[FakeWorkloadApi]:
    """Give a running Workload API on a real socket, with one identity issued: `spiffe_id`."""
    from serviceradar_security.testing.workload_api import (  # noqa: PLC0415 - see above
        FakeWorkloadApi,
    )

    with FakeWorkloadApi([spiffe_id], authority=spiffe_authority) as api:
        yield api


@pytest.fixture
def spiffe_source(spiffe_workload_api: FakeWorkloadApi) -> Iterator[X509Source]:
    """Give an open source of `spiffe_workload_api`, which has its identity."""
    from serviceradar_security.workload.source import X509Source  # noqa: PLC0415 - see above

    with X509Source(spiffe_workload_api.endpoint) as source:
        source.wait_ready(timeout=_READY_TIMEOUT)
        yield source


@pytest.fixture
def spiffe_endpoint_socket(
    spiffe_workload_api: FakeWorkloadApi,
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    """Set ``SPIFFE_ENDPOINT_SOCKET`` to the address of `spiffe_workload_api`, and give it."""
    from serviceradar_security.workload.endpoint import ENDPOINT_VARIABLE  # noqa: PLC0415 - above

    monkeypatch.setenv(ENDPOINT_VARIABLE, spiffe_workload_api.endpoint)
    return spiffe_workload_api.endpoint


@pytest.fixture
def spiffe_mtls_files(tmp_path: Path) -> MtlsFiles:
    """Write certificate, key and authority of trustme for ``localhost``, for plain mutual TLS."""
    from serviceradar_security.errors import ConfigError  # noqa: PLC0415 - see above
    from serviceradar_security.testing.mtls import MtlsFiles  # noqa: PLC0415 - see above

    try:
        return MtlsFiles.write(tmp_path)
    except ConfigError as error:
        pytest.fail(str(error), pytrace=False)
