"""The strict reading of a token, and the value that it gives."""

from __future__ import annotations

import base64
import copy
import json
import pickle
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serviceradar_security import SpiffeId
from serviceradar_security.spiffe.jwt_svid import (
    MAX_AUDIENCES,
    MAX_DEPTH,
    MAX_TOKEN_BYTES,
    JwtSvid,
    TokenError,
    check_expiry,
    read_token,
)
from tests.spiffe.agent import AUDIENCE, ID, OTHER_ID, SIGNATURE, encoded, token_of

NOW = datetime(2031, 5, 6, 12, 30, tzinfo=UTC)
AT = int(NOW.timestamp())
GOOD: dict[str, Any] = {"sub": ID, "aud": [AUDIENCE, "b"], "exp": AT + 60, "iat": AT - 1}
HEAD = {"alg": "ES256", "kid": "k", "typ": "JWT"}


def claims(**changes: Any) -> dict[str, Any]:
    """Give good claims with changes; None takes one away."""
    return {name: each for name, each in {**GOOD, **changes}.items() if each is not None}


def header(**changes: Any) -> dict[str, Any]:
    """Give a good header with changes; None takes a parameter away."""
    return {name: each for name, each in {**HEAD, **changes}.items() if each is not None}


def read(token: str, *audiences: str, at: datetime = NOW) -> JwtSvid:
    return read_token(token, audiences=audiences, at=at)


def deep(depth: int) -> Any:
    return [] if depth == 0 else [deep(depth - 1)]


def test_a_good_token() -> None:
    """All that a token says comes out typed, and the token itself unchanged."""
    token = token_of(claims(more={"list": [1, {"x": None}]}))
    svid = read_token(token, audiences=("b",), at=NOW, hint="internal")

    assert svid.spiffe_id == SpiffeId.parse(ID)
    assert svid.audience == (AUDIENCE, "b")
    assert svid.expiry == NOW + timedelta(seconds=60)
    assert svid.issued_at == NOW - timedelta(seconds=1)
    assert svid.hint == "internal"
    assert svid.token == token
    assert svid.claims["more"] == {"list": (1, {"x": None})}


@pytest.mark.parametrize(
    "algorithm",
    ["RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512"],
)
@pytest.mark.parametrize("kind", ["JWT", "JOSE", None])
def test_good_headers(algorithm: str, kind: str | None) -> None:
    """Every algorithm and type of the standard is taken (JWT-SVID sections 2.1 and 2.3)."""
    assert read(token_of(claims(), header(alg=algorithm, typ=kind, kid=None))).audience


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"aud": AUDIENCE}, id="one audience as text"),
        pytest.param({"iat": None}, id="no iat"),
        pytest.param({"exp": AT + 0.5}, id="fraction of a second"),
        pytest.param({"nbf": AT + 60}, id="nbf within the leeway"),
        pytest.param({"aud": [AUDIENCE] * MAX_AUDIENCES}, id="as many audiences as may be"),
        pytest.param({"x": deep(MAX_DEPTH - 1)}, id="as deep as may be"),
        pytest.param({"SUBJECT": 1, "audience": 1}, id="other names"),
    ],
)
def test_good_claims(changes: dict[str, Any]) -> None:
    """What the standard leaves open is taken."""
    svid = read(token_of(claims(**changes)), AUDIENCE)
    assert svid.audience[0] == AUDIENCE
    assert (svid.issued_at is None) is ("iat" in changes)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"alg": None}, "algorithm None"),
        ({"alg": "none"}, "algorithm 'none'"),
        ({"alg": "HS256"}, "algorithm 'HS256'"),
        ({"alg": "EdDSA"}, "algorithm 'EdDSA'"),
        ({"alg": "es256"}, "algorithm 'es256'"),
        ({"alg": "ES256\n"}, r"algorithm 'ES256\\n'"),
        ({"alg": ["ES256"]}, "algorithm"),
        ({"typ": "jwt"}, "type 'jwt'"),
        ({"typ": ""}, "type ''"),
        ({"typ": ["JWT"]}, "type"),
        ({"kid": 1}, "key ID"),
        ({"crit": ["b64"]}, "only alg, kid and typ"),
        ({"ALG": "none"}, "write 'alg'"),
    ],
)
def test_bad_headers(changes: dict[str, Any], text: str) -> None:
    """A header that the standard does not allow is refused, with the rule."""
    with pytest.raises(TokenError, match=text) as caught:
        read(token_of(claims(), header(**changes)))
    assert caught.value.reason == "malformed"


