"""Bundle documents, and maps of them: section 7 of the requirements."""

from __future__ import annotations

import base64
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from serviceradar_security.errors import TrustBundleError
from serviceradar_security.identity.bundle import MAX_BUNDLE_BYTES, TrustBundle, read_bundle_map
from tests.identity.documents import (
    FIRST,
    FIRST_DER,
    LEAF,
    ROOT,
    SECOND,
    document,
    jwk,
    x5c,
)
from tests.identity.pki import (
    LOCAL,
    PARTNER,
    der,
    patched,
    raw_extension,
    signer,
)

if TYPE_CHECKING:
    from cryptography import x509

patient = settings(deadline=None, max_examples=150)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"{", id="cut"),
        pytest.param(b"[]", id="an array"),
        pytest.param(b"null", id="null"),
        pytest.param(b'"keys"', id="text"),
        pytest.param(b"{}", id="no keys"),
        pytest.param(b'{"keys": null}', id="keys null"),
        pytest.param(b'{"keys": {}}', id="keys an object"),
        pytest.param(b'{"keys": "x"}', id="keys text"),
        pytest.param(b'{"KEYS": []}', id="another case"),
        pytest.param(b'{"keys": []} x', id="something after"),
        pytest.param(b'{"keys": [], "x": NaN}', id="NaN"),
        pytest.param(b'{"keys": [], "x": -Infinity}', id="infinity"),
        pytest.param(b'{"keys": [], "x": ' + b"9" * 5000 + b"}", id="a huge number"),
        pytest.param(b"\xff\xfe", id="not UTF-8"),
        pytest.param('{"keys": []}'.encode("utf-16"), id="UTF-16"),
        pytest.param(b"\xef\xbb\xbf" + document(), id="a byte order mark"),
        pytest.param(b'{"keys": [], "keys": []}', id="a member twice"),
        pytest.param(
            b'{"keys": [], "spiffe_sequence": 1, "spiffe_sequence": 2}', id="two sequences"
        ),
        pytest.param(b'{"keys":' + b"[" * 100_000, id="deep"),
        pytest.param(b'{"keys":' + b'{"a":' * 100_000, id="deep in objects"),
    ],
)
def test_a_document_that_is_none(data: bytes) -> None:
    """Without a JSON object that has an array `keys` there is no bundle (R-BUNDLE-01)."""
    with pytest.raises(TrustBundleError, match=r"bundle document of example\.org"):
        TrustBundle.from_jwks(LOCAL, data)


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param(None, id="null"),
        pytest.param("x", id="text"),
        pytest.param([], id="an array"),
        pytest.param({}, id="empty"),
        pytest.param(jwk(kty="ET"), id="unknown kty"),  # R-BUNDLE-03
        pytest.param(jwk(kty=None), id="no kty"),
        pytest.param(jwk(kty="ec"), id="kty in lower case"),
        pytest.param(jwk(kty=["EC"]), id="kty an array"),
        pytest.param(jwk(use=None), id="no use"),  # R-BUNDLE-04
        pytest.param(jwk(use="X509-SVID"), id="use in upper case"),
        pytest.param(jwk(use="sig"), id="unknown use"),
        pytest.param(jwk(use=["x509-svid"]), id="use an array"),
        pytest.param(jwk(use="jwt-svid"), id="jwt-svid"),  # R-BUNDLE-08
        pytest.param(jwk(use="wit-svid"), id="wit-svid"),
        pytest.param(jwk(x5c=None), id="no x5c"),  # R-BUNDLE-05
        pytest.param(jwk(x5c=[]), id="empty x5c"),
        pytest.param(jwk(x5c={}), id="x5c an object"),
        pytest.param(jwk(x5c=x5c(FIRST)[0]), id="x5c text"),
        pytest.param(jwk(x5c=[None]), id="x5c of null"),
        pytest.param(jwk(x5c=[""]), id="x5c of nothing"),  # R-BUNDLE-07
        pytest.param(jwk(x5c=["!"]), id="x5c not base64"),
        pytest.param(jwk(x5c=["é"]), id="x5c not ASCII"),
        pytest.param(jwk(x5c=["MAA="]), id="x5c not a certificate"),
        pytest.param(jwk(x5c=[x5c(FIRST)[0].rstrip("=") + "=A="]), id="x5c with a bad end"),
        pytest.param(jwk(x5c=[x5c(FIRST)[0][:400] + "\n" + x5c(FIRST)[0][400:]]), id="x5c wrapped"),
        pytest.param(
            jwk(x5c=[base64.b64encode(FIRST_DER + b"\0").decode()]),
            id="x5c with a byte too many",
        ),
        pytest.param(
            jwk(x5c=[base64.urlsafe_b64encode(b"\xff" * 300).decode()]),
            id="x5c in another alphabet",
        ),
        pytest.param(jwk(x5c=[FIRST.public_bytes(Encoding.PEM).decode()]), id="x5c in PEM"),
        pytest.param(jwk(x5c=x5c(LEAF)), id="x5c of a leaf"),
        pytest.param(jwk(x5c=x5c(LEAF, FIRST)), id="x5c of a leaf and a root"),
        pytest.param(jwk(x5c=x5c(signer(ROOT, ROOT, ca=None))), id="x5c without constraints"),
        pytest.param(
            jwk(
                x5c=x5c(signer(ROOT, ROOT, extensions=[(raw_extension("2.5.29.37", b"\0"), False)]))
            ),
            id="x5c with an extension that cannot be read",
        ),
        pytest.param(
            jwk(
                x5c=[
                    base64.b64encode(
                        patched(
                            FIRST,
                            ROOT,
                            bytes.fromhex("a003020102"),
                            bytes.fromhex("a003020107"),
                        ),
                    ).decode(),
                ],
            ),
            id="x5c of a version that there is not",
        ),
    ],
)
def test_an_entry_costs_only_itself(entry: object) -> None:
    """What cannot be used is left out, before and after good entries (R-BUNDLE-03 to -08)."""
    good = jwk(x5c=x5c(SECOND))

    assert TrustBundle.from_jwks(LOCAL, document(entry)).authorities == ()
    for keys in ((entry, good), (good, entry), (entry, good, entry)):
        assert TrustBundle.from_jwks(LOCAL, document(*keys)).authorities == (SECOND,)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        pytest.param([], [], id="none"),  # R-BUNDLE-02
        pytest.param([jwk()], [FIRST], id="EC"),
        pytest.param([jwk(kty="RSA")], [FIRST], id="RSA"),
        pytest.param([jwk(kty="OKP")], [FIRST], id="OKP"),
        pytest.param([jwk(kid="x")], [FIRST], id="kid"),  # R-BUNDLE-08
        pytest.param([jwk(x5c=[*x5c(FIRST), "!"])], [FIRST], id="second not base64"),  # -06
        pytest.param([jwk(x5c=[*x5c(FIRST, SECOND)])], [FIRST], id="second good"),
        pytest.param([jwk(x5c=[*x5c(FIRST), None, 7])], [FIRST], id="others no text"),
        pytest.param([jwk(), jwk()], [FIRST], id="one twice"),
        pytest.param([jwk(x5c=x5c(SECOND)), jwk()], [SECOND, FIRST], id="two, in their order"),
        pytest.param([jwk(new="member", x=[1])], [FIRST], id="unknown members"),
    ],
)
def test_a_document(keys: list[object], expected: list[x509.Certificate]) -> None:
    """A document gives the union of the first x5c values of its x509-svid entries."""
    bundle = TrustBundle.from_jwks(LOCAL, document(*keys))

    assert list(bundle.authorities) == expected
    assert bundle == TrustBundle.from_der(LOCAL, b"".join(der(*expected)))


