"""The verdict on a gRPC peer: from what the connection shows to a proven SPIFFE ID.

gRPC core has one pool of roots, so with two trust domains in it a federated authority could name
our workloads. Therefore what TLS accepted is verified again here, by `identity.verify`, against
the bundle of the peer's own trust domain (R-TLS-06); where plain mutual TLS is spoken, against the
authorities of clients, so that our rules for leaves hold as well.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

from cryptography.hazmat.primitives.serialization import Encoding

from serviceradar_security.errors import (
    PeerError,
    PeerNotAuthorizedError,
    PeerVerificationError,
    SecurityError,
    SourceError,
)
from serviceradar_security.identity.authorizer import ask
from serviceradar_security.identity.certificate import CertificateError, load_pem
from serviceradar_security.identity.spiffe_id import SpiffeId
from serviceradar_security.identity.verify import verify_tls_chain, verify_x509_svid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cryptography import x509

    from serviceradar_security.identity.authorizer import Authorizer
    from serviceradar_security.identity.context import X509Context, X509ContextSource
    from serviceradar_security.identity.credentials import TlsCredentials, TlsCredentialsSource
    from serviceradar_security.identity.leaf import Purpose

__all__ = ["ChainJudge", "Judge", "Nameless", "TlsJudge"]

_LOG: Final = logging.getLogger("serviceradar_security.grpc")
_LEAF: Final = "x509_pem_cert"
_CHAIN: Final = "x509_pem_cert_chain"
_MAX_PEM_BYTES: Final = 1024 * 1024
_MAX_VERDICTS: Final = 1024
# Validity of intermediates and authorities is looked at again after this long at the latest.
_VERDICT_LIFE: Final = timedelta(seconds=60)
# A refusal may pass without a new snapshot: a certificate becomes valid, an authorizer recovers.
_REFUSAL_LIFE: Final = timedelta(seconds=5)


SnapshotT = TypeVar("SnapshotT")
SnapshotT_co = TypeVar("SnapshotT_co", covariant=True)


class _Source(Protocol[SnapshotT_co]):
    def current(self) -> SnapshotT_co: ...


@dataclass(frozen=True, slots=True)
class Nameless:
    """A peer of plain mutual TLS that was verified and has no SPIFFE ID.

    Attributes:
        why: Why it has none.
    """

    why: str

    def error(self) -> PeerVerificationError:
        """Say to who asks for its ID that there is none."""
        return PeerVerificationError(
            f"the peer has no SPIFFE ID: {self.why} (its chain was verified by plain mutual TLS, "
            "and a name of another kind is no identity)",
            reason="no_spiffe_id",
        )


@dataclass(frozen=True, slots=True)
class _Verdict:
    until: datetime
    outcome: SpiffeId | Nameless | PeerError


class ChainJudge(ABC, Generic[SnapshotT]):
    """Verify and authorize peers; one verdict per certificate chain, not per call.

    A verdict holds for the snapshot that it was found with, and no longer than the leaf.
    """

    def __init__(
        self,
        source: _Source[SnapshotT],
        authorizer: Authorizer | None,
        *,
        purpose: Purpose,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Judge by the source's newest snapshot.

        Args:
            source: Gives what peers are held against.
            authorizer: Decides on proven IDs.
            purpose: The role of the peers.
            now: The clock.
        """
        self._source = source
        self._authorizer = authorizer
        self._purpose = purpose
        self._now = now
        self._found: tuple[SnapshotT | None, dict[bytes, _Verdict]] = (None, {})
        self._lock = threading.Lock()

    @abstractmethod
    def _verify(self, chain: list[bytes], held: SnapshotT, at: datetime) -> SpiffeId | Nameless:
        """Verify a chain.

        Raises:
            PeerVerificationError: It proves nothing.
        """

    def judge(self, auth_context: Mapping[str, Any], peer: str) -> SpiffeId | Nameless:
        """Give the peer's proven and authorized SPIFFE ID, or say that it is in without one.

        Args:
            auth_context: The auth context of a gRPC call.
            peer: The peer's address, for the log.

        Raises:
            PeerError: The peer is refused.
            SecurityError: There is no material to judge by; the peer is refused as well.
        """
        context = self._current()
        leaf, chain = _only(auth_context, _LEAF), _only(auth_context, _CHAIN)
        # A digest: a peer may append what it likes to its chain, and must not fill our memory.
        key = hashlib.sha256(b"%d %b %b" % (len(leaf), leaf, chain)).digest()
        at = self._now()
        verdicts = self._verdicts_of(context)
        verdict = verdicts.get(key)
        if verdict is None or verdict.until <= at:
            verdict = self._decide((leaf, chain), context, at, peer)
            self._remember(verdicts, key, verdict)
        if isinstance(verdict.outcome, PeerError):
            # A fresh error each time: a traceback must not grow on a shared one, nor the frames
            # and certificates that hang on it be kept.
            raise _copy(verdict.outcome)
        return verdict.outcome

    def _current(self) -> SnapshotT:
        try:
            return self._source.current()
        except SecurityError:
            raise
        except Exception as error:
            raise SourceError(f"the source failed with {type(error).__name__}") from error

    def _decide(
        self,
        shown: tuple[bytes, bytes],
        context: SnapshotT,
        at: datetime,
        peer: str,
    ) -> _Verdict:
        try:
            leaf, chain = _read_chain(*shown)
            found = self._verify(chain, context, at)
            if isinstance(found, SpiffeId) and self._authorizer is not None:
                self._authorize(self._authorizer, found)
        except PeerError as error:
            _LOG.warning("refused the peer %s: %s", peer, str(error))  # no frames in the record
            return _Verdict(at + _REFUSAL_LIFE, _copy(error))
        _LOG.debug("accepted the peer %s as %s", peer, found)
        return _Verdict(min(at + _VERDICT_LIFE, leaf.not_valid_after_utc), found)

    @staticmethod
    def _authorize(authorizer: Authorizer, spiffe_id: SpiffeId) -> None:
        """R-X509-24: whatever an authorizer raises refuses the peer."""
        try:
            ask(authorizer, spiffe_id)
        except PeerError as error:  # of whatever kind: the verification is behind us
            raise PeerNotAuthorizedError(str(error), spiffe_id=spiffe_id) from error
        except Exception as error:
            raise PeerNotAuthorizedError(
                f"the authorizer failed with {type(error).__name__} on {spiffe_id}: refused",
                spiffe_id=spiffe_id,
            ) from error

    def _verdicts_of(self, context: SnapshotT) -> dict[bytes, _Verdict]:
        """Forget an older snapshot with all its verdicts: it holds keys that were replaced."""
        held, verdicts = self._found
        if held is not context:
            verdicts = {}
            self._found = (context, verdicts)
        return verdicts

    def _remember(self, verdicts: dict[bytes, _Verdict], key: bytes, verdict: _Verdict) -> None:
        with self._lock:
            verdicts.pop(key, None)
            while len(verdicts) >= _MAX_VERDICTS:
                del verdicts[next(iter(verdicts))]
            verdicts[key] = verdict