@pytest.mark.parametrize(
    ("changes", "reason", "text"),
    [
        ({"sub": None}, "no_spiffe_id", "no subject"),
        ({"sub": 7}, "no_spiffe_id", "no subject"),
        ({"sub": "web"}, "no_spiffe_id", "no SPIFFE ID"),
        ({"sub": f"{ID}\n"}, "no_spiffe_id", "no SPIFFE ID"),
        ({"sub": "spiffe://A.test/web"}, "no_spiffe_id", "lower case"),
        ({"sub": "spiffe://a.test"}, "not_a_workload_id", "not a workload"),
        ({"sub": f"{ID}/{'x' * 2048}"}, "limit", "at most 2048"),
        ({"aud": None}, "malformed", "no audience"),
        ({"aud": []}, "malformed", "no audience"),
        ({"aud": ""}, "malformed", "no audience"),
        ({"aud": [AUDIENCE, ""]}, "malformed", "no audience"),
        ({"aud": [AUDIENCE, 1]}, "malformed", "no audience"),
        ({"aud": {AUDIENCE: 1}}, "malformed", "no audience"),
        ({"aud": [AUDIENCE] * (MAX_AUDIENCES + 1)}, "limit", "at most 64"),
        ({"aud": ["x"]}, "audience", f"is for 'x' and not for '{AUDIENCE}'"),
        ({"aud": [AUDIENCE + "/"]}, "audience", "not for"),
        ({"aud": [AUDIENCE.upper()]}, "audience", "not for"),
        ({"exp": None}, "malformed", "no end"),
        ({"exp": str(AT + 60)}, "malformed", "no number"),
        ({"exp": True}, "malformed", "no number"),
        ({"exp": 10**400}, "malformed", "no number"),
        ({"exp": 10**20}, "malformed", "outside the years"),
        ({"exp": -(10**20)}, "malformed", "outside the years"),
        ({"exp": AT}, "expired", "expired 0 s ago"),
        ({"exp": AT - 90}, "expired", "expired 90 s ago, at 2031-05-06T12:28:30Z"),
        ({"nbf": AT + 61}, "not_yet_valid", "begins in 61 s"),
        ({"nbf": "soon"}, "malformed", "no number"),
        ({"iat": "now"}, "malformed", "no number"),
        ({"Sub": OTHER_ID}, "malformed", "write 'sub'"),
        ({"\u017fub": OTHER_ID}, "malformed", "write 'sub'"),
        ({"EXP": AT + 600}, "malformed", "write 'exp'"),
        ({"x": deep(MAX_DEPTH)}, "limit", "nested"),
    ],
)
def test_bad_claims(changes: dict[str, Any], reason: str, text: str) -> None:
    """Claims that prove nothing are refused, with the rule and its kind."""
    with pytest.raises(TokenError, match=text) as caught:
        read(token_of(claims(**changes)), AUDIENCE)
    assert caught.value.reason == reason


def test_the_claimed_id_is_told() -> None:
    """Once the subject could be read, a refusal names it."""
    with pytest.raises(TokenError) as caught:
        read(token_of(claims(exp=AT)))
    assert caught.value.spiffe_id == SpiffeId.parse(ID)


PARTS = token_of(GOOD).split(".")


