"""SPIFFE IDs: section 1 of the requirements, character by character."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serviceradar_security.errors import SpiffeIdError
from serviceradar_security.identity.spiffe_id import (
    MAX_SPIFFE_ID_BYTES,
    SpiffeId,
    TrustDomain,
)
from tests.identity.spiffe_ids import (
    CHARACTERS,
    PATH_CHARACTERS,
    TRUST_DOMAIN_CHARACTERS,
    accepts,
    accepts_segment,
    accepts_trust_domain,
    patient,
)


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
@given(st.text(max_size=40) | st.text(PATH_CHARACTERS + "/:?#@%\n", max_size=40))
def test_arbitrary_text_is_parsed_or_refused(text: str) -> None:
    """Whatever comes, the answer is an ID with this very text, or our error."""
    for given_text in (text, f"spiffe://{text}", f"spiffe://td{text}"):
        if accepts(given_text):
            assert str(SpiffeId.parse(given_text)) == given_text
            assert all(ord(each) < 128 for each in given_text)
