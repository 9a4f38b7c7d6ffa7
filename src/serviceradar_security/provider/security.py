"""What a service holds: its identity, its channels and its servers, from one security block."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, Self

from serviceradar_security.config.security import SecurityConfig
from serviceradar_security.errors import ConfigError, SourceClosedError
from serviceradar_security.identity.authorizer import authorize_id, authorize_member_of
from serviceradar_security.identity.host import HostName
from serviceradar_security.provider.modes import (
    NO_CLIENT_AUTHORIZER,
    NO_IDS,
    MtlsMode,
    PlainMode,
    SpiffeMode,
)
from serviceradar_security.provider.tokens import Tokens
from serviceradar_security.workload.endpoint import WorkloadEndpoint
from serviceradar_security.workload.file_tls_source import TlsFileSource
from serviceradar_security.workload.source import X509Source

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    import grpc
    import grpc.aio

    from serviceradar_security.grpc.interceptors import CallPolicy
    from serviceradar_security.identity.authorizer import Authorizer
    from serviceradar_security.identity.context import X509Context
    from serviceradar_security.identity.credentials import TlsCredentials
    from serviceradar_security.identity.spiffe_id import SpiffeId
    from serviceradar_security.provider.modes import Mode
    from serviceradar_security.workload.watch import SourceStatus

__all__ = ["SecurityProvider"]

_LOG: Final = logging.getLogger("serviceradar_security.provider")


class SecurityProvider(Tokens):
    """Give a service its identity, its channels and its servers, from one security block.

    Open one with `open`. In the modes ``spiffe`` and ``mtls`` everything it gives follows the
    rotation of the identity. In mode ``none``, which must be allowed in code, the same calls give
    plaintext.
    """

    def __init__(self, mode: Mode) -> None:
        """Hold what `open` prepared."""
        self._mode = mode
        self._closed = False

    @classmethod
    def open(
        cls,
        block: SecurityConfig | Mapping[str, object],
        *,
        allow_insecure: bool = False,
        client_authorizer: Authorizer | None = None,
        server_authorizer: Authorizer | None = None,
    ) -> Self:
        """Open a provider; returns at once, the agent may come later.

        Args:
            block: A security block, as ``config.security``.
            allow_insecure: Allow mode ``none``.
            client_authorizer: Which servers may be called; by default the block's
                ``server_spiffe_id`` alone. Not in mode ``mtls``, where the host name decides.
            server_authorizer: Which clients are let in; by default the members of the block's
                ``trust_domain``, and in mode ``mtls`` everybody with a certificate of the
                authorities of clients.

        Raises:
            ConfigError: The block cannot be used, or its mode is not allowed.
        """
        config = block if isinstance(block, SecurityConfig) else SecurityConfig.from_mapping(block)
        if config.mode == "none":
            return cls(_open_plain(allow_insecure, client_authorizer, server_authorizer))
        if config.mode == "mtls":
            return cls(_open_mtls(config, client_authorizer, server_authorizer))
        return cls(_open_spiffe(config, client_authorizer, server_authorizer))

    def close(self) -> None:
        """Close the source; channels and servers are their users' to close. May be called twice."""
        self._closed = True
        source = self._mode.source
        if source is not None:
            source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closed = True
        source = self._mode.source
        if source is not None:
            await source.__aexit__(kind, error, trace)

    def __repr__(self) -> str:
        return f"SecurityProvider({self._mode!r})"

    # ---- identity ------------------------------------------------------------------------------

    @property
    def source(self) -> X509Source | TlsFileSource:
        """The source of the identity: of the Workload API, or in mode ``mtls`` of files.

        Raises:
            ConfigError: In mode ``none`` there is none.
        """
        source = self._mode.source
        if source is None:
            raise ConfigError('security mode "none" has no identity: use mode "spiffe"')
        return source

    @property
    def spiffe_id(self) -> SpiffeId:
        """Our SPIFFE ID of now.

        Raises:
            SourceError: There is no identity now; or the `WorkloadApiError` that says why.
            ConfigError: In mode ``none`` there is never one, and in mode ``mtls`` the certificate
                has none, or the block names no trust domain whose IDs count.
        """
        return self._mode.spiffe_id()

    def status(self) -> SourceStatus:
        """Give the state of the identity with its cause and advice.

        Raises:
            ConfigError: In mode ``none`` there is no identity.
        """
        return self.source.status()

    def wait_ready(self, *, timeout: float = 30.0) -> X509Context | TlsCredentials | None:
        """Wait until there is an identity; in mode ``none`` return None at once.

        Args:
            timeout: Seconds to wait.

        Raises:
            SourceTimeoutError: None came in time; the message names cause and advice.
            WorkloadApiError: The agent refused the call for good.
        """
        source = self._open_mode().source
        return None if source is None else source.wait_ready(timeout=timeout)

    async def wait_ready_async(
        self,
        *,
        timeout: float = 30.0,  # noqa: ASYNC109 - as in the sync twin
    ) -> X509Context | TlsCredentials | None:
        """Wait for an identity in asyncio; as `wait_ready`."""
        source = self._open_mode().source
        return None if source is None else await source.wait_ready_async(timeout=timeout)

    # ---- gRPC ----------------------------------------------------------------------------------

    def grpc_channel(
        self,
        target: str,
        *,
        authorizer: Authorizer | None = None,
        options: Sequence[tuple[str, Any]] | None = None,
        compression: grpc.Compression | None = None,
    ) -> grpc.Channel:
        """Open a channel to a server that is verified before a request leaves.

        It is known by its SPIFFE ID; in mode ``mtls`` by its host name, which is the block's
        ``server_name``, or the host of the target.

        Args:
            target: ``host:port``, as for any channel.
            authorizer: Which servers may be called, instead of the provider's; not in mode
                ``mtls``.
            options: Channel options.
            compression: Default compression of calls.

        Raises:
            ConfigError: The target or an option cannot be served, or no peer is named.
        """
        return self._open_mode().channel(target, authorizer, options, compression)

    def grpc_aio_channel(
        self,
        target: str,
        *,
        authorizer: Authorizer | None = None,
        options: Sequence[tuple[str, Any]] | None = None,
        compression: grpc.Compression | None = None,
        interceptors: Sequence[grpc.aio.ClientInterceptor] | None = None,
    ) -> grpc.aio.Channel:
        """Open an asyncio channel; as `grpc_channel`."""
        mode = self._open_mode()
        return mode.aio_channel(target, authorizer, options, compression, interceptors)

    def grpc_server_credentials(self) -> grpc.ServerCredentials:
        """Make credentials for ``add_secure_port``, of sync and asyncio servers alike.

        Raises:
            ConfigError: The block names no trust domain and no authorizer was given.
        """
        return self._open_mode().server_credentials()

    def grpc_server_interceptors(
        self,
        policy: CallPolicy | None = None,
    ) -> list[grpc.ServerInterceptor]:
        """Make the interceptors that verify and authorize every caller; put them first.

        Args:
            policy: Decides on each call of an authorized caller, as an `RbacPolicy`.

        Raises:
            ConfigError: As for `grpc_server_credentials`; or a policy was given in mode ``none``,
                or in mode ``mtls`` without ``trust_domain``, where nobody has a SPIFFE ID.
        """
        return self._open_mode().server_interceptors(policy)

    def grpc_aio_server_interceptors(
        self,
        policy: CallPolicy | None = None,
    ) -> list[grpc.aio.ServerInterceptor]:
        """Make the interceptors of an asyncio server; as `grpc_server_interceptors`."""
        return self._open_mode().aio_server_interceptors(policy)

    def grpc_server_options(self) -> list[tuple[str, int]]:
        """Give the options that bound the age of connections by the life of our SVID."""
        from serviceradar_security import grpc as adapter  # noqa: PLC0415 - an extra

        return adapter.server_options(self._mode.source)

    # ---- inside --------------------------------------------------------------------------------

    def _open_mode(self) -> Mode:
        if self._closed:
            raise SourceClosedError("the provider is closed: open a new one")
        return self._mode

    def _token_endpoint(self) -> WorkloadEndpoint:
        return self._open_mode().token_endpoint()


