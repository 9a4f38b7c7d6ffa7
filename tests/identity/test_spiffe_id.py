"""SPIFFE IDs and trust domain names: sections 1 and 2 of the requirements, character by character."""

from __future__ import annotations

import copy
import enum
import pickle
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serviceradar_security.errors import SpiffeIdError
from serviceradar_security.identity.spiffe_id import (
    MAX_SPIFFE_ID_BYTES,
    MAX_TRUST_DOMAIN_BYTES,
    SpiffeId,
    TrustDomain,
)

TRUST_DOMAIN_CHARACTERS = string.ascii_lowercase + string.digits + ".-_"
PATH_CHARACTERS = string.ascii_letters + string.digits + ".-_"
# All of ASCII, and the characters that fold to ASCII or count as digits and letters elsewhere.
CHARACTERS = [chr(point) for point in range(256)] + [
    "\u017f",
    "\u212a",
    "\u0131",
    "\u0660",
    "\uff41",
    "\u2024",
    "\u200b",
    "\u2028",
    "\ufeff",
    "\ud800",
    "\U0001f600",
]

patient = settings(deadline=None, max_examples=200)
trust_domains = st.text(TRUST_DOMAIN_CHARACTERS, min_size=1, max_size=60)
segments = st.text(PATH_CHARACTERS, min_size=1, max_size=30).filter(lambda s: s not in (".", ".."))


def accepts(text: object) -> bool:
    """Tell whether the parser takes a text; anything but our error is a failure of the test."""
    try:
        SpiffeId.parse(text)  # type: ignore[arg-type]  # other types are part of the question
    except SpiffeIdError:
        return False
    return True


def accepts_trust_domain(text: object) -> bool:
    """Tell whether `TrustDomain.parse` takes a text."""
    try:
        TrustDomain.parse(text)  # type: ignore[arg-type]  # other types are part of the question
    except SpiffeIdError:
        return False
    return True


def accepts_segment(text: object) -> bool:
    """Tell whether `SpiffeId.of` takes a segment."""
    try:
        SpiffeId.of(TrustDomain.parse("td"), text)  # type: ignore[arg-type]  # likewise
    except SpiffeIdError:
        return False
    return True


@pytest.mark.parametrize(
    "template",
    [
        "spiffe://{}",
        "spiffe://{}td",
        "spiffe://t{}d",
        "spiffe://td{}",
        "spiffe://{}/p",
        "spiffe://{}td/p",
        "spiffe://t{}d/p",
        "spiffe://td{}/p",
    ],
)
def test_every_character_of_a_trust_domain(template: str) -> None:
    """A trust domain holds a-z 0-9 . - _ in every place, and nothing else (R-ID-04 to -06)."""
    accepted = {each for each in CHARACTERS if accepts(template.format(each))}

    # A slash ends the trust domain: only where a path follows is the whole still an ID.
    slash = {"/"} if "t{}d" in template else set()
    assert accepted == set(TRUST_DOMAIN_CHARACTERS) | slash


@pytest.mark.parametrize("template", ["{}", "{}td", "t{}d", "td{}"])
def test_every_character_of_a_bare_trust_domain(template: str) -> None:
    """A bare name obeys the grammar of the authority (R-TD-01)."""
    accepted = {each for each in CHARACTERS if accepts_trust_domain(template.format(each))}

    assert accepted == set(TRUST_DOMAIN_CHARACTERS)


@pytest.mark.parametrize(
    "template",
    [
        "spiffe://td/{}",
        "spiffe://td/{}b",
        "spiffe://td/a{}b",
        "spiffe://td/a{}",
        "spiffe://td/{}/c",
        "spiffe://td/a{}/c",
        "spiffe://td/c/{}",
        "spiffe://td/c/a{}b",
    ],
)
def test_every_character_of_a_path(template: str) -> None:
    """A segment holds a-z A-Z 0-9 . - _ in every place, and nothing else (R-ID-06, R-ID-07)."""
    accepted = {each for each in CHARACTERS if accepts(template.format(each))}

    expected = set(PATH_CHARACTERS)
    if "a{}b" in template:
        expected.add("/")
    if "/{}/" in template or template.endswith("/{}"):
        expected.discard(".")  # alone it is the segment that is never resolved
    assert accepted == expected


@pytest.mark.parametrize("template", ["{}", "{}b", "a{}b", "a{}"])
def test_every_character_of_a_segment(template: str) -> None:
    """A segment given to `of` is checked on its own, slash included (R-ID-17)."""
    accepted = {each for each in CHARACTERS if accepts_segment(template.format(each))}

    expected = set(PATH_CHARACTERS) - ({"."} if template == "{}" else set())
    assert accepted == expected


