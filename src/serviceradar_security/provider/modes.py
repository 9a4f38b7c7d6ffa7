"""What each mode of a security block makes of the same calls.

A mode holds the source and what is expected of peers, and asks the adapter of the stack. Whatever
it cannot honour it refuses, with the way out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final, NoReturn

from serviceradar_security.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import grpc
    import grpc.aio

    from serviceradar_security.grpc.interceptors import CallPolicy
    from serviceradar_security.identity.authorizer import Authorizer
    from serviceradar_security.identity.spiffe_id import SpiffeId
    from serviceradar_security.workload.endpoint import WorkloadEndpoint
    from serviceradar_security.workload.file_tls_source import TlsFileSource
    from serviceradar_security.workload.source import X509Source

    Source = X509Source | TlsFileSource
    Options = Sequence[tuple[str, Any]] | None

__all__ = ["NO_CLIENT_AUTHORIZER", "NO_IDS", "Mode", "MtlsMode", "PlainMode", "SpiffeMode"]

_NO_PEERS: Final = (
    'security mode "none" knows no peers, so no authorizer or policy can be honoured: use mode '
    '"spiffe", or give none'
)
NO_CLIENT_AUTHORIZER: Final = (
    'security mode "mtls" knows servers by their host names, and gRPC core cannot ask for a SPIFFE '
    'ID as well: leave the authorizer of servers out, or use mode "spiffe"'
)
NO_IDS: Final = (
    'security mode "mtls" takes SPIFFE IDs from clients only where the block says of which trust '
    "domain the authorities of clients are: set trust_domain in the security block, or leave "
    "the authorizer and the policy out"
)


class Mode(ABC):
    """One mode, as its provider uses it."""

    @property
    @abstractmethod
    def source(self) -> Source | None:
        """Where the identity comes from; None if there is none."""

    @abstractmethod
    def spiffe_id(self) -> SpiffeId:
        """Give our SPIFFE ID, or refuse."""

    @abstractmethod
    def token_endpoint(self) -> WorkloadEndpoint:
        """Give the Workload API that tokens come from, or refuse."""

    @abstractmethod
    def channel(
        self,
        target: str,
        authorizer: Authorizer | None,
        options: Options,
        compression: grpc.Compression | None,
    ) -> grpc.Channel:
        """Open a gRPC channel."""

    @abstractmethod
    def aio_channel(
        self,
        target: str,
        authorizer: Authorizer | None,
        options: Options,
        compression: grpc.Compression | None,
        interceptors: Sequence[grpc.aio.ClientInterceptor] | None,
    ) -> grpc.aio.Channel:
        """Open a gRPC channel for asyncio."""

    @abstractmethod
    def server_credentials(self) -> grpc.ServerCredentials:
        """Make the credentials of a gRPC server."""

    @abstractmethod
    def server_interceptors(self, policy: CallPolicy | None) -> list[grpc.ServerInterceptor]:
        """Make the interceptors of a gRPC server."""

    @abstractmethod
    def aio_server_interceptors(
        self,
        policy: CallPolicy | None,
    ) -> list[grpc.aio.ServerInterceptor]:
        """Make the interceptors of a gRPC server for asyncio."""


class PlainMode(Mode):
    """Mode ``none``: plaintext, nobody is known."""

    def __repr__(self) -> str:
        return "mode='none'"

    @property
    def source(self) -> None:
        """There is none."""
        return

    def spiffe_id(self) -> NoReturn:
        """Refuse: nobody is known."""
        raise ConfigError('security mode "none" has no identity: use mode "spiffe"')

    def token_endpoint(self) -> NoReturn:
        """Refuse: nobody is known."""
        self.spiffe_id()

    def channel(
        self,
        target: str,
        authorizer: Authorizer | None,
        options: Options,
        compression: grpc.Compression | None,
    ) -> grpc.Channel:
        """Open a plaintext channel."""
        import grpc  # noqa: PLC0415 - an extra

        _refuse_if(authorizer, _NO_PEERS)
        return grpc.insecure_channel(target, options, compression)

    def aio_channel(
        self,
        target: str,
        authorizer: Authorizer | None,
        options: Options,
        compression: grpc.Compression | None,
        interceptors: Sequence[grpc.aio.ClientInterceptor] | None,
    ) -> grpc.aio.Channel:
        """Open a plaintext channel for asyncio."""
        import grpc.aio  # noqa: PLC0415 - an extra

        _refuse_if(authorizer, _NO_PEERS)
        return grpc.aio.insecure_channel(target, options, compression, interceptors)

    def server_credentials(self) -> grpc.ServerCredentials:
        """Make the credentials of a plaintext server."""
        import grpc  # noqa: PLC0415 - an extra

        return grpc.insecure_server_credentials()

    def server_interceptors(self, policy: CallPolicy | None) -> list[grpc.ServerInterceptor]:
        """Make none."""
        _refuse_if(policy, _NO_PEERS)
        return []

    def aio_server_interceptors(
        self,
        policy: CallPolicy | None,
    ) -> list[grpc.aio.ServerInterceptor]:
        """Make none."""
        _refuse_if(policy, _NO_PEERS)
        return []


class SpiffeMode(Mode):
    """Mode ``spiffe``: everybody is known by a SPIFFE ID."""

    def __init__(
        self,
        source: X509Source,
        client_authorizer: Authorizer | None,
        server_authorizer: Authorizer | None,
    ) -> None:
        """Hold the source, and who servers and clients may be."""
        self._source = source
        self._client_authorizer = client_authorizer
        self._server_authorizer = server_authorizer

    def __repr__(self) -> str:
        return (
            f"{self._source!r}, client_authorizer={self._client_authorizer!r}, "
            f"server_authorizer={self._server_authorizer!r}"
        )

    @property
    def source(self) -> X509Source:
        """The Workload API's."""
        return self._source

    def spiffe_id(self) -> SpiffeId:
        """Give that of the default identity."""
        return self._source.current().default.spiffe_id

    def token_endpoint(self) -> WorkloadEndpoint:
        """Give that of the source."""
        return self._source.endpoint

    def channel(
        self,
        target: str,
        authorizer: Authorizer | None,
        options: Options,
        compression: grpc.Compression | None,
    ) -> grpc.Channel:
        """Open a channel to a server whose SPIFFE ID is authorized."""
        from serviceradar_security import grpc as adapter  # noqa: PLC0415 - an extra

        expected = self._client(authorizer)
        return adapter.channel(
            target,
            self._source,
            expected,
            options=options,
            compression=compression,
        )

    def aio_channel(
        self,
        target: str,
        authorizer: Authorizer | None,
        options: Options,
        compression: grpc.Compression | None,
        interceptors: Sequence[grpc.aio.ClientInterceptor] | None,
    ) -> grpc.aio.Channel:
        """Open such a channel for asyncio."""
        from serviceradar_security import grpc as adapter  # noqa: PLC0415 - an extra

        return adapter.aio_channel(
            target,
            self._source,
            self._client(authorizer),
            options=options,
            compression=compression,
            interceptors=interceptors,
        )

    def server_credentials(self) -> grpc.ServerCredentials:
        """Make credentials that follow the source."""
        from serviceradar_security import grpc as adapter  # noqa: PLC0415 - an extra

        return adapter.server_credentials(self._source, self._server())

    def server_interceptors(self, policy: CallPolicy | None) -> list[grpc.ServerInterceptor]:
        """Make interceptors that verify and authorize."""
        from serviceradar_security import grpc as adapter  # noqa: PLC0415 - an extra

        return adapter.server_interceptors(self._source, self._server(), policy)

    def aio_server_interceptors(
        self,
        policy: CallPolicy | None,
    ) -> list[grpc.aio.ServerInterceptor]:
        """Make those for asyncio."""
        from serviceradar_security import grpc as adapter  # noqa: PLC0415 - an extra

        return adapter.aio_server_interceptors(self._source, self._server(), policy)

    def _client(self, authorizer: Authorizer | None) -> Authorizer:
        chosen = self._client_authorizer if authorizer is None else authorizer
        if chosen is None:
            raise ConfigError(
                "no server is named that may be called: set server_spiffe_id in the security "
                "block, or give an authorizer",
            )
        return chosen

    def _server(self) -> Authorizer:
        if self._server_authorizer is None:
            raise ConfigError(
                "no clients are named that are let in: set trust_domain in the security block, "
                "or open the provider with a server_authorizer",
            )
        return self._server_authorizer