def test_unknown_members_of_a_document_are_ignored() -> None:
    """Sequence, refresh hint and unknown members change nothing, whatever they hold (R-BUNDLE-11)."""
    plain = TrustBundle.from_jwks(LOCAL, document(jwk()))

    for members in (
        {"spiffe_sequence": 12035488, "spiffe_refresh_hint": 600},
        {"spiffe_sequence": "x", "spiffe_refresh_hint": -1, "new": {"deep": [None]}},
        {"kid": "x"},
        {"trust_domain": "partner.example"},  # R-BUNDLE-12: the caller names the domain
    ):
        assert TrustBundle.from_jwks(LOCAL, document(jwk(), **members)) == plain


def test_an_authority_left_out_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """An x509-svid entry without a usable certificate warns; other kinds of entries do not (R-BUNDLE-07)."""
    with caplog.at_level(logging.WARNING, "serviceradar_security"):
        TrustBundle.from_jwks(
            LOCAL, document(jwk(), jwk(use="jwt-svid"), jwk(kty="ET"), jwk(x5c=[]))
        )
        assert caplog.messages == []
        TrustBundle.from_jwks(LOCAL, document(jwk(x5c=x5c(LEAF))))

    (message,) = caplog.messages
    assert "example.org" in message
    assert "CA certificate" in message


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=8,
)


