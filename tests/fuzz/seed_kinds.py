"""The seeds of each target, by name."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from serviceradar_security._proto.workload_pb2 import X509SVID, X509SVIDResponse
from tests.fuzz.layout import SEPARATOR
from tests.identity.pki import WORKLOAD

if TYPE_CHECKING:
    from tests.fuzz.seed_certificates import Issued

__all__ = ["bundles", "chains", "documents", "identifiers", "identities", "messages"]


def identifiers() -> dict[str, bytes]:
    """Texts that are SPIFFE IDs, trust domains, or nearly so."""
    texts = {
        "workload": str(WORKLOAD),
        "all-characters": "spiffe://a-b_c.0/A-Z_.9/...",
        "trust-domain-id": "spiffe://example.org",
        "trust-domain": "example.org",
        "empty": "",
        "scheme-only": "spiffe://",
        "no-domain": "spiffe:///a",
        "upper-scheme": "SPIFFE://example.org/a",
        "upper-domain": "spiffe://Example.org/a",
        "slash-at-end": "spiffe://example.org/a/",
        "slash-twice": "spiffe://example.org//a",
        "dot": "spiffe://example.org/./a",
        "dots": "spiffe://example.org/a/..",
        "escape": "spiffe://example.org/%61",
        "query": "spiffe://example.org/a?b",
        "fragment": "spiffe://example.org/a#b",
        "user": "spiffe://me@example.org/a",
        "port": "spiffe://example.org:80/a",
        "newline": "spiffe://example.org/a\n",
        "nul": "spiffe://example.org/a\0",
        "wide-digits": "spiffe://example.org/\uff11",
        "dotless-i": "spiffe://ex\u0131mple.org/a",
        "domain-of-255": f"spiffe://{'a' * 255}/b",
        "domain-of-256": f"spiffe://{'a' * 256}/b",
        "id-of-2048": f"spiffe://example.org/{'a' * 2027}",
        "id-of-2049": f"spiffe://example.org/{'a' * 2028}",
        "many-segments": "spiffe://example.org" + "/a" * 1000,
    }
    return {name: text.encode() for name, text in texts.items()} | {
        "not-utf-8": b"spiffe://example.org/\xff",
        "surrogate": b"spiffe://example.org/\xed\xa0\x80",
    }


def chains(made: Issued) -> dict[str, bytes]:
    """Chains, good and bad."""
    good = {f"good-{kind}": chain for kind, chain in made.good.items()}
    return {kind: SEPARATOR.join(chain) for kind, chain in {**good, **made.bad}.items()}


def bundles(made: Issued) -> dict[str, bytes]:
    """Bundles as DER and as PEM."""
    root, foreign = made.roots[0], made.partner_roots[0]
    return {
        "one": root,
        "two": root + foreign,
        "twice": root + root,
        "empty": b"",
        "space": b" \n",
        "leaf": made.good_leaves[0],
        "junk-element": root + b"\x30\x03\x02\x01\0",
        "surplus": root + b"\0",
        "cut-off": root[:-1],
        "many-tiny": b"\x30\0" * 100,
        "pem": _pem(root) + b"# text\n" + _pem(foreign),
        "pem-with-other-block": _pem(root) + _pem(foreign, label="X509 CRL"),
        "pem-cut-off": _pem(root)[:-20],
        "pem-of-nothing": _pem(b""),
        "pem-of-junk": _pem(b"\x30\x03\x02\x01\0"),
        **{
            kind: made.bad[kind][0]
            for kind in ("extension-twice", "broken-san", "version-4", "length-too-long")
        },
    }


def documents(made: Issued) -> dict[str, bytes]:
    """Bundle documents, and certificates that the target puts into one."""
    root, text = made.roots[0], _base64(made.roots[0])
    good = {"use": "x509-svid", "kty": "EC", "x5c": [text]}
    lists: dict[str, list[Any]] = {
        "one": [good],
        "twice": [good, good],
        "none": [],
        "unknown-use": [{**good, "use": "jwt-svid"}, good],
        "no-use": [{"kty": "EC", "x5c": [text]}],
        "unknown-kty": [{**good, "kty": "oct"}],
        "entries-of-wrong-types": [None, 1, "a", [], {}, good],
        "members-of-wrong-types": [
            {"use": use, "kty": kty, "x5c": x5c}
            for use, kty, x5c in (
                (1, "EC", [text]),
                ("x509-svid", ["EC"], [text]),
                ("x509-svid", "EC", text),
                ("x509-svid", "EC", [1]),
                ("x509-svid", "EC", {"0": text}),
                ("x509-svid", "EC", []),
                ("x509-svid", "EC", None),
            )
        ],
        "leaf": [{**good, "x5c": [_base64(made.good_leaves[0])]}],
        "more-than-one": [{**good, "x5c": [text, "junk"]}],
        "url-alphabet": [{**good, "x5c": [base64.urlsafe_b64encode(root).decode()]}],
        "line-breaks": [{**good, "x5c": [base64.encodebytes(root).decode()]}],
        "no-padding": [{**good, "x5c": [text.rstrip("=")]}],
        "not-ascii": [{**good, "x5c": ["\u00e9\ud800"]}],
        "empty-text": [{**good, "x5c": [""]}],
    }
    written = {kind: json.dumps({"keys": keys}).encode() for kind, keys in lists.items()}
    document = {"keys": [good], "spiffe_sequence": 7, "spiffe_refresh_hint": 600}
    maps: dict[str, object] = {
        "one": {"example.org": document},
        "two": {"example.org": document, "spiffe://partner.example": {"keys": []}},
        "twice": {"example.org": document, "spiffe://example.org": document},
        "of-nobody": {},
        "name-invalid": {"Example.org": document},
        "member-invalid": {"example.org": {"keys": {}}},
        "array": [document],
    }
    written |= {
        f"map-{kind}": json.dumps({"trust_domains": each}).encode() for kind, each in maps.items()
    }
    numbers = {
        "numbers": (7, 600),
        "numbers-negative": (-1, -600),
        "numbers-huge": (10**400, 10**400),
        "numbers-of-wrong-types": (1.5, True),
        "numbers-as-text": ("7", []),
    }
    written |= {
        kind: json.dumps({**document, "spiffe_sequence": one, "spiffe_refresh_hint": two}).encode()
        for kind, (one, two) in numbers.items()
    }
    return written | {
        "surrogates": b'{"keys": [], "\\ud800": "\\udfff\\ud83d"}',
        "members-twice": b'{"keys": 1, "keys": [{"use": "a", "use": "x509-svid"}]}',
        "not-a-number": b'{"keys": [NaN, Infinity, -Infinity]}',
        "huge-numbers": b'{"keys": [1e999, -0, ' + b"9" * 5000 + b"]}",
        "deep-nesting": b'{"keys": ' + b"[" * 2000 + b"]" * 2000 + b"}",
        "deep-objects": b'{"keys":' * 1500,
        "keys-no-array": b'{"keys": {"0": []}}',
        "no-keys": b"{}",
        "array": b"[]",
        "byte-order-mark": b'\xef\xbb\xbf{"keys": []}',
        "utf-16": '{"keys": []}'.encode("utf-16"),
        "not-utf-8": b'{"keys": ["\xff"]}',
        "control-characters": b'{"keys": ["\0\n"]}',
        "nothing": b"",
        "surplus": b'{"keys": []}{}',
        "der-root": root,
        "der-extension-twice": made.bad["extension-twice"][0],
        "der-middle": made.bad["middle-as-leaf"][0],
        "der-leaf": made.good_leaves[0],
    }


def identities(made: Issued) -> dict[str, bytes]:
    """Chains with keys."""
    pairs = {f"good-{kind}": (chain, made.keys[kind]) for kind, chain in made.good.items()}
    pairs |= {
        f"key-{kind}": (made.good["rsa" if "rsa" in kind or kind == "pkcs1" else "p256"], key)
        for kind, key in made.others.items()
    }
    pairs |= {
        f"chain-{kind}": (made.bad[kind], made.keys["p256"])
        for kind in (
            "two-uris",
            "no-uri",
            "ca",
            "broken-san",
            "extension-twice",
            "cut-off",
            "surplus",
            "length-too-long",
            "indefinite-length",
            "17-certificates",
            "nothing",
            "expired",
            "middle-no-ca",
            "middle-without-usage",
            "uri-of-64-kib",
            "rsa-exponent-0",
            "odd-unknown-curve",
            "middle-expired",
            "begins-in-year-0",
            "ends-in-year-0",
        )
    }
    made_seeds = {kind: b"".join(chain) + SEPARATOR + key for kind, (chain, key) in pairs.items()}
    return made_seeds | {"no-key": made.good_leaves[0], "no-chain": SEPARATOR + made.keys["p256"]}


def messages(made: Issued) -> dict[str, bytes]:
    """Messages of the Workload API, and fields that the target puts into one."""
    chain, key, root = b"".join(made.good["through"]), made.keys["through"], made.roots[0]
    good = {
        "spiffe_id": str(WORKLOAD),
        "x509_svid": chain,
        "x509_svid_key": key,
        "bundle": root,
    }
    second = {**good, "x509_svid": made.good_leaves[0], "x509_svid_key": made.keys["p256"]}
    foreign = made.partner_roots[0]
    written = {
        "one": _message(good),
        "two": _message({**good, "hint": "a"}, {**second, "hint": "b"}),
        "hint-twice": _message({**good, "hint": "a"}, {**second, "hint": "a"}),
        "second-bad": _message(good, {**second, "x509_svid": b"\x30\0"}),
        "second-bundle": _message(good, {**second, "bundle": foreign}),
        "federated": _message(good, federated={"spiffe://partner.example": foreign}),
        "federated-name": _message(good, federated={"partner.example": foreign}),
        "federated-twice": _message(
            good, federated={"partner.example": foreign, "spiffe://partner.example": root}
        ),
        "federated-own": _message(good, federated={"example.org": foreign}),
        "federated-path": _message(good, federated={"spiffe://partner.example/a": foreign}),
        "federated-junk": _message(good, federated={"": b"", "b": b"\x30\x01\0", "c\n": b"a"}),
        "none": b"",
        "other-id": _message({**good, "spiffe_id": "spiffe://example.org/other"}),
        "other-key": _message({**good, "x509_svid_key": made.others["of-another"]}),
        "bundle-of-junk": _message({**good, "bundle": b"\x30\x03\x02\x01\0"}),
        **{f"without-{each}": _message({**good, each: type(good[each])()}) for each in good},
    }
    whole = written["one"]
    return written | {
        "unknown-fields": whole + b"\xfa\x7f\x03abc\x08\x01\x11" + bytes(8) + b"\x25" + bytes(4),
        "crl": whole + b"\x12\x03abc",
        "wrong-wire-type": b"\x08\x01" + whole,
        "wrong-wire-types": whole + b"\x0d\x01\x02\x03\x04\x19" + bytes(8),
        "groups": b"\x53" * 50 + b"\x54" * 50 + whole,
        "group-without-end": whole + b"\x53",
        "end-without-group": whole + b"\x54",
        "wire-type-7": whole + b"\x57",
        "field-0": whole + b"\x02\x01a",
        "length-too-long": whole + b"\x0a\x7fabc",
        "length-of-gigabytes": b"\x0a\xff\xff\xff\xff\x07" + whole,
        "length-negative": b"\x0a" + b"\xff" * 9 + b"\x01" + whole,
        "varint-without-end": whole + b"\x08" + b"\xff" * 11,
        "cut-off": whole[:-5],
        "not-utf-8": b"\x0a\x04\x0a\x02\xff\xfe" + whole,
        "merged-map-entry": whole + b"\x1a\x00\x1a\x02\x0a\x00",
        "many-empty": b"\x0a\x00" * 1001,
        "fields-good": SEPARATOR.join(
            [str(WORKLOAD).encode(), chain, key, root, b"hint", b"partner.example", foreign]
        ),
        "fields-year-0": SEPARATOR.join(
            [str(WORKLOAD).encode(), made.bad["ends-in-year-0"][0], made.keys["p256"], root],
        ),
        "fields-short": SEPARATOR.join([str(WORKLOAD).encode(), made.good_leaves[0], key, root]),
    }


def _message(*entries: dict[str, Any], federated: dict[str, bytes] | None = None) -> bytes:
    response = X509SVIDResponse(
        svids=[X509SVID(**each) for each in entries],
        federated_bundles=federated or {},
    )
    return response.SerializeToString(deterministic=True)


def _base64(der: bytes) -> str:
    return base64.b64encode(der).decode()


def _pem(der: bytes, *, label: str = "CERTIFICATE") -> bytes:
    body = base64.encodebytes(der)
    return b"-----BEGIN %b-----\n%b-----END %b-----\n" % (label.encode(), body, label.encode())