class Judge(ChainJudge["X509Context"]):
    """Judge peers by the SPIFFE ID that they prove; all of them need one."""

    def __init__(
        self,
        source: X509ContextSource,
        authorizer: Authorizer,
        *,
        purpose: Purpose,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Judge by the source's newest bundles; the authorizer decides on proven IDs."""
        super().__init__(source, authorizer, purpose=purpose, now=now)

    def _verify(self, chain: list[bytes], held: X509Context, at: datetime) -> SpiffeId:
        return verify_x509_svid(chain, held.bundles, at=at, purpose=self._purpose)


class TlsJudge(ChainJudge["TlsCredentials"]):
    """Judge peers of plain mutual TLS, which need a SPIFFE ID only where somebody asks for it."""

    def __init__(
        self,
        source: TlsCredentialsSource,
        authorizer: Authorizer | None,
        *,
        needs_id: bool,
        purpose: Purpose,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Judge by the source's newest authorities.

        Args:
            source: Gives the authorities, and the trust domain that they stand for.
            authorizer: Decides on proven IDs; with one, everybody needs an ID.
            needs_id: Refuse a peer without an ID, whatever the authorizer.
            purpose: The role of the peers.
            now: The clock.
        """
        super().__init__(source, authorizer, purpose=purpose, now=now)
        self._needs_id = needs_id or authorizer is not None

    def _verify(
        self,
        chain: list[bytes],
        held: TlsCredentials,
        at: datetime,
    ) -> SpiffeId | Nameless:
        found = verify_tls_chain(
            chain,
            held.client_authorities,
            held.bundles,
            at=at,
            purpose=self._purpose,
        )
        if found.spiffe_id is not None:
            return found.spiffe_id
        nameless = Nameless(found.why_none)
        if self._needs_id:
            raise nameless.error()
        return nameless


def _only(auth_context: Mapping[str, Any], name: str) -> bytes:
    value: bytes = next(iter(auth_context.get(name, ())), b"")
    return value


def _read_chain(leaf_pem: bytes, chain_pem: bytes) -> tuple[x509.Certificate, list[bytes]]:
    """Put the leaf before what else was presented; gRPC core's chain may repeat it."""
    if not leaf_pem:
        raise PeerVerificationError(
            "the peer showed no certificate: it needs an X.509-SVID",
            reason="no_certificate",
        )
    if len(leaf_pem) + len(chain_pem) > _MAX_PEM_BYTES:
        raise PeerVerificationError(
            f"the peer showed {len(leaf_pem) + len(chain_pem)} bytes of certificates: at most "
            f"{_MAX_PEM_BYTES}",
            reason="limit",
        )
    try:
        leaf = load_pem(leaf_pem)[0]
        rest = load_pem(chain_pem) if chain_pem else []
    except CertificateError as error:
        raise PeerVerificationError(
            "the peer's certificates cannot be read",
            reason="malformed",
        ) from error
    others = [each for each in rest if each != leaf]
    return leaf, [each.public_bytes(Encoding.DER) for each in (leaf, *others)]


def _copy(refusal: PeerError) -> PeerError:
    if isinstance(refusal, PeerVerificationError):
        return PeerVerificationError(
            str(refusal),
            reason=refusal.reason,
            spiffe_id=refusal.spiffe_id,
        )
    return PeerNotAuthorizedError(str(refusal), spiffe_id=refusal.spiffe_id)