@patient
@given(
    st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "kty": st.sampled_from(["EC", "RSA"]) | json_values,
                "use": st.just("x509-svid") | json_values,
                "x5c": st.lists(st.just(x5c(FIRST)[0]) | json_values, max_size=3) | json_values,
            },
        )
        | json_values,
        max_size=4,
    ),
)
def test_arbitrary_entries(keys: list[object]) -> None:
    """Whatever JSON the entries are, the document reads, and holds at most the good certificate."""
    bundle = TrustBundle.from_jwks(LOCAL, document(*keys))

    assert set(bundle.der) <= {FIRST_DER}


# ---- sequence and refresh hint -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, 0),
        (1, 1),
        (12_035_488, 12_035_488),
        (2**64 - 1, 2**64 - 1),
        (10**30, 10**30),
        (-1, None),
        (None, None),
        ("1", None),
        (1.0, None),
        (True, None),
        ([1], None),
    ],
)
def test_the_sequence(value: object, expected: int | None) -> None:
    """An integer of any size is kept; what is none counts as absent (R-BUNDLE-09)."""
    bundle = TrustBundle.from_jwks(LOCAL, document(jwk(), spiffe_sequence=value))

    assert bundle.sequence == expected
    assert bundle.authorities == (FIRST,)


@pytest.mark.parametrize(
    ("value", "hint", "interval"),
    [
        (600, 600.0, 600.0),
        (60, 60.0, 60.0),
        (59, 59.0, 60.0),
        (1, 1.0, 60.0),
        (0, None, 300.0),
        (-5, None, 300.0),
        (None, None, 300.0),
        ("600", None, 300.0),
        (600.5, None, 300.0),
        (True, None, 300.0),
        (10**400, 2.0**53, 2.0**53),
    ],
)
def test_the_refresh_hint(value: object, hint: float | None, interval: float) -> None:
    """Seconds, five minutes if absent, and a minute at least (R-BUNDLE-10)."""
    bundle = TrustBundle.from_jwks(LOCAL, document(jwk(), spiffe_refresh_hint=value))

    assert bundle.refresh_hint == hint
    assert bundle.refresh_interval == interval


@pytest.mark.parametrize(
    ("new", "old", "expected"),
    [
        (2, 1, True),
        (1, 1, True),
        (1, 2, False),
        (None, 2, True),
        (1, None, True),
        (None, None, True),
        (2**64, 2**64 - 1, True),
    ],
)
def test_a_newer_bundle_is_never_replaced_by_an_older(
    new: int | None,
    old: int | None,
    *,
    expected: bool,
) -> None:
    """Sequence numbers order versions; without one the latest fetch wins (R-BUNDLE-09)."""
    fetched = TrustBundle.from_jwks(LOCAL, document(jwk(), spiffe_sequence=new))
    kept = TrustBundle.from_jwks(LOCAL, document(jwk(), spiffe_sequence=old))

    assert fetched.supersedes(kept) is expected


