"""What runs behind a source of files, step by step; and what it shows and logs."""

from __future__ import annotations

import logging
import pickle
import re
from typing import TYPE_CHECKING, Final

import pytest

from serviceradar_security.workload.watch import State
from tests.workload.identity_files import (
    BUNDLE,
    CERT,
    KEY,
    LOG,
    Folder,
    current,
    engine_of,
    generation,
    source_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from serviceradar_security import X509Context


FIRST: Final = current  # what the fixture `folder` begins with


# ---- step by step --------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["untouched", "written again", "replaced by the same"])
def test_same_content_is_no_event(folder: Folder, how: str) -> None:
    """Files that hold the same call nobody and wake nobody (R-WLAPI-32)."""
    folder.write(generation(1))
    engine, _ = engine_of(folder)
    seen: list[X509Context] = []
    engine.publish.append(seen.append)
    engine.poll()
    version = engine.version
    for _ in range(3):
        if how == "written again":
            folder.write(generation(1))
        elif how != "untouched":
            folder.replace(generation(1))
        engine.poll()
    assert seen == [generation(1).context]
    assert engine.version == version
    assert engine.status().updates == 1


def test_half_written(folder: Folder) -> None:
    """A set that is met half written, and is whole a moment later, is worth no word."""
    folder.write(generation(1))
    engine, clock = engine_of(folder)
    engine.poll()
    before = engine.status()
    folder.put(CERT, generation(2).cert)
    engine.poll()
    assert engine.status() == before
    assert engine.context() == generation(1).context
    assert engine.watch.next_look == clock.monotonic + 0.2
    folder.write(generation(2))
    engine.poll()
    assert engine.context() == generation(2).context
    assert engine.status().rejected == 0


def test_identity_that_begins_later(folder: Folder) -> None:
    """An identity that has not begun leaves the last one in force, and is taken when it begins."""
    folder.write(generation(1))
    engine, clock = engine_of(folder)
    engine.poll()
    clock.set_wall(-20)  # the others begin ten seconds before the start
    folder.write(generation(2))
    for _ in range(2):
        engine.poll()
        clock.advance(0.2)
    assert engine.context() == generation(1).context
    assert "begins only at" in engine.status().cause
    clock.set_wall(20)
    engine.poll()
    assert engine.context() == generation(2).context
    assert engine.status().state is State.READY


# ---- what it shows -------------------------------------------------------------------------------


def _logged(caplog: pytest.LogCaptureFixture) -> Sequence[str]:
    return [record.getMessage() for record in caplog.records if record.name == LOG]


def test_logged_once(folder: Folder, caplog: pytest.LogCaptureFixture) -> None:
    """Each transition and each warning is logged once, and not with each look; never a key."""
    caplog.set_level(logging.DEBUG, LOG)
    (folder.path / KEY).chmod(0o644)
    engine, clock = engine_of(folder)
    folder.write(generation(1))
    engine.poll()
    for name in (CERT, KEY, BUNDLE):
        folder.put(name, b"")
        for _ in range(4):
            engine.poll()
            clock.advance(0.2)
    folder.write(generation(1))
    for _ in range(3):
        engine.poll()
    folder.write(generation(2))
    engine.poll()
    clock.advance(4000)
    for _ in range(3):
        engine.poll()
    engine.close(timeout=1)
    texts = _logged(caplog)
    told = [re.sub(r".* is ([A-Z]+).*", r"\1", text) for text in texts]
    warning, *states = told
    assert "may be read by everybody" in warning
    assert states == ["READY", "DEGRADED", "READY", "EXPIRED", "CLOSED"]
    for key in (generation(1).key, generation(2).key):
        for line in key.decode().splitlines()[1:-1]:
            assert line not in caplog.text


def test_causes_are_logged_in_each_state_anew(
    folder: Folder,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A cause is logged once while a state lasts, and again when the state came back."""
    folder.write(generation(1))
    engine, clock = engine_of(folder)
    engine.poll()
    for _ in range(2):
        for name in (CERT, KEY, CERT, KEY):
            folder.write(generation(1))
            folder.put(name, b"")
            for _ in range(2):
                engine.poll()
                clock.advance(0.2)
        folder.write(generation(1))
        engine.poll()
    causes = [re.sub(r".*: the (\w+) file .*", r"\1", text) for text in _logged(caplog)]
    assert causes == ["certificate", "key"] * 2


def test_repr(folder: Folder) -> None:
    """It shows where the identity comes from and its state, and no key."""
    source = source_of(folder)
    path = str(folder.path / CERT)
    assert repr(source) == f"FileSource({path!r}, not open)"
    with source:
        source.wait_ready(timeout=10)
        assert repr(source) == f"FileSource({path!r}, READY)"
    assert repr(source) == f"FileSource({path!r}, CLOSED)"


def test_pickle(folder: Folder) -> None:
    """A source is not pickled: another process opens its own."""
    with pytest.raises(TypeError, match="FileSource is not pickled: open one in the process"):
        pickle.dumps(source_of(folder))
