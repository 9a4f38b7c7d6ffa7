"""An authority that issues X.509-SVIDs for tests: good ones by default, wrong ones on request."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from serviceradar_security.identity.bundle import TrustBundle
from serviceradar_security.identity.spiffe_id import SpiffeId, TrustDomain
from serviceradar_security.identity.svid import X509Svid

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["FakeAuthority", "IssuedCertificate"]

_BOTH_ROLES: Final = ("client", "server")
_ROLES: Final = {
    "client": ExtendedKeyUsageOID.CLIENT_AUTH,
    "server": ExtendedKeyUsageOID.SERVER_AUTH,
}
_BACKDATE: Final = timedelta(seconds=10)  # as SPIRE does
_USAGES: Final = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


class IssuedCertificate:
    """A certificate with its key that may break every rule: what a hostile peer presents.

    Made by `FakeAuthority.issue_certificate`.
    """

    def __init__(self, chain: Sequence[x509.Certificate], key: ec.EllipticCurvePrivateKey) -> None:
        """Hold a chain, leaf first, and its key."""
        self.chain: tuple[x509.Certificate, ...] = tuple(chain)
        self.key = key

    @property
    def leaf(self) -> x509.Certificate:
        """The leaf certificate."""
        return self.chain[0]

    @property
    def chain_der(self) -> tuple[bytes, ...]:
        """The chain as DER, leaf first."""
        return tuple(each.public_bytes(Encoding.DER) for each in self.chain)

    @property
    def key_der(self) -> bytes:
        """The key as unencrypted PKCS#8."""
        return self.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())

    def to_pem(self) -> tuple[bytes, bytes]:
        """Write ``(chain, key)`` as PEM."""
        chain = b"".join(each.public_bytes(Encoding.PEM) for each in self.chain)
        return chain, self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


