"""An authority that issues X.509-SVIDs for tests: good ones by default, wrong ones on request."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, TypedDict, Unpack

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from serviceradar_security.errors import ConfigError
from serviceradar_security.identity.bundle import TrustBundle
from serviceradar_security.identity.spiffe_id import SpiffeId, TrustDomain
from serviceradar_security.identity.svid import X509Svid
from serviceradar_security.testing.arguments import building, check, check_mutations
from serviceradar_security.testing.certificates import (
    UNKNOWN_EXTENSION,
    IssuedCertificate,
    KeyType,
    Signer,
    SigningKey,
    extended_usage,
    key_usage,
    leaf_subject,
    make_key,
    sign_certificate,
    tamper,
)
from serviceradar_security.workload.live import check_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["FakeAuthority", "IntermediateMutations", "IssuedCertificate", "Mutations"]

_BOTH_ROLES: Final = ("client", "server")
_SIGNER: Final = ("key_cert_sign", "crl_sign")
_BACKDATE: Final = timedelta(seconds=10)  # as SPIRE does
_A_SECOND: Final = timedelta(seconds=1)


class IntermediateMutations(TypedDict, total=False):
    """What may be changed of the intermediates of a chain."""

    ca: bool | None
    path_length: int | None
    key_usage: Sequence[str] | None
    not_before: datetime
    not_after: datetime
    extensions: Sequence[tuple[x509.ExtensionType, bool]]


class Mutations(TypedDict, total=False):
    """What may be changed of a certificate: the keywords of `FakeAuthority.issue_certificate`."""

    not_before: datetime | None
    skew: float
    uris: Sequence[str] | None
    dns_names: Sequence[str]
    other_names: Sequence[x509.GeneralName]
    common_name: str
    subject: x509.Name | None
    ca: bool | None
    path_length: int | None
    key_usage: Sequence[str] | None
    key_usage_critical: bool
    roles: Sequence[str] | None
    key: SigningKey | None
    key_type: KeyType
    wrong_key: bool
    unknown_critical: bool
    extensions: Sequence[tuple[x509.ExtensionType, bool]]
    intermediates: int
    intermediate: IntermediateMutations | None
    leaf_only: bool
    with_root: bool
    stranger: bool
    self_signed: bool
    tampered: bool


class FakeAuthority:
    """The signing authority of a trust domain, for tests.

    It knows SPIRE's steps of an authority rotation: `prepare` publishes a new root beside the
    old one, `activate` signs with it, `retire` takes the old ones away; `rotate` is the first two.
    """

    def __init__(
        self,
        trust_domain: TrustDomain | str,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        ttl: float = 3600.0,
        key_type: KeyType = "p256",
    ) -> None:
        """Make an authority with one root.

        Args:
            trust_domain: The trust domain, or its name.
            now: The clock that validity is counted from.
            ttl: Life of issued SVIDs in seconds, unless `issue` is told otherwise.
            key_type: The kind of the roots' keys.

        Raises:
            SpiffeIdError: The trust domain is none.
            ConfigError: An argument is of the wrong kind, or there is no such kind of key.
        """
        check(trust_domain=trust_domain, now=now, key_type=key_type)
        check_seconds("ttl", ttl)
        self.trust_domain: TrustDomain = (
            trust_domain
            if isinstance(trust_domain, TrustDomain)
            else TrustDomain.parse(trust_domain)
        )
        self._now = now
        self._ttl = ttl
        self._key_type: KeyType = key_type
        self._count = 0
        self._roots = [self._make_root()]
        self._active = 0

    def __repr__(self) -> str:
        return f"FakeAuthority({self.trust_domain.name!r}, {len(self._roots)} roots)"

    @property
    def bundle(self) -> TrustBundle:
        """The roots that are published now."""
        der = b"".join(root.certificate.public_bytes(Encoding.DER) for root in self._roots)
        return TrustBundle.from_der(self.trust_domain, der)

    def issue(
        self,
        spiffe_id: SpiffeId | str,
        *,
        ttl: float | None = None,
        not_after: datetime | None = None,
        hint: str = "",
        **mutations: Unpack[Mutations],
    ) -> X509Svid:
        """Issue an SVID that passes every rule, or fails to if `mutations` break one.

        Args:
            spiffe_id: The identity.
            ttl: Life in seconds from now.
            not_after: The end of its life instead.
            hint: The operator's hint.
            **mutations: As for `issue_certificate`.

        Raises:
            X509SvidError: A mutation made it unusable as our own SVID.
            ConfigError: An argument is of the wrong kind, or no such certificate can be made.
        """
        check(spiffe_id=spiffe_id, hint=hint)
        check_mutations(mutations)
        made = self.issue_certificate(spiffe_id, ttl=ttl, not_after=not_after, **mutations)
        return X509Svid.parse(b"".join(made.chain_der), made.key_der, hint=hint)

    def issue_certificate(
        self,
        spiffe_id: SpiffeId | str | None,
        *,
        ttl: float | None = None,
        not_after: datetime | None = None,
        not_before: datetime | None = None,
        skew: float = 0.0,
        uris: Sequence[str] | None = None,
        dns_names: Sequence[str] = (),
        other_names: Sequence[x509.GeneralName] = (),
        common_name: str = "",
        subject: x509.Name | None = None,
        ca: bool | None = False,
        path_length: int | None = None,
        key_usage: Sequence[str] | None = ("digital_signature",),
        key_usage_critical: bool = True,
        roles: Sequence[str] | None = _BOTH_ROLES,
        key: SigningKey | None = None,
        key_type: KeyType = "p256",
        wrong_key: bool = False,
        unknown_critical: bool = False,
        extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
        intermediates: int = 0,
        intermediate: IntermediateMutations | None = None,
        leaf_only: bool = False,
        with_root: bool = False,
        stranger: bool = False,
        self_signed: bool = False,
        tampered: bool = False,
    ) -> IssuedCertificate:
        """Issue a certificate that need not be an SVID; no rule of SPIFFE is checked.

        Args:
            spiffe_id: The URI name; None for a certificate without one.
            ttl: Life in seconds from now; negative for one that has expired.
            not_after: The end of its life instead.
            not_before: The begin of its life.
            skew: Seconds by which the issuer's clock is ahead, or behind if negative.
            uris: URI names instead of the SPIFFE ID: none, several, or no SPIFFE IDs.
            dns_names: DNS names beside it.
            other_names: Names of any other kind beside it.
            common_name: A CN in the subject.
            subject: The subject instead; an empty name makes the URI names critical.
            ca: Make it a CA certificate; None leaves the basic constraints out.
            path_length: How many CAs may follow, where `ca` is set.
            key_usage: The key usages, as named by `cryptography`; None for no such extension.
            key_usage_critical: Whether that extension is critical.
            roles: ``client``, ``server`` and dotted object identifiers for the extended key
                usage; None for none.
            key: The key, instead of a fresh one.
            key_type: The kind of the fresh key.
            wrong_key: Give the key of another certificate with it.
            unknown_critical: Add a critical extension that nobody knows.
            extensions: More extensions, each with whether it is critical.
            intermediates: Signing certificates between the root and the leaf.
            intermediate: What to change of each of them.
            leaf_only: Leave the intermediates out of the chain.
            with_root: Put the root at the end of the chain.
            stranger: Let it be signed by an authority that has the name, but not the key.
            self_signed: Let it be signed by its own key.
            tampered: Change it after it was signed.

        Raises:
            ConfigError: An argument is of the wrong kind, or no such certificate can be made.
        """
        given = {name: each for name, each in locals().items() if name not in ("self", "spiffe_id")}
        check_mutations(given)
        if spiffe_id is not None:
            check(spiffe_id=spiffe_id)
        with building():
            root = self._impostor() if stranger else self._roots[self._active]
            signers = self._signers(root, intermediates, intermediate or {})
            own_key = make_key(key_type) if key is None else key
            name = leaf_subject(common_name) if subject is None else subject
            names = _names(_uris(spiffe_id, uris), dns_names, other_names)
            added = [
                *_constraints(ca, path_length),
                *_usage(key_usage, critical=key_usage_critical),
                *([] if roles is None else [(extended_usage(roles), False)]),
                # RFC 5280 section 4.2.1.6, R-X509-10
                *([(x509.SubjectAlternativeName(names), not list(name))] if names else []),
                *([(_unknown(), True)] if unknown_critical else []),
                *extensions,
            ]
            leaf = sign_certificate(
                name,
                own_key,
                (name, own_key)
                if self_signed
                else (signers[0].certificate.subject, signers[0].key),
                validity=self._validity(ttl, not_before, not_after, skew),
                extensions=added,
            )
            above = [each.certificate for each in signers]
            chain = [
                tamper(leaf) if tampered else leaf,
                *([] if leaf_only else above[:-1]),
                *(above[-1:] if with_root else []),
            ]
            return IssuedCertificate(
                chain,
                make_key(key_type) if wrong_key else own_key,
                spiffe_id=spiffe_id,
            )

    def prepare(self) -> None:
        """Publish a new root beside the old ones; SVIDs are still signed by the old one."""
        self._roots.append(self._make_root())

    def activate(self) -> None:
        """Sign with the newest root from now on."""
        self._active = len(self._roots) - 1

    def retire(self) -> None:
        """Take every root but the active one out of the bundle."""
        self._roots = [self._roots[self._active]]
        self._active = 0

    def revoke(self) -> None:
        """Do as `retire`: SPIRE's word for that step."""
        self.retire()

    def rotate(self) -> None:
        """Publish a new root and sign with it; the old ones stay published until `retire`."""
        self.prepare()
        self.activate()

    def _validity(
        self,
        ttl: float | None,
        not_before: datetime | None,
        not_after: datetime | None,
        skew: float,
    ) -> tuple[datetime, datetime]:
        now = self._time() + timedelta(seconds=skew)
        begin = not_before or now - _BACKDATE
        end = not_after or now + timedelta(seconds=self._ttl if ttl is None else ttl)
        return min(begin, end - _A_SECOND), end

    def _signers(
        self,
        root: Signer,
        count: int,
        changes: IntermediateMutations,
    ) -> list[Signer]:
        """Make the chain above the leaf: who signs it first, the root last."""
        signers = [root]
        for _ in range(count):
            key = make_key("p256")
            certificate = self._sign_ca(key, self._ca_name("intermediate"), signers[0], changes)
            signers.insert(0, Signer(certificate, key))
        return signers

    def _make_root(self) -> Signer:
        with building():
            key = make_key(self._key_type)
            return Signer(self._sign_ca(key, self._ca_name("root"), None, {}), key)

    def _time(self) -> datetime:
        now: object = self._now()
        if not isinstance(now, datetime) or now.utcoffset() is None:
            raise ConfigError("the clock `now` gives no datetime with a time zone")
        return now

    def _impostor(self) -> Signer:
        """Make a root with the name of the active one, and a key of its own."""
        key = make_key(self._key_type)
        subject = self._roots[self._active].certificate.subject
        return Signer(self._sign_ca(key, subject, None, {}), key)

    def _ca_name(self, kind: str) -> x509.Name:
        # Distinct names, as SPIRE's serial number in the subject gives: gRPC core needs them.
        self._count += 1
        return x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, f"FAKE {kind}"),
                x509.NameAttribute(NameOID.COMMON_NAME, self.trust_domain.name[:64]),
                x509.NameAttribute(NameOID.SERIAL_NUMBER, str(self._count)),
            ],
        )

    def _sign_ca(
        self,
        key: SigningKey,
        name: x509.Name,
        issuer: Signer | None,
        changes: IntermediateMutations,
    ) -> x509.Certificate:
        now = self._time()
        uri = x509.UniformResourceIdentifier(str(self.trust_domain.id))
        return sign_certificate(
            name,
            key,
            (issuer.certificate.subject, issuer.key) if issuer else (name, key),
            validity=(
                changes.get("not_before", now - timedelta(days=1)),
                changes.get("not_after", now + timedelta(days=3650)),
            ),
            extensions=[
                *_constraints(changes.get("ca", True), changes.get("path_length")),
                *_usage(changes.get("key_usage", _SIGNER), critical=True),
                (x509.SubjectAlternativeName([uri]), False),
                *changes.get("extensions", ()),
            ],
        )


_Extensions = list[tuple[x509.ExtensionType, bool]]


def _uris(spiffe_id: SpiffeId | str | None, uris: Sequence[str] | None) -> Sequence[str]:
    if uris is not None:
        return uris
    return () if spiffe_id is None else (str(spiffe_id),)


def _names(
    uris: Sequence[str],
    dns_names: Sequence[str],
    others: Sequence[x509.GeneralName],
) -> list[x509.GeneralName]:
    return [
        *(x509.UniformResourceIdentifier(each) for each in uris),
        *(x509.DNSName(each) for each in dns_names),
        *others,
    ]


def _constraints(ca: bool | None, path_length: int | None) -> _Extensions:  # noqa: FBT001 - passed on as it came
    return [] if ca is None else [(x509.BasicConstraints(ca, path_length), True)]


def _usage(chosen: Sequence[str] | None, *, critical: bool) -> _Extensions:
    return [] if chosen is None else [(key_usage(chosen), critical)]


def _unknown() -> x509.UnrecognizedExtension:
    return x509.UnrecognizedExtension(x509.ObjectIdentifier(UNKNOWN_EXTENSION), b"\x05\0")