class MtlsMode(Mode):
    """Mode ``mtls``: servers are known by host names, clients by the authorities that they have."""

    def __init__(
        self,
        source: TlsFileSource,
        server_name: str,
        server_authorizer: Authorizer | None,
    ) -> None:
        """Hold the source, the name of servers, and who clients may be."""
        self._source = source
        self._server_name = server_name
        self._server_authorizer = server_authorizer

    def __repr__(self) -> str:
        return (
            f"{self._source!r}, server_name={self._server_name!r}, "
            f"server_authorizer={self._server_authorizer!r}"
        )

    @property
    def source(self) -> TlsFileSource:
        """That of the files."""
        return self._source

    def spiffe_id(self) -> SpiffeId:
        """Give that of our certificate, or say why it has none."""
        found = self._source.current()
        if found.spiffe_id is None:
            raise ConfigError(
                f'our certificate has no SPIFFE ID in security mode "mtls": {found.why_no_id}: '
                'set trust_domain, have one issued with an ID of it, or use mode "spiffe"',
            )
        return found.spiffe_id

    def token_endpoint(self) -> NoReturn:
        """Refuse: files issue no tokens."""
        raise ConfigError(
            'security mode "mtls" has no Workload API, which issues JWT-SVIDs: use mode "spiffe"',
        )

    def channel(
        self,
        target: str,
        authorizer: Authorizer | None,
        options: Options,
        compression: grpc.Compression | None,
    ) -> grpc.Channel:
        """Open a channel to the server of a host name."""
        from serviceradar_security import grpc as adapter  # noqa: PLC0415 - an extra

        _refuse_if(authorizer, NO_CLIENT_AUTHORIZER)
        return adapter.host_channel(
            target,
            self._source,
            server_name=self._server_name,
            options=options,
            compression=compression,
        )

    def aio_channel(
        self,
        target: str,
        authorizer: Authorizer | None,
        options: Options,
        compression: grpc.Compression | None,
        interceptors: Sequence[grpc.aio.ClientInterceptor] | None,
    ) -> grpc.aio.Channel:
        """Open such a channel for asyncio."""
        from serviceradar_security import grpc as adapter  # noqa: PLC0415 - an extra

        _refuse_if(authorizer, NO_CLIENT_AUTHORIZER)
        return adapter.host_aio_channel(
            target,
            self._source,
            server_name=self._server_name,
            options=options,
            compression=compression,
            interceptors=interceptors,
        )

    def server_credentials(self) -> grpc.ServerCredentials:
        """Make credentials that follow the files."""
        from serviceradar_security import grpc as adapter  # noqa: PLC0415 - an extra

        return adapter.tls_server_credentials(self._source)

    def server_interceptors(self, policy: CallPolicy | None) -> list[grpc.ServerInterceptor]:
        """Make interceptors that verify, and authorize where an ID can be asked for."""
        from serviceradar_security import grpc as adapter  # noqa: PLC0415 - an extra

        self._check_policy(policy)
        return adapter.tls_server_interceptors(self._source, self._server_authorizer, policy)

    def aio_server_interceptors(
        self,
        policy: CallPolicy | None,
    ) -> list[grpc.aio.ServerInterceptor]:
        """Make those for asyncio."""
        from serviceradar_security import grpc as adapter  # noqa: PLC0415 - an extra

        self._check_policy(policy)
        return adapter.tls_aio_server_interceptors(self._source, self._server_authorizer, policy)

    def _check_policy(self, policy: CallPolicy | None) -> None:
        if self._source.trust_domain is None:
            _refuse_if(policy, NO_IDS)


def _refuse_if(given: object, reason: str) -> None:
    if given is not None:
        raise ConfigError(reason)