class FakeAuthority:
    """The signing authority of a trust domain, for tests.

    It knows SPIRE's steps of an authority rotation: `prepare` publishes a new root beside the
    old one, `activate` signs with it, `revoke` takes the old ones away; `rotate` is the first two.
    """

    def __init__(
        self,
        trust_domain: TrustDomain | str,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        ttl: float = 3600.0,
    ) -> None:
        """Make an authority with one root.

        Args:
            trust_domain: The trust domain, or its name.
            now: The clock that validity is counted from.
            ttl: Life of issued SVIDs in seconds, unless `issue` is told otherwise.
        """
        self.trust_domain: TrustDomain = (
            trust_domain
            if isinstance(trust_domain, TrustDomain)
            else TrustDomain.parse(trust_domain)
        )
        self._now = now
        self._ttl = ttl
        self._count = 0
        self._roots = [self._make_root()]
        self._active = 0

    @property
    def bundle(self) -> TrustBundle:
        """The roots that are published now."""
        der = b"".join(root.public_bytes(Encoding.DER) for root, _ in self._roots)
        return TrustBundle.from_der(self.trust_domain, der)

    def issue(
        self,
        spiffe_id: SpiffeId | str,
        *,
        ttl: float | None = None,
        not_after: datetime | None = None,
        hint: str = "",
        **mutations: Any,
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
        """
        made = self.issue_certificate(spiffe_id, ttl=ttl, not_after=not_after, **mutations)
        return X509Svid.parse(b"".join(made.chain_der), made.key_der, hint=hint)

    def issue_certificate(
        self,
        spiffe_id: SpiffeId | str | None,
        *,
        ttl: float | None = None,
        not_after: datetime | None = None,
        not_before: datetime | None = None,
        uris: Sequence[str] | None = None,
        dns_names: Sequence[str] = (),
        common_name: str = "",
        ca: bool = False,
        key_usage: Sequence[str] | None = ("digital_signature",),
        roles: Sequence[str] | None = _BOTH_ROLES,
        key: ec.EllipticCurvePrivateKey | None = None,
        intermediates: int = 0,
    ) -> IssuedCertificate:
        """Issue a certificate that need not be an SVID; nothing is checked.

        Args:
            spiffe_id: The URI name; None for a certificate without one.
            ttl: Life in seconds from now.
            not_after: The end of its life instead.
            not_before: The begin of its life.
            uris: URI names instead of the SPIFFE ID.
            dns_names: DNS names beside it.
            common_name: A CN in the subject.
            ca: Make it a CA certificate.
            key_usage: The key usages, as named by `cryptography`; None for no such extension.
            roles: ``client`` and ``server`` for the extended key usage; None for none.
            key: The key, instead of a fresh one.
            intermediates: Signing certificates between the root and the leaf.
        """
        begin = not_before or self._now() - _BACKDATE
        life = self._ttl if ttl is None else ttl
        end = not_after or self._now() + timedelta(seconds=life)
        begin = min(begin, end - timedelta(seconds=1))
        issuer, issuer_key = self._roots[self._active]
        chain: list[x509.Certificate] = []
        for _ in range(intermediates):
            issuer, issuer_key = self._make_signer(issuer, issuer_key)
            chain.insert(0, issuer)
        own_key = key or ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [
            x509.UniformResourceIdentifier(uri)
            for uri in (
                uris if uris is not None else () if spiffe_id is None else (str(spiffe_id),)
            )
        ]
        names += [x509.DNSName(name) for name in dns_names]
        attributes = [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "US"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "FAKE"),
        ]
        if common_name:
            attributes.append(x509.NameAttribute(NameOID.COMMON_NAME, common_name))
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name(attributes))
            .issuer_name(issuer.subject)
            .public_key(own_key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca, None), critical=True)
        )
        if key_usage is not None:
            builder = builder.add_extension(_usage(*key_usage), critical=True)
        if roles is not None:
            usages = [_ROLES[role] for role in roles]
            builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        leaf = _with_key_ids(builder, own_key, issuer_key).sign(issuer_key, hashes.SHA256())
        return IssuedCertificate([leaf, *chain], own_key)

    def prepare(self) -> None:
        """Publish a new root beside the old ones; SVIDs are still signed by the old one."""
        self._roots.append(self._make_root())

    def activate(self) -> None:
        """Sign with the newest root from now on."""
        self._active = len(self._roots) - 1

    def revoke(self) -> None:
        """Take every root but the active one out of the bundle."""
        self._roots = [self._roots[self._active]]
        self._active = 0

    def rotate(self) -> None:
        """Publish a new root and sign with it; the old ones stay published until `revoke`."""
        self.prepare()
        self.activate()

    def _make_root(self) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        key = ec.generate_private_key(ec.SECP256R1())
        return self._sign_ca(key, self._ca_name("root"), None), key

    def _make_signer(
        self,
        issuer: x509.Certificate,
        issuer_key: ec.EllipticCurvePrivateKey,
    ) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        key = ec.generate_private_key(ec.SECP256R1())
        return self._sign_ca(key, self._ca_name("intermediate"), (issuer, issuer_key)), key

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
        key: ec.EllipticCurvePrivateKey,
        name: x509.Name,
        issuer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None,
    ) -> x509.Certificate:
        issuer_name, issuer_key = (issuer[0].subject, issuer[1]) if issuer else (name, key)
        uri = x509.UniformResourceIdentifier(str(self.trust_domain.id))
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(issuer_name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._now() - timedelta(days=1))
            .not_valid_after(self._now() + timedelta(days=3650))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)
            .add_extension(x509.SubjectAlternativeName([uri]), critical=False)
        )
        return _with_key_ids(builder, key, issuer_key).sign(issuer_key, hashes.SHA256())


def _usage(*on: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{name: name in on for name in _USAGES})


def _with_key_ids(
    builder: x509.CertificateBuilder,
    key: ec.EllipticCurvePrivateKey,
    issuer_key: ec.EllipticCurvePrivateKey,
) -> x509.CertificateBuilder:
    own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    return builder.add_extension(own, critical=False).add_extension(issuer, critical=False)