@pytest.mark.parametrize(
    "prefix",
    [chr(point) for point in range(128)] + ["\ufeff", "\u200b", "spiffe:"],
)
def test_nothing_stands_before_the_scheme(prefix: str) -> None:
    """Nothing is trimmed from the front (R-ID-15)."""
    assert not accepts(f"{prefix}spiffe://td/p")
    assert not accepts_trust_domain(f"{prefix}spiffe://td/p")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "td",
        "td/p",
        "//td/p",  # R-ID-01
        "spiffe",
        "spiffe:",
        "spiffe:/",
        "spiffe:td/p",
        "spiffe:/td/p",
        "spiffe:///td/p",
        "spiffe:////td",
        "http://td/p",
        "spiff://td/p",
        "spiffes://td/p",
        "SPIFFE://td/p",  # R-ID-12
        "Spiffe://td/p",
        "spiffe://TD/p",
        "spiffe://tD",
        "spiffe://td/p?",  # R-ID-02
        "spiffe://td/p#",
        "spiffe://td?",
        "spiffe://td#",
        "spiffe://td/p?q",
        "spiffe://td/p#f",
        "spiffe://td?q/p",
        "spiffe://",  # R-ID-03
        "spiffe:///",
        "spiffe:///p",
        "spiffe://user@td/p",  # R-ID-04
        "spiffe://user:pw@td/p",
        "spiffe://@td/p",
        "spiffe://td:80/p",
        "spiffe://td:/p",
        "spiffe://[::1]/p",  # R-ID-05
        "spiffe://t%64/p",  # R-ID-06
        "spiffe://td/%70",
        "spiffe://td/a%2Fb",
        "spiffe://td/",  # R-ID-08
        "spiffe://td//",
        "spiffe://td//p",
        "spiffe://td/p/",
        "spiffe://td/p//q",
        "spiffe://td/.",  # R-ID-09
        "spiffe://td/..",
        "spiffe://td/./p",
        "spiffe://td/../p",
        "spiffe://td/p/.",
        "spiffe://td/p/..",
        "spiffe://td/p/../q",
        "spiffe://td/.../..",
        "spiffe://td/p\n",  # R-ID-14
        "spiffe://td\n",
        "spiffe://td/p\nspiffe://td/q",
        "spiffe://td\\p",
        "spiffe:\\\\td\\p",
    ],
)
def test_what_is_no_spiffe_id(text: str) -> None:
    """Each of these is refused, in one line that names the standard (R-ID-01 to R-ID-09)."""
    with pytest.raises(SpiffeIdError, match=r"SPIFFE-ID section 2") as caught:
        SpiffeId.parse(text)

    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("value", [None, b"spiffe://td/p", 7, ["spiffe://td/p"], object()])
def test_other_types_are_no_spiffe_id(value: object) -> None:
    """What is not text gets our error, and not one of the interpreter."""
    assert not accepts(value)
    assert not accepts_trust_domain(value)
    assert not accepts_segment(value)
    with pytest.raises(SpiffeIdError, match="TrustDomain"):
        SpiffeId.of(value, "p")  # type: ignore[arg-type]  # the refusal is the test


@pytest.mark.parametrize(
    ("text", "trust_domain", "path", "segments"),
    [
        ("spiffe://td", "td", "", ()),
        ("spiffe://td/p", "td", "/p", ("p",)),
        ("spiffe://td/a/b/c", "td", "/a/b/c", ("a", "b", "c")),
        ("spiffe://td/...", "td", "/...", ("...",)),
        ("spiffe://td/.a/..b/c../d.", "td", "/.a/..b/c../d.", (".a", "..b", "c..", "d.")),
        ("spiffe://td/A/a", "td", "/A/a", ("A", "a")),
        ("spiffe://1.2.3.4/x", "1.2.3.4", "/x", ("x",)),
        ("spiffe://spiffe/spiffe", "spiffe", "/spiffe", ("spiffe",)),
        ("spiffe://-._/-._", "-._", "/-._", ("-._",)),
    ],
)
def test_what_is_a_spiffe_id(
    text: str,
    trust_domain: str,
    path: str,
    segments: tuple[str, ...],
) -> None:
    """A SPIFFE ID gives back its text and its parts exactly as they stand."""
    parsed = SpiffeId.parse(text)

    assert str(parsed) == text
    assert repr(parsed) == f"SpiffeId({text!r})"
    assert parsed.trust_domain.name == trust_domain
    assert parsed.path == path
    assert parsed.segments == segments
    assert SpiffeId.of(TrustDomain.parse(trust_domain), *segments) == parsed


