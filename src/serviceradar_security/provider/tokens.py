"""JWT-SVIDs of a provider: the agent's business, asked on the provider's endpoint."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from serviceradar_security.identity.spiffe_id import SpiffeId
    from serviceradar_security.spiffe import JwtSvid
    from serviceradar_security.workload.endpoint import WorkloadEndpoint

__all__ = ["Tokens"]


class Tokens(ABC):
    """Fetch and validate JWT-SVIDs; needs the extra ``spiffe``."""

    @abstractmethod
    def _token_endpoint(self) -> WorkloadEndpoint:
        """Give the Workload API that is asked, or refuse."""

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
            ConfigError: An argument cannot be used; or the mode has no Workload API.
        """
        from serviceradar_security import spiffe as adapter  # noqa: PLC0415 - an extra

        endpoint = self._token_endpoint()
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
            ConfigError: An argument cannot be used; or the mode has no Workload API.
        """
        from serviceradar_security import spiffe as adapter  # noqa: PLC0415 - an extra

        endpoint = self._token_endpoint()
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
