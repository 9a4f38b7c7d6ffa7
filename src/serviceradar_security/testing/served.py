"""What a Workload API is asked to serve, and the message that serves it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from serviceradar_security._proto.workload_pb2 import X509SVID, X509SVIDResponse
from serviceradar_security.errors import ConfigError
from serviceradar_security.identity.spiffe_id import SpiffeId, TrustDomain
from serviceradar_security.identity.svid import X509Svid
from serviceradar_security.testing.arguments import check, check_mutations
from serviceradar_security.testing.authority import FakeAuthority, Mutations
from serviceradar_security.testing.certificates import IssuedCertificate
from serviceradar_security.testing.server import Answer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from serviceradar_security.identity.bundle import TrustBundle

__all__ = [
    "NOBODY",
    "Change",
    "Given",
    "Identity",
    "Material",
    "Offer",
    "all_wanted",
    "grown",
    "issuer",
    "made",
    "response",
]

Given = SpiffeId | str | tuple[SpiffeId | str, str] | X509Svid | IssuedCertificate
"""What a user may ask to be served."""
Material = X509Svid | IssuedCertificate
"""What can be served: a good SVID, or a certificate that may break every rule."""

NOBODY: Final = Answer(code="PERMISSION_DENIED", text="no identity issued")  # as SPIRE says it


class Change(Mutations, total=False):
    """What may be changed of a rotation."""

    ttl: float | None
    not_after: datetime | None


@dataclass(frozen=True, slots=True)
class Identity:
    """An identity that is to be issued."""

    spiffe_id: SpiffeId
    hint: str = ""


def _wanted(given: Given) -> Identity | Material:
    """Read what a user asks to be served.

    Raises:
        SpiffeIdError: An ID is none.
        ConfigError: It is something else.
    """
    match given:
        case X509Svid():
            check(hint=given.hint)
            return given
        case IssuedCertificate():
            return given
        case SpiffeId() | str():
            return Identity(_parsed(given))
        case (SpiffeId() | str() as spiffe_id, str(hint)):
            check(hint=hint)
            return Identity(_parsed(spiffe_id), hint)
        case _:
            raise ConfigError(
                f"a {type(given).__name__} cannot be served: give SPIFFE IDs, pairs of an ID and a "
                "hint, SVIDs, or certificates of a FakeAuthority",
            )


def all_wanted(given: Sequence[Given]) -> list[Identity | Material]:
    """Read all that a user asks to be served.

    Raises:
        SpiffeIdError: An ID is none.
        ConfigError: It is no list of what can be served.
    """
    asked: object = given
    if isinstance(asked, str | bytes | bytearray | Mapping) or not isinstance(asked, Iterable):
        raise ConfigError("identities are given as a list, as ['spiffe://example.org/web']")
    return [_wanted(each) for each in given]


def issuer(
    asked: Sequence[Identity | Material],
    authority: FakeAuthority | None,
) -> FakeAuthority:
    """Give who issues; None stands for a new authority of the first ID's trust domain.

    Raises:
        ConfigError: It is no authority; or there is neither an identity nor an authority.
    """
    given: object = authority
    if isinstance(given, FakeAuthority):
        return given
    if given is not None:
        raise ConfigError(f"an authority is a FakeAuthority, not {type(given).__name__}")
    if not asked:
        raise ConfigError("a FakeWorkloadApi needs an identity or an authority")
    return FakeAuthority(TrustDomain.parse(str(asked[0].spiffe_id)))


def made(
    asked: Iterable[Identity | Material],
    authority: FakeAuthority,
    *,
    ttl: float,
    mutations: Change | None = None,
) -> list[Material]:
    """Issue what is to be served, or take it as it is.

    Args:
        asked: What is to be served.
        authority: Issues it.
        ttl: Life of the SVIDs in seconds, unless a mutation says otherwise.
        mutations: What to change of them.

    Raises:
        X509SvidError: A mutation makes one unusable.
        ConfigError: There is no such mutation, or no such certificate can be made.
    """
    changes: Change = {} if mutations is None else mutations
    check_mutations(changes)  # also where nothing is to be issued
    options: Change = {"ttl": ttl, **changes}
    return [
        authority.issue(each.spiffe_id, hint=each.hint, **options)
        if isinstance(each, Identity)
        else each
        for each in asked
    ]


@dataclass(frozen=True, slots=True)
class Offer:
    """What is served at a time; another one takes its place as a whole.

    Attributes:
        wanted: What was asked for.
        issued: What was issued for it.
        redacted: The IDs that are taken back.
        federated: The bundles of other trust domains.
    """

    wanted: tuple[Identity | Material, ...]
    issued: tuple[Material, ...]
    redacted: frozenset[str] = frozenset()
    federated: Mapping[TrustDomain, TrustBundle] = field(default_factory=dict)

    @property
    def served(self) -> tuple[Material, ...]:
        """What is left of it when some are taken back."""
        return tuple(each for each in self.issued if str(each.spiffe_id) not in self.redacted)

    def message(self, bundle: TrustBundle) -> bytes:
        """Write the message that serves it, with this bundle of the authority."""
        return response(self.served, bundle, self.federated)

    def answer(self, bundle: TrustBundle) -> Answer:
        """Give the answer that serves it, with this bundle of the authority."""
        # No agent sends an empty message: who has no identity is refused (R-WLAPI-10).
        return Answer(message=self.message(bundle)) if self.served else NOBODY


def response(
    served: Iterable[Material],
    bundle: TrustBundle,
    federated: Mapping[TrustDomain, TrustBundle],
) -> bytes:
    """Write the message of the Workload API that serves this."""
    own = b"".join(bundle.der)
    message = X509SVIDResponse(
        svids=[
            X509SVID(
                spiffe_id=str(each.spiffe_id),
                x509_svid=b"".join(each.chain_der),
                x509_svid_key=_key_der(each),
                bundle=own,
                hint=each.hint if isinstance(each, X509Svid) else "",
            )
            for each in served
        ],
        federated_bundles={
            str(trust_domain.id): b"".join(each.der) for trust_domain, each in federated.items()
        },
    )
    return message.SerializeToString()


def grown(message: bytes, size: int) -> bytes:
    """Grow a message to so many bytes, or more if it has more, by an unknown field."""
    rest = max(0, size - len(message) - 6)
    digits = [(rest >> shift) & 0x7F for shift in (0, 7, 14, 21, 28)]
    # Field 15 of wire type 2, and its length in five bytes whatever it is.
    return (
        message + b"\x7a" + bytes([*(0x80 | each for each in digits[:4]), digits[4]]) + bytes(rest)
    )


def _parsed(given: SpiffeId | str) -> SpiffeId:
    return SpiffeId.parse(given) if isinstance(given, str) else given


def _key_der(material: Material) -> bytes:
    if isinstance(material, IssuedCertificate):
        return material.key_der
    return material.private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