@pytest.mark.parametrize(
    "name",
    ["a..b", ".a", "a.", "-a", "a-", "a_b", "_", ".", "..", "999.1.1.1", "xn--a", "0", "a.b.c"],
)
def test_a_trust_domain_is_no_dns_name(name: str) -> None:
    """Names that DNS would refuse or change are legal, and stay what they are (R-TD-02)."""
    assert TrustDomain.parse(name).name == name
    assert TrustDomain.parse(f"spiffe://{name}/p").name == name
    assert TrustDomain.parse(name) != TrustDomain.parse(f"{name}.")


@pytest.mark.parametrize(
    "text",
    ["spiffe://td//x", "spiffe://td/", "spiffe://td/..", "spiffe://td/%41", "spiffe:///x", "td/x"],
)
def test_the_id_given_for_a_trust_domain_is_checked_whole(text: str) -> None:
    """A good trust domain before a bad path is refused (R-TD-03)."""
    assert not accepts_trust_domain(text)


def test_the_own_id_of_a_trust_domain() -> None:
    """A trust domain's own ID has no path (R-TD-04)."""
    trust_domain = TrustDomain.parse("td")

    assert repr(trust_domain) == "TrustDomain('td')"
    assert str(trust_domain) == "td"
    assert str(trust_domain.id) == "spiffe://td"
    assert trust_domain.id == SpiffeId.parse("spiffe://td") == SpiffeId.of(trust_domain)
    assert trust_domain.id.segments == ()


@pytest.mark.parametrize(
    ("size", "accepted"),
    [(1, True), (MAX_TRUST_DOMAIN_BYTES, True), (MAX_TRUST_DOMAIN_BYTES + 1, False), (9999, False)],
)
def test_the_longest_trust_domain(size: int, accepted: bool) -> None:
    """A trust domain has 255 bytes at most, with and without a path (R-ID-11)."""
    assert accepts("spiffe://" + "a" * size) is accepted
    assert accepts("spiffe://" + "a" * size + "/p") is accepted
    assert accepts_trust_domain("a" * size) is accepted


def test_the_longest_spiffe_id() -> None:
    """An ID of 2048 bytes is built, one of 2049 is not, though its text parses (R-ID-10)."""
    trust_domain = TrustDomain.parse("td")
    room = MAX_SPIFFE_ID_BYTES - len("spiffe://td/")

    assert len(str(SpiffeId.of(trust_domain, "a" * room))) == MAX_SPIFFE_ID_BYTES
    with pytest.raises(SpiffeIdError, match="2049 bytes"):
        SpiffeId.of(trust_domain, "a" * (room + 1))
    assert len(str(SpiffeId.parse("spiffe://td/" + "a" * (room + 1)))) == MAX_SPIFFE_ID_BYTES + 1


def test_a_huge_text_is_quoted_short() -> None:
    """The message about a megabyte of text has a few hundred characters."""
    with pytest.raises(SpiffeIdError) as caught:
        SpiffeId.parse("spiffe://td/" + "\x00" * 1_000_000)

    assert len(str(caught.value)) < 600


@patient
@given(trust_domains, st.lists(segments, max_size=6))
def test_round_trips(name: str, parts: list[str]) -> None:
    """Text to ID to text, segments to ID to segments, copies and pickles lose nothing."""
    text = f"spiffe://{name}" + "".join(f"/{part}" for part in parts)
    parsed = SpiffeId.parse(text)

    assert str(parsed) == text
    assert parsed.segments == tuple(parts)
    assert SpiffeId.of(parsed.trust_domain, *parts) == parsed
    assert TrustDomain.parse(text) == parsed.trust_domain == TrustDomain.parse(name)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(parsed, protocol)) == parsed  # noqa: S301 - our own
    for again in (copy.copy(parsed), copy.deepcopy(parsed), SpiffeId.parse(text)):
        assert again == parsed
        assert hash(again) == hash(parsed)
        assert not again < parsed


@patient
@given(st.text(max_size=40) | st.text(PATH_CHARACTERS + "/:?#@%\n", max_size=40))
def test_arbitrary_text_is_parsed_or_refused(text: str) -> None:
    """Whatever comes, the answer is an ID with this very text, or our error."""
    for given_text in (text, f"spiffe://{text}", f"spiffe://td{text}"):
        if accepts(given_text):
            assert str(SpiffeId.parse(given_text)) == given_text
            assert all(ord(each) < 128 for each in given_text)


