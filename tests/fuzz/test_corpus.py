"""The seeds and what becomes of them when they are damaged, without the fuzzer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serviceradar_security.errors import PeerVerificationError
from serviceradar_security.identity.verify import verify_x509_svid
from tests.fuzz.layout import CORPUS, NOW, SEPARATOR
from tests.fuzz.material import BUNDLES
from tests.fuzz.targets import TARGETS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_SEEDS = {name: sorted((CORPUS / name).iterdir()) for name in TARGETS}
_SHORT = 4_096
every_target = pytest.mark.parametrize("name", TARGETS)
# The targets call the library with real signatures; nothing here depends on how fast that is.
thorough = settings(max_examples=100, deadline=None)


@pytest.mark.parametrize(
    ("name", "seed"),
    [
        pytest.param(name, seed, id=f"{name}-{seed.name}")
        for name, seeds in _SEEDS.items()
        for seed in seeds
    ],
)
def test_seed(name: str, seed: Path) -> None:
    """Every seed is accepted or refused as documented, with every invariant intact."""
    TARGETS[name].run(seed.read_bytes())


def test_every_target_has_seeds() -> None:
    """The folders are those of the targets, and none is empty."""
    assert {each.name for each in CORPUS.iterdir()} == set(TARGETS)
    assert all(_SEEDS.values())


@pytest.mark.parametrize(
    "seed",
    [each for each in _SEEDS["der_chain"] if not each.name.startswith("odd-")],
    ids=lambda seed: seed.name,
)
def test_verdict_on_chain(seed: Path) -> None:
    """The chains that were made good are accepted, and all that were made bad are refused."""
    data = seed.read_bytes()
    chain = data.split(SEPARATOR) if data else []
    if seed.name.startswith("good-"):
        assert verify_x509_svid(chain, BUNDLES, at=NOW, purpose=None).path
    else:
        with pytest.raises(PeerVerificationError):
            verify_x509_svid(chain, BUNDLES, at=NOW, purpose=None)


@every_target
@thorough
@given(data=st.binary(max_size=300))
def test_arbitrary_bytes(name: str, data: bytes) -> None:
    """Arbitrary bytes leave no target as an exception."""
    TARGETS[name].run(data)


@every_target
@thorough
@given(draw=st.data())
def test_damaged_seed(name: str, draw: st.DataObject) -> None:
    """A seed with bytes changed, taken out or put in leaves no target as an exception."""
    seed = draw.draw(st.sampled_from([each for each in _SEEDS[name] if _is_short(each)]))
    TARGETS[name].run(_damaged(seed.read_bytes(), draw.draw(_DAMAGE)))


_DAMAGE = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 4), st.binary(max_size=4)),
    min_size=1,
    max_size=4,
)


def _is_short(seed: Path) -> bool:
    return seed.stat().st_size <= _SHORT


def _damaged(data: bytes, damage: Sequence[tuple[float, int, bytes]]) -> bytes:
    for where, length, new in damage:
        start = int(where * len(data))
        data = data[:start] + new + data[start + length :]
    return data
