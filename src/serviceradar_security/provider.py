"""The provider: the one place where configuration, source, authorizers and adapters meet.

For: a service's whole security in one object. Stacks are imported on first use.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, Self

from serviceradar_security.config.security import SecurityConfig
from serviceradar_security.errors import ConfigError, SourceClosedError
from serviceradar_security.identity.authorizer import authorize_id, authorize_member_of
from serviceradar_security.workload.endpoint import WorkloadEndpoint
from serviceradar_security.workload.source import X509Source

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from types import TracebackType

    import grpc
    import grpc.aio

    from serviceradar_security.grpc.interceptors import CallPolicy
    from serviceradar_security.identity.authorizer import Authorizer
    from serviceradar_security.identity.context import X509Context
    from serviceradar_security.identity.spiffe_id import SpiffeId
    from serviceradar_security.spiffe import JwtSvid
    from serviceradar_security.workload.watch import SourceStatus

__all__ = ["SecurityProvider"]

_LOG: Final = logging.getLogger("serviceradar_security.provider")


class SecurityProvider:
    """Give a service its identity, its channels and its servers, from one security block.

    Open one with `open`. In mode ``spiffe`` everything it gives follows the rotation of the
    identity. In mode ``none``, which must be allowed in code, the same calls give plaintext.
    """

    def __init__(
        self,
        source: X509Source | None,
        *,
        client_authorizer: Authorizer | None,
        server_authorizer: Authorizer | None,
    ) -> None:
        """Hold what `open` prepared."""
        self._source = source
        self._client_authorizer = client_authorizer
        self._server_authorizer = server_authorizer
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
                ``server_spiffe_id`` alone.
            server_authorizer: Which clients are let in; by default the members of the block's
                ``trust_domain``.

        Raises:
            ConfigError: The block cannot be used, or its mode is not allowed.
        """
        config = block if isinstance(block, SecurityConfig) else SecurityConfig.from_mapping(block)
        if config.mode == "none":
            if not allow_insecure:
                raise ConfigError(
                    'security mode "none" means plaintext for everybody: use mode "spiffe", or '
                    "open the provider with allow_insecure=True",
                )
            if client_authorizer is not None or server_authorizer is not None:
                raise ConfigError(
                    'security mode "none" knows no peers, so an authorizer cannot be honoured: '
                    'use mode "spiffe", or give none',
                )
            _LOG.warning('security mode is "none": all connections are plaintext, nobody is known')
            return cls(None, client_authorizer=None, server_authorizer=None)
        if config.mode != "spiffe":
            raise ConfigError(
                f'security mode "{config.mode}" is not served by this version: use mode "spiffe"',
            )
        if client_authorizer is None and config.server_spiffe_id is not None:
            client_authorizer = authorize_id(config.server_spiffe_id)
        if server_authorizer is None and config.trust_domain is not None:
            server_authorizer = authorize_member_of(config.trust_domain)
        return cls(
            X509Source(WorkloadEndpoint.parse(config.workload_socket)).open(),
            client_authorizer=client_authorizer,
            server_authorizer=server_authorizer,
        )

    def close(self) -> None:
        """Close the source; channels and servers are their users' to close. May be called twice."""
        self._closed = True
        if self._source is not None:
            self._source.close()

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
        if self._source is not None:
            await self._source.__aexit__(kind, error, trace)

    def __repr__(self) -> str:
        if self._source is None:
            return "SecurityProvider(mode='none')"
        return (
            f"SecurityProvider({self._source!r}, client_authorizer={self._client_authorizer!r}, "
            f"server_authorizer={self._server_authorizer!r})"
        )

    # ---- identity ------------------------------------------------------------------------------

    @property
    def source(self) -> X509Source:
        """The source of the identity.

        Raises:
            ConfigError: In mode ``none`` there is none.
        """
        if self._source is None:
            raise ConfigError('security mode "none" has no identity: use mode "spiffe"')
        return self._source

    @property
    def spiffe_id(self) -> SpiffeId:
        """Our SPIFFE ID of now.

        Raises:
            SourceError: There is no identity now; or the `WorkloadApiError` that says why.
            ConfigError: In mode ``none`` there is never one.
        """
        return self.source.current().default.spiffe_id

    def status(self) -> SourceStatus:
        """Give the state of the identity with its cause and advice.

        Raises:
            ConfigError: In mode ``none`` there is no identity.
        """
        return self.source.status()

    def wait_ready(self, *, timeout: float = 30.0) -> X509Context | None:
        """Wait until there is an identity; in mode ``none`` return None at once.

        Args:
            timeout: Seconds to wait.

        Raises:
            SourceTimeoutError: None came in time; the message names cause and advice.
            WorkloadApiError: The agent refused the call for good.
        """
        return None if self._insecure() else self.source.wait_ready(timeout=timeout)

    async def wait_ready_async(self, *, timeout: float = 30.0) -> X509Context | None:  # noqa: ASYNC109 - as in the sync twin
        """Wait for an identity in asyncio; as `wait_ready`."""
        return None if self._insecure() else await self.source.wait_ready_async(timeout=timeout)

    # ---- JWT-SVIDs ------------------------------------------------------------------------------

    def fetch_jwt_svid(
        self,
        audiences: str | Iterable[str],
        *,
        spiffe_id: SpiffeId | None = None,
        timeout: float = 10.0,
    ) -> JwtSvid:
        """Fetch a JWT-SVID of ours from the Workload API; needs the extra ``spiffe``.

        Args:
            audiences: Whom the token is for, one or several.
            spiffe_id: Which of our identities; None takes the agent's first.
            timeout: Seconds until the answer.

        Raises:
            WorkloadApiError: The agent did not answer, or what it gave is no such token.
            ConfigError: An argument cannot be used; in mode ``none`` there is no identity.
        """
        from serviceradar_security import spiffe as adapter  # noqa: PLC0415 - an extra

        endpoint = self._jwt_endpoint()
        return adapter.fetch_jwt_svid(endpoint, audiences, spiffe_id=spiffe_id, timeout=timeout)

    def validate_jwt_svid(self, token: str, audience: str, *, timeout: float = 10.0) -> JwtSvid:
        """Have the Workload API validate a peer's JWT-SVID; needs the extra ``spiffe``.

        Args:
            token: What the peer sent.
            audience: Who we are, as the peer must have named us.
            timeout: Seconds until the answer.

        Raises:
            PeerVerificationError: The token proves nothing; `reason` names the rule.
            WorkloadApiError: The agent did not answer.
            ConfigError: An argument cannot be used; in mode ``none`` there is no identity.
        """
        from serviceradar_security import spiffe as adapter  # noqa: PLC0415 - an extra

        endpoint = self._jwt_endpoint()
        return adapter.validate_jwt_svid(endpoint, token, audience, timeout=timeout)

    async def fetch_jwt_svid_async(
        self,
        audiences: str | Iterable[str],
        *,
        spiffe_id: SpiffeId | None = None,
        timeout: float = 10.0,  # noqa: ASYNC109 - as in the sync twin
    ) -> JwtSvid:
        """Fetch a JWT-SVID in asyncio; as `fetch_jwt_svid`."""
        import asyncio  # noqa: PLC0415 - users of threads do not pay for it

        fetch = self.fetch_jwt_svid
        return await asyncio.to_thread(fetch, audiences, spiffe_id=spiffe_id, timeout=timeout)

    async def validate_jwt_svid_async(
        self,
        token: str,
        audience: str,
        *,
        timeout: float = 10.0,  # noqa: ASYNC109 - as in the sync twin
    ) -> JwtSvid:
        """Have a JWT-SVID validated in asyncio; as `validate_jwt_svid`."""
        import asyncio  # noqa: PLC0415 - users of threads do not pay for it

        return await asyncio.to_thread(self.validate_jwt_svid, token, audience, timeout=timeout)

    # ---- gRPC ----------------------------------------------------------------------------------

    def grpc_channel(
        self,
        target: str,
        *,
        authorizer: Authorizer | None = None,
        options: Sequence[tuple[str, Any]] | None = None,
        compression: grpc.Compression | None = None,
    ) -> grpc.Channel:
        """Open a channel to a server whose SPIFFE ID is verified before a request leaves.

        Args:
            target: ``host:port``, as for any channel.
            authorizer: Which servers may be called, instead of the provider's.
            options: Channel options.
            compression: Default compression of calls.

        Raises:
            ConfigError: The target or an option cannot be served, or no peer is named.
        """
        import grpc  # noqa: PLC0415 - an extra

        from serviceradar_security import grpc as adapter  # noqa: PLC0415 - an extra

        if self._insecure(authorizer):
            return grpc.insecure_channel(target, options, compression)
        return adapter.channel(
            target,
            self.source,
            self._client(authorizer),
            options=options,
            compression=compression,
        )

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
        import grpc.aio  # noqa: PLC0415 - an extra

        from serviceradar_security import grpc as adapter  # noqa: PLC0415 - an extra

        if self._insecure(authorizer):
            return grpc.aio.insecure_channel(target, options, compression, interceptors)
        return adapter.aio_channel(
            target,
            self.source,
            self._client(authorizer),
            options=options,
            compression=compression,
            interceptors=interceptors,
        )

    def grpc_server_credentials(self) -> grpc.ServerCredentials:
        """Make credentials for ``add_secure_port``, of sync and asyncio servers alike.

        Raises:
            ConfigError: The block names no trust domain and no authorizer was given.
        """
        import grpc  # noqa: PLC0415 - an extra

        from serviceradar_security import grpc as adapter  # noqa: PLC0415 - an extra

        if self._insecure():
            return grpc.insecure_server_credentials()
        return adapter.server_credentials(self.source, self._server())

    def grpc_server_interceptors(
        self,
        policy: CallPolicy | None = None,
    ) -> list[grpc.ServerInterceptor]:
        """Make the interceptors that verify and authorize every caller; put them first.

        Args:
            policy: Decides on each call of an authorized caller, as an `RbacPolicy`.

        Raises:
            ConfigError: As for `grpc_server_credentials`; or a policy was given in mode ``none``.
        """
        from serviceradar_security import grpc as adapter  # noqa: PLC0415 - an extra

        if self._insecure(policy):
            return []
        return adapter.server_interceptors(self.source, self._server(), policy)

    def grpc_aio_server_interceptors(
        self,
        policy: CallPolicy | None = None,
    ) -> list[grpc.aio.ServerInterceptor]:
        """Make the interceptors of an asyncio server; as `grpc_server_interceptors`."""
        from serviceradar_security import grpc as adapter  # noqa: PLC0415 - an extra

        if self._insecure(policy):
            return []
        return adapter.aio_server_interceptors(self.source, self._server(), policy)

    def grpc_server_options(self) -> list[tuple[str, int]]:
        """Give the options that bound the age of connections by the life of our SVID."""
        from serviceradar_security import grpc as adapter  # noqa: PLC0415 - an extra

        return adapter.server_options(self._source)

    # ---- inside --------------------------------------------------------------------------------

    def _insecure(self, expectation: Authorizer | CallPolicy | None = None) -> bool:
        if self._closed:
            raise SourceClosedError("the provider is closed: open a new one")
        if self._source is None and expectation is not None:
            raise ConfigError(
                'security mode "none" knows no peers, so no authorizer or policy can be honoured: '
                'use mode "spiffe", or give none',
            )
        return self._source is None

    def _jwt_endpoint(self) -> WorkloadEndpoint:
        self._insecure()  # which refuses a closed provider
        return self.source.endpoint

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