@patient
@given(st.lists(st.tuples(trust_domains, st.lists(segments, max_size=3)), max_size=8))
def test_order_is_that_of_trust_domain_and_path(parts: list[tuple[str, list[str]]]) -> None:
    """IDs sort by trust domain, then by path, in every operator."""
    ids = [SpiffeId.of(TrustDomain.parse(name), *path) for name, path in parts]

    assert sorted(ids) == sorted(ids, key=lambda each: (each.trust_domain.name, each.path))
    for one in ids:
        for other in ids:
            assert (one < other) is not (one >= other)
            assert (one <= other) is (one < other or one == other)
            assert (one == other) is (str(one) == str(other))
            assert (hash(one) == hash(other)) or one != other


def test_equality_is_byte_for_byte() -> None:
    """Case in the path counts, and so does every character (R-ID-13, R-ID-16)."""
    base = SpiffeId.parse("spiffe://td/a")

    assert base != SpiffeId.parse("spiffe://td/A")
    assert base != SpiffeId.parse("spiffe://td/a/a")
    assert base != SpiffeId.parse("spiffe://td.a/a")
    assert len({base, SpiffeId.parse("spiffe://td/a"), SpiffeId.parse("spiffe://td/b")}) == 2


def test_an_id_is_never_equal_to_text() -> None:
    """Neither an ID nor a trust domain equals a string, or each other, in any direction (R-ID-16)."""
    spiffe_id = SpiffeId.parse("spiffe://td")
    trust_domain = TrustDomain.parse("td")
    strangers = ["spiffe://td", "td", b"td", None, ("td", ""), object()]

    for value in (spiffe_id, trust_domain):
        for other in strangers:
            assert value != other
            assert other != value
            assert other not in {value}  # noqa: FURB171 - the hash must tell them apart too
        with pytest.raises(TypeError):
            _ = value < "td"
        with pytest.raises(TypeError):
            _ = value >= "td"
    assert spiffe_id != trust_domain
    assert len({spiffe_id, trust_domain, "spiffe://td", "td"}) == 4


@pytest.mark.parametrize(
    "value",
    [SpiffeId.parse("spiffe://td/a"), TrustDomain.parse("td")],
    ids=["id", "trust domain"],
)
def test_values_do_not_change(value: SpiffeId | TrustDomain) -> None:
    """No attribute can be set, deleted or added."""
    before = (str(value), hash(value))

    for name in ("_name", "_path", "_trust_domain", "path", "name", "new", "__class__"):
        with pytest.raises(AttributeError):
            setattr(value, name, "x")
        with pytest.raises(AttributeError):
            delattr(value, name)
    with pytest.raises(AttributeError):
        _ = value.__dict__
    assert (str(value), hash(value)) == before


@pytest.mark.parametrize("kind", [SpiffeId, TrustDomain])
def test_there_is_no_way_round_the_parser(kind: type[SpiffeId | TrustDomain]) -> None:
    """The classes cannot be called, with whatever arguments."""
    for arguments in ((), ("spiffe://td/a",), (TrustDomain.parse("td"), "/..")):
        with pytest.raises(TypeError, match="parse"):
            kind(*arguments)
    with pytest.raises(TypeError, match="parse"):
        kind(text="td")


def test_member_of_is_equality_of_whole_names() -> None:
    """No parent, no child, no suffix, no wildcard, no text is the trust domain (R-ID-18)."""
    spiffe_id = SpiffeId.parse("spiffe://prod.example.org/a")

    assert spiffe_id.member_of(TrustDomain.parse("prod.example.org"))
    for other in ("example.org", "a.prod.example.org", "prod.example.or", "xprod.example.org"):
        assert not spiffe_id.member_of(TrustDomain.parse(other))
    assert not spiffe_id.member_of("prod.example.org")  # type: ignore[arg-type]  # text is nothing
    assert not spiffe_id.member_of(spiffe_id)  # type: ignore[arg-type]  # nor is an ID


class Misleading(str, enum.Enum):  # noqa: UP042 - this older kind is what misleads
    """Text that formats itself as something else than what it holds."""

    NAME = "td"
    SEGMENT = "core"


def test_text_of_a_subclass_is_taken_for_what_it_holds() -> None:
    """An enum of strings gives its value, not what it calls itself when it is formatted."""
    trust_domain = TrustDomain.parse(Misleading.NAME)
    spiffe_id = SpiffeId.of(trust_domain, Misleading.SEGMENT)

    assert type(trust_domain.name) is str
    assert str(spiffe_id) == "spiffe://td/core"
    assert type(spiffe_id.path) is str
    assert f"{Misleading.SEGMENT}" == "Misleading.SEGMENT"  # what would have got in
