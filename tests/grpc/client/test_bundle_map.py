"""Bundle maps: what core can read of a snapshot's bundles, and no more."""

from __future__ import annotations

import base64
import json
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from serviceradar_security.grpc.client.bundle_map import render_bundle_map
from serviceradar_security.identity.bundle import TrustBundle
from serviceradar_security.identity.context import X509Context
from serviceradar_security.identity.spiffe_id import TrustDomain
from serviceradar_security.testing.authority import FakeAuthority, IssuedCertificate
from tests.grpc.client.conftest import FakeSource, Server, World, call_sync, expect

OTHER = TrustDomain.parse("other.test")
ID = "spiffe://other.test/db"
V3 = bytes.fromhex("a003020102")


def sign(
    key: Any,
    issuer_key: Any,
    subject: str,
    issuer: str,
    *,
    is_ca: bool,
    critical: bool = False,
) -> x509.Certificate:
    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, text)])

    now = datetime.now(UTC)
    uri = str(OTHER.id) if is_ca else ID
    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
        False,
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(is_ca, None), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=not is_ca,
                key_cert_sign=is_ca,
                crl_sign=is_ca,
                encipher_only=False,
                decipher_only=False,
                **usage,
            ),
            critical=True,
        )
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]),
            critical=False,
        )
    )
    if critical:
        unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\5\0")
        builder = builder.add_extension(unknown, critical=True)
    algorithm = None if isinstance(issuer_key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(issuer_key, algorithm)


def authority(key: Any, **facts: Any) -> bytes:
    return sign(key, key, "root", "root", is_ca=True, **facts).public_bytes(Encoding.DER)


def make_key(kind: str) -> Any:
    curves: dict[str, ec.EllipticCurve] = {
        "P-256": ec.SECP256R1(),
        "P-384": ec.SECP384R1(),
        "P-521": ec.SECP521R1(),
        "secp256k1": ec.SECP256K1(),
        "brainpool": ec.BrainpoolP256R1(),
    }
    if kind in curves:
        return ec.generate_private_key(curves[kind])
    if kind == "Ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(65537, int(kind.removeprefix("RSA-")))


def without_version(der: bytes) -> bytes:
    """Make a certificate of version 1 that has extensions: core would refuse the whole map."""
    outer, inner = int.from_bytes(der[2:4], "big"), int.from_bytes(der[6:8], "big")
    body = der[8:].replace(V3, b"", 1)
    sizes = [(size - len(V3)).to_bytes(2, "big") for size in (outer, inner)]
    return der[:2] + sizes[0] + der[4:6] + sizes[1] + body


def unusable() -> dict[str, bytes]:
    fine = authority(make_key("P-256"))
    second_string = fine.index(bytes.fromhex("06035504 0a0c".replace(" ", ""))) + 5
    odd_name = bytearray(fine)
    odd_name[second_string] = 0x18  # a time where a text belongs
    return {
        **{kind: authority(make_key(kind)) for kind in ("Ed25519", "secp256k1", "brainpool")},
        "version 1 with extensions": without_version(fine),
        "a time in a name": bytes(odd_name),
    }


UNUSABLE = unusable()


def context_with(world: World, *certificates: bytes) -> X509Context:
    other = TrustBundle.from_der(OTHER, b"".join(certificates))
    return world.context(world.ours.bundle, other)


@pytest.mark.parametrize("kind", ["P-256", "P-384", "P-521", "RSA-2048", "RSA-4096"])
def test_core_verifies_servers_by_each_usual_kind_of_authority(world: World, kind: str) -> None:
    """Servers that such an authority signed are called; its entry harms no other domain."""
    key = make_key(kind)
    leaf_key = ec.generate_private_key(ec.SECP256R1())
    leaf = sign(leaf_key, key, "leaf", "root", is_ca=False)
    source = FakeSource(context_with(world, authority(key)))
    server = Server(IssuedCertificate([leaf], leaf_key), world.roots)
    try:
        assert call_sync(server.target, source, expect(ID))[0] is grpc.StatusCode.OK
    finally:
        server.stop()


@pytest.mark.filterwarnings("ignore")  # the parser's, which would hide such a certificate earlier
@pytest.mark.parametrize("name", UNUSABLE)
def test_an_authority_that_core_cannot_use_costs_only_itself(
    world: World,
    name: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is left out and logged once; its domain's other authorities and other domains work."""
    fresh = FakeAuthority("spare.test").bundle.der[0]
    bundles = {OTHER: TrustBundle.from_der(OTHER, UNUSABLE[name] + fresh)}
    with caplog.at_level(logging.WARNING, logger="serviceradar_security.grpc"):
        rendered = render_bundle_map(bundles)
        render_bundle_map(bundles)
    assert rendered.authorities == {("other.test", fresh)}
    assert len(caplog.records) <= 1
    server = world.serve()
    source = FakeSource(context_with(world, UNUSABLE[name]))
    assert "other.test" not in render_bundle_map(source.current().bundles).domains
    code, text = call_sync(
        server.target, source, expect("spiffe://carverauto.test/ns/demo/sa/core")
    )
    assert code is grpc.StatusCode.OK, text


def test_a_refusal_says_what_is_wrong(caplog: pytest.LogCaptureFixture) -> None:
    """The log names the trust domain and the reason."""
    ed = authority(make_key("Ed25519"))
    with caplog.at_level(logging.WARNING, logger="serviceradar_security.grpc"):
        render_bundle_map({OTHER: TrustBundle.from_der(OTHER, ed)})
    (record,) = caplog.records
    assert "an authority of other.test is left out" in record.getMessage()
    assert "gRPC core reads authorities with RSA keys" in record.getMessage()


def test_an_authority_with_an_unknown_critical_extension_harms_nobody_else(world: World) -> None:
    """Core reads such a certificate; whether it trusts it is core's matter."""
    server = world.serve()
    source = FakeSource(context_with(world, authority(make_key("P-256"), critical=True)))
    code, text = call_sync(
        server.target, source, expect("spiffe://carverauto.test/ns/demo/sa/core")
    )
    assert code is grpc.StatusCode.OK, text


def test_the_document_is_a_bundle_map(world: World) -> None:
    """One entry per authority, by trust domain, and no domain without an authority."""
    world.ours.rotate()
    empty = TrustBundle.from_der(OTHER, b"")
    bundles = {each.trust_domain: each for each in (world.ours.bundle, world.theirs.bundle, empty)}
    rendered = render_bundle_map(bundles)
    document = json.loads(rendered.data)
    assert set(document) == {"trust_domains"}
    assert set(document["trust_domains"]) == {"carverauto.test", "partner.test"}
    assert rendered.domains == {"carverauto.test", "partner.test"}
    entries = document["trust_domains"]["carverauto.test"]["keys"]
    assert [set(each) for each in entries] == [{"use", "kty", "x5c"}] * 2
    assert tuple(base64.b64decode(each["x5c"][0]) for each in entries) == world.ours.bundle.der
    assert len(rendered.authorities) == 3


def test_no_bundles_give_an_empty_map() -> None:
    """An empty map is a document that core reads, and by which it trusts nobody."""
    rendered = render_bundle_map({})
    assert json.loads(rendered.data) == {"trust_domains": {}}
    assert rendered.authorities == frozenset()


def test_with_an_empty_map_nobody_is_trusted(world: World) -> None:
    """A snapshot with an identity and without authorities calls nobody."""
    server = world.serve()
    svid = world.context().default
    source = FakeSource(X509Context(svids=[svid], bundles={}))
    code, _ = call_sync(server.target, source, expect("spiffe://carverauto.test/ns/demo/sa/core"))
    assert code is grpc.StatusCode.UNAVAILABLE
    assert server.requests == []