def _open_plain(
    allow_insecure: bool,  # noqa: FBT001 - as the caller gave it
    client_authorizer: Authorizer | None,
    server_authorizer: Authorizer | None,
) -> Mode:
    if not allow_insecure:
        raise ConfigError(
            'security mode "none" means plaintext for everybody: use mode "spiffe" or "mtls", or '
            "open the provider with allow_insecure=True",
        )
    if client_authorizer is not None or server_authorizer is not None:
        raise ConfigError(
            'security mode "none" knows no peers, so an authorizer cannot be honoured: '
            'use mode "spiffe", or give none',
        )
    _LOG.warning('security mode is "none": all connections are plaintext, nobody is known')
    return PlainMode()


def _open_spiffe(
    config: SecurityConfig,
    client_authorizer: Authorizer | None,
    server_authorizer: Authorizer | None,
) -> Mode:
    if client_authorizer is None and config.server_spiffe_id is not None:
        client_authorizer = authorize_id(config.server_spiffe_id)
    if server_authorizer is None and config.trust_domain is not None:
        server_authorizer = authorize_member_of(config.trust_domain)
    source = X509Source(WorkloadEndpoint.parse(config.workload_socket))
    return SpiffeMode(source.open(), client_authorizer, server_authorizer)


def _open_mtls(
    config: SecurityConfig,
    client_authorizer: Authorizer | None,
    server_authorizer: Authorizer | None,
) -> Mode:
    if client_authorizer is not None:
        raise ConfigError(NO_CLIENT_AUTHORIZER)
    if server_authorizer is not None and config.trust_domain is None:
        raise ConfigError(NO_IDS)
    if config.server_name:
        HostName.parse(config.server_name)  # now, and not with the first channel
    source = TlsFileSource(
        cert_file=config.tls.cert_file,
        key_file=config.tls.key_file,
        ca_file=config.tls.ca_file,
        client_ca_file=config.tls.client_ca_file or None,
        trust_domain=config.trust_domain,
    )
    if config.server_spiffe_id is not None:
        _LOG.warning(
            'server_spiffe_id is not used in security mode "mtls": servers are known by their '
            'host names; use mode "spiffe" to expect %s',
            config.server_spiffe_id,
        )
    return MtlsMode(source.open(), config.server_name, server_authorizer)