@pytest.mark.parametrize(
    ("token", "text"),
    [
        pytest.param("", "JWS compact form", id="empty"),
        pytest.param(".".join(PARTS[:2]), "JWS compact form", id="two parts"),
        pytest.param(".".join([*PARTS[:2], ""]), "JWS compact form", id="no signature"),
        pytest.param(".".join([*PARTS, "x"]), "JWS compact form", id="four parts"),
        pytest.param(".".join(PARTS) + "\n", "JWS compact form", id="newline"),
        pytest.param(" " + ".".join(PARTS), "JWS compact form", id="space"),
        pytest.param(".".join(PARTS) + "=", "JWS compact form", id="padding"),
        pytest.param(".".join([*PARTS[:2], "ab+/"]), "JWS compact form", id="other alphabet"),
        pytest.param(".".join([*PARTS[:2], "é"]), "JWS compact form", id="not ASCII"),
        pytest.param(".".join([*PARTS[:2], "abcde"]), "signature that is not", id="length"),
        pytest.param(".".join([*PARTS[:2], "ab"]), "one right form", id="spare bits"),
        pytest.param(f"{encoded(b'[]')}.{PARTS[1]}.{SIGNATURE}", "header .* object", id="list"),
        pytest.param(f"{encoded(b'{')}.{PARTS[1]}.{SIGNATURE}", "header .* JSON", id="cut"),
        pytest.param(token_of("x"), "claims set .* object", id="text"),
        pytest.param(token_of(b"\xff{}"), "claims set .* JSON", id="no UTF-8"),
        pytest.param(token_of(b"\xef\xbb\xbf{}"), "claims set .* JSON", id="byte order mark"),
        pytest.param(token_of(b"{} {}"), "claims set .* JSON", id="two values"),
        pytest.param(token_of(b'{"exp": NaN}'), "NaN", id="NaN"),
        pytest.param(token_of(b'{"exp": -Infinity}'), "-Infinity", id="infinity"),
        pytest.param(token_of(b'{"exp": ' + b"9" * 5000 + b"}"), "JSON", id="digits"),
        pytest.param(token_of(b'{"sub": "a", "sub": "b"}'), "twice", id="sub twice"),
        pytest.param(token_of(b'{"x": {"y": 1, "y": 1}}'), "twice", id="inner name twice"),
        pytest.param(
            token_of(GOOD, b'{"alg": "ES256", "alg": "none"}'),
            "twice",
            id="alg twice",
        ),
    ],
)
def test_malformed(token: str, text: str) -> None:
    """What is no JWS of two JSON objects is refused."""
    with pytest.raises(TokenError, match=text) as caught:
        read(token)
    assert caught.value.reason == "malformed"


@pytest.mark.parametrize("exp", [b"1e400", b"-1e400"])
def test_numbers_that_overflow(exp: bytes) -> None:
    """A number beyond a float is no time."""
    inner = json.dumps(claims(exp=0)).encode().replace(b'"exp": 0', b'"exp": ' + exp)
    with pytest.raises(TokenError, match="no number"):
        read(token_of(inner))


def test_not_text() -> None:
    """Bytes are not taken for text."""
    with pytest.raises(TokenError, match="not as bytes"):
        read(token_of(GOOD).encode())  # type: ignore[arg-type] # what is tested