def test_a_bundle_never_takes_the_place_of_another_domains() -> None:
    """Bundles of two domains do not replace each other, whatever their numbers (R-BUNDLE-13)."""
    ours = TrustBundle.from_jwks(LOCAL, document(jwk(), spiffe_sequence=1))
    theirs = TrustBundle.from_jwks(PARTNER, document(jwk(), spiffe_sequence=2))

    assert not theirs.supersedes(ours)


def test_an_entry_that_names_a_member_twice() -> None:
    """Parsers disagree on what such an entry says, so that it costs itself, with a warning."""
    entry = json.dumps(jwk())
    twice = entry[:-1] + ', "use": "x509-svid"}'
    data = f'{{"keys": [{twice}, {json.dumps(jwk(x5c=x5c(SECOND)))}]}}'.encode()

    assert TrustBundle.from_jwks(LOCAL, data).authorities == (SECOND,)


# ---- bundle maps -------------------------------------------------------------------------------


def bundle_map(**domains: object) -> bytes:
    """Make a bundle map; two underscores stand for a dot."""
    named = {name.replace("__", "."): value for name, value in domains.items()}
    return json.dumps({"trust_domains": named}).encode()


def test_a_map() -> None:
    """Each trust domain has the bundle of its own document, and its hints steer no other."""
    read = read_bundle_map(
        bundle_map(
            example__org={"keys": [jwk()], "spiffe_sequence": 7},
            partner__example={"keys": [jwk(x5c=x5c(SECOND)), jwk(kty="ET")]},
        ),
    )

    assert read == {
        LOCAL: TrustBundle.from_der(LOCAL, der(FIRST)[0]),
        PARTNER: TrustBundle.from_der(PARTNER, der(SECOND)[0]),
    }
    assert read[LOCAL].sequence == 7
    assert read_bundle_map(b'{"trust_domains": {}, "spiffe_refresh_hint": 5}') == {}


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"[]", id="an array"),
        pytest.param(b"{}", id="no trust_domains"),
        pytest.param(b'{"trust_domains": null}', id="null"),
        pytest.param(b'{"trust_domains": []}', id="an array of domains"),
        pytest.param(b'{"trust_domains": {}, "trust_domains": {}}', id="the member twice"),
        pytest.param(
            b'{"trust_domains": {"a.test": {"keys": []}, "a.test": {"keys": []}}}',
            id="a domain twice",
        ),
        pytest.param(
            b'{"trust_domains": {"a.test": {"keys": []}, "spiffe://a.test": {"keys": []}}}',
            id="a domain as name and as ID",
        ),
        pytest.param(bundle_map(A__test={"keys": []}), id="upper case"),
        pytest.param(bundle_map(**{"": {"keys": []}}), id="no name"),
        pytest.param(bundle_map(**{"spiffe://a.test//": {"keys": []}}), id="no ID"),
        pytest.param(b'{"trust_domains": {"spiffe://a.test": {"keys": []}}}', id="an ID"),
        pytest.param(bundle_map(a__test={}), id="a member without keys"),
        pytest.param(bundle_map(a__test=None), id="a member null"),
        pytest.param(bundle_map(a__test=[]), id="a member an array"),
        pytest.param(
            b'{"trust_domains": {"a.test": {"keys": [], "keys": []}}}',
            id="keys twice in a member",
        ),
    ],
)
def test_a_map_that_is_none(data: bytes) -> None:
    """A map with one thing wrong is refused whole (R-BUNDLE-14)."""
    with pytest.raises(TrustBundleError, match="bundle map"):
        read_bundle_map(data)


@pytest.mark.parametrize("data", [None, "{}", bytearray(b"{}"), b" " * (MAX_BUNDLE_BYTES + 1)])
def test_a_map_of_another_kind(data: Any) -> None:
    """A map is bytes, and no more of them than the limit."""
    with pytest.raises(TrustBundleError, match="at most"):
        read_bundle_map(data)
