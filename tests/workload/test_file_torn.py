"""Files that change while they are read: what comes of it was there at one moment."""

from __future__ import annotations

import itertools
import threading
from functools import partial
from typing import TYPE_CHECKING, Final

import pytest

from serviceradar_security import TrustDomain
from serviceradar_security.workload.file_reading import (
    FileProblem,
    FileSnapshot,
    FilesReader,
)
from tests.workload.clock import START
from tests.workload.identity_files import (
    CERT,
    DOMAIN,
    KEY,
    NAMES,
    OTHER_AUTHORITY,
    Folder,
    Interrupted,
    Triple,
    Volume,
    context_of,
    current,
    generation,
    look,
    problem_of,
    reading,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

OWN = TrustDomain.parse(DOMAIN)
OTHER = OTHER_AUTHORITY.trust_domain


FIRST: Final = generation  # what the fixture `folder` begins with


def _steps(folder: Folder, order: tuple[str, ...], to: Triple) -> list[Callable[[], object]]:
    """Write a set file by file, each as the system does it: first emptied, then filled."""
    new = dict(to.items())
    steps: list[Callable[[], object]] = []
    for name in order:
        steps.append(partial(folder.put, name, b""))
        steps.append(partial(folder.put, name, new[name]))
    return steps


def _idle() -> None:
    """Let an operation of the reader pass."""


@pytest.mark.parametrize("order", list(itertools.permutations(NAMES)), ids="-".join)
def test_torn_writes(folder: Folder, order: tuple[str, ...]) -> None:
    """Whenever and in whatever order files are written, what is read was there at one moment."""
    old, new = generation(1), generation(2)
    written = dict(new.items())
    moments = [dict(old.items())]
    for name in order:
        moments.append({**moments[-1], name: written[name]})
    existed = [Triple(*(each[name] for name in NAMES)).context for each in moments if _fits(each)]
    outcomes = []
    for start, gap in itertools.product(range(16), range(4)):
        folder.write(old)
        reader = Interrupted([_idle] * start)
        steps = _steps(folder, order, new)
        for step in steps:
            reader.steps += [step, *[_idle] * gap]
        outcome = reading(folder.files(), reader).look(at=START)
        outcomes.append(outcome)
        if isinstance(outcome, FileSnapshot):
            assert outcome.context in existed
        while reader.steps:
            reader.steps.pop(0)()
        assert context_of(look(folder.files())) == new.context
    assert any(isinstance(each, FileProblem) for each in outcomes)
    assert any(isinstance(each, FileSnapshot) for each in outcomes)


def _fits(files: dict[str, bytes]) -> bool:
    pairs = {(each.cert, each.key) for each in (generation(1), generation(2))}
    return (files[CERT], files[KEY]) in pairs


@pytest.mark.parametrize("by", ["in place", "by rename"])
def test_every_mixture(folder: Folder, by: str) -> None:
    """Of the eight mixtures of old and new, those whose key does not fit give no identity."""
    old, new = generation(1), generation(2)
    for cert, key, bundle in itertools.product((old, new), repeat=3):
        mixture = Triple(cert.cert, key.key, bundle.bundle)
        (folder.write if by == "in place" else folder.replace)(mixture)
        outcome = look(folder.files())
        if cert is key:
            assert context_of(outcome) == mixture.context
        else:
            assert "does not belong" in problem_of(outcome).text


@pytest.mark.parametrize("keep", [True, False])
def test_swap_at_any_moment(tmp_path: Path, *, keep: bool) -> None:
    """Whenever a volume is swapped, one reading gives the old set or the new one, and no mixture."""
    seen = set()
    for start in range(16):
        volume = Volume(tmp_path / str(start))
        volume.publish(generation(1), keep=True)
        reader = Interrupted([_idle] * start)
        reader.steps.append(partial(volume.publish, generation(2), keep=keep))
        context = context_of(reading(volume.files(), reader).look(at=START))
        assert context in (generation(1).context, generation(2).context)
        seen.add(context.default.spiffe_id)
    assert len(seen) == 2


def test_swaps_to_and_fro(tmp_path: Path) -> None:
    """However often a volume is swapped in the midst of a reading, no mixture comes of it."""
    volume = Volume(tmp_path)
    volume.publish(generation(1), keep=True)
    volume.publish(generation(2), keep=True)
    for pattern in itertools.product((1, 2), repeat=7):
        steps = [partial(volume.swap, number) for number in pattern]
        reader = Interrupted(steps)
        context = context_of(reading(volume.files(), reader).look(at=START))
        assert context in (generation(1).context, generation(2).context)


@pytest.mark.parametrize("at_once", [True, False])
def test_links_of_their_own(tmp_path: Path, *, at_once: bool) -> None:
    """Files whose links are swapped each for itself are looked at twice: no mixture comes of it."""
    old, new = generation(1), generation(2)
    for number, each in enumerate((old, new)):
        Folder(tmp_path / f"{number}").write(each)
    partly = Triple(new.cert, new.key, old.bundle).context  # the bundle is linked last
    seen = set()
    for start in range(20):
        links = Folder(tmp_path / f"links-{start}")
        for name in NAMES:
            (links.path / name).symlink_to(tmp_path / "0" / name)
        steps: list[Callable[[], object]] = [
            partial(_relink, links.path / name, tmp_path / "1" / name) for name in NAMES
        ]
        if at_once:
            steps = [partial(_each, steps)]
        outcome = reading(links.files(), Interrupted([*[_idle] * start, *steps])).look(at=START)
        if isinstance(outcome, FileSnapshot):
            assert outcome.context in (old.context, new.context, partly)
            seen.add(outcome.context)
    assert {old.context, new.context} <= seen


def _relink(link: Path, target: Path) -> None:
    temporary = link.with_name("tmp")
    temporary.symlink_to(target)
    temporary.replace(link)


def _each(steps: Sequence[Callable[[], object]]) -> None:
    for step in steps:
        step()


def test_swaps_under_a_reader(tmp_path: Path) -> None:
    """While another thread swaps a volume without pause, each reading gives one whole set."""
    volume = Volume(tmp_path)
    volume.publish(current(1), keep=True)
    volume.publish(current(2), keep=True)
    allowed = (current(1).context, current(2).context)
    stop = threading.Event()

    def swap() -> None:
        for number in itertools.cycle((1, 2)):
            if stop.is_set():
                return
            volume.swap(number)

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        reader = reading(volume.files())
        for _ in range(300):
            assert context_of(reader.look(at=START)) in allowed
    finally:
        stop.set()
        swapping.join(10)


def test_files_that_never_rest(folder: Folder) -> None:
    """Files that change under every try are given up for this time, with a reason."""
    numbers = itertools.cycle((1, 2))
    reader = Interrupted([lambda: folder.write(generation(next(numbers)))] * 10_000)
    problem = problem_of(FilesReader(folder.files(), reader, tries=4).look(at=START))
    assert problem.unreadable
    assert "the files changed each time while they were read, 4 times over" in problem.text
    assert reader.operations < 100