def test_size_is_checked_first() -> None:
    """A token above the limit is refused whatever is in it; one at the limit is read."""
    padding = MAX_TOKEN_BYTES - len(token_of(claims(x="")))
    filled = next(
        token
        for size in range(padding * 3 // 4, 0, -1)
        if len(token := token_of(claims(x="y" * size))) <= MAX_TOKEN_BYTES
    )
    assert len(filled) > MAX_TOKEN_BYTES - 4
    assert read(filled).spiffe_id == SpiffeId.parse(ID)
    with pytest.raises(TokenError, match="at most 16384") as caught:
        read("!" * (MAX_TOKEN_BYTES + 1))
    assert caught.value.reason == "limit"


@pytest.mark.parametrize("mark", [b"[", b'{"x":'], ids=["lists", "objects"])
def test_nesting_that_no_parser_takes(mark: bytes) -> None:
    """Nesting up to the size limit is a refusal, and no crash."""
    count = MAX_TOKEN_BYTES * 3 // 4 // len(mark) - 200
    with pytest.raises(TokenError, match=r"JSON|nested"):
        read(token_of(b'{"x": ' + mark * count))


def test_check_expiry() -> None:
    """A value that was read in time is refused after its end."""
    svid = read(token_of(GOOD))
    check_expiry(svid, svid.expiry - timedelta(microseconds=1))
    with pytest.raises(TokenError, match="expired") as caught:
        check_expiry(svid, svid.expiry)
    assert caught.value.spiffe_id == svid.spiffe_id


# ---- properties --------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(
    st.dictionaries(
        st.sampled_from(["sub", "aud", "exp", "nbf", "iat", "Sub", "x"]) | st.text(max_size=3),
        JSON | st.sampled_from([ID, AUDIENCE, [AUDIENCE], AT + 9]),
        max_size=7,
    ),
)
def test_any_claims(made: dict[str, Any]) -> None:
    """Any claims are read or refused with our error, and what is read keeps the rules."""
    try:
        svid = read(token_of(made), AUDIENCE)
    except TokenError:
        return
    assert svid.spiffe_id == SpiffeId.parse(made["sub"])
    assert svid.expiry > NOW
    assert AUDIENCE in svid.audience


@given(st.text(alphabet="ab-_.=+/ e\n", max_size=40) | st.binary(max_size=40).map(token_of))
def test_any_text(text: str) -> None:
    """No text is read by chance, and none raises anything but our error."""
    with pytest.raises(TokenError):
        read(text)


@given(st.integers(0, 2**32), st.data())
def test_a_changed_character_changes_the_value(seed: int, data: st.DataObject) -> None:
    """A token has one spelling: two tokens that differ never carry the same bytes."""
    token = token_of(claims(x=seed))
    place = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.sampled_from("AZaz09-_."))
    changed = token[:place] + other + token[place + 1 :]
    try:
        svid = read(changed)
    except TokenError:
        return
    assert (changed == token) == (svid == read(token))
    ours, theirs = (
        [base64.urlsafe_b64decode(part + "==") for part in each.split(".")]
        for each in (token, changed)
    )
    assert (ours == theirs) == (token == changed)


# ---- the value ---------------------------------------------------------------------------------


def test_repr_hides_the_token() -> None:
    """The value shows whose it is and for whom, and nothing of the token."""
    svid = read_token(token_of(GOOD), audiences=(), at=NOW, hint="internal")
    shown = f"{svid!r} {svid}"
    assert ID in shown
    assert AUDIENCE in shown
    assert "2031-05-06T12:31:00Z" in shown
    assert "hint='internal'" in shown
    assert not any(part in shown for part in svid.token.split("."))
    assert "hint" not in repr(read(token_of(GOOD)))


def test_it_does_not_change() -> None:
    """Neither the value nor its claims can be edited, at any depth."""
    svid = read(token_of(claims(x={"y": [1]})))
    with pytest.raises(AttributeError):
        svid.hint = "x"  # type: ignore[misc] # what is tested
    with pytest.raises(TypeError):
        svid.claims["sub"] = "x"  # type: ignore[index] # what is tested
    with pytest.raises(TypeError):
        svid.claims["x"]["y"] = 1  # type: ignore[index] # what is tested
    assert svid.claims["x"]["y"] == (1,)  # type: ignore[index] # JSON


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_it_is_not_pickled(protocol: int) -> None:
    """A pickle would write the token down."""
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(read(token_of(GOOD)), protocol)


def test_equality_and_copies() -> None:
    """Values are equal if their tokens are, can be keys, and a copy is the value itself."""
    one, same = read(token_of(GOOD)), read(token_of(GOOD))
    other = read(token_of(claims(x=1)))
    assert one == same
    assert one != other
    assert len({one, same, other}) == 2
    assert copy.copy(one) is one
    assert copy.deepcopy(one) is one
