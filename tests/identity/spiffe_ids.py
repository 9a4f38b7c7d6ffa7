"""What the tests of SPIFFE IDs share: characters, texts, and whether the parser takes them."""

from __future__ import annotations

import string

from hypothesis import settings
from hypothesis import strategies as st

from serviceradar_security.errors import SpiffeIdError
from serviceradar_security.identity.spiffe_id import SpiffeId, TrustDomain

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
