"""Any script of writers, looks and time: what is given was on the disk at one moment, and is valid."""

from __future__ import annotations

import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from serviceradar_security import SourceError, X509Context
from serviceradar_security.workload.file_engine import FileEngine
from serviceradar_security.workload.watch import State
from tests.workload.clock import Clock
from tests.workload.identity_files import NAMES, Folder, Interrupted, Triple, Volume, generation

if TYPE_CHECKING:
    from collections.abc import Callable

GENERATIONS: Final = (generation(1), generation(2), generation(3, ttl=100.0))
CONTEXTS: Final = {
    (one.cert, one.key, other.bundle): Triple(one.cert, one.key, other.bundle).context
    for one in GENERATIONS
    for other in GENERATIONS
}
WRITES: Final = st.tuples(
    st.sampled_from(["part", "empty", "half", "rename", "set", "remove", "touch"]),
    st.sampled_from(NAMES),
    st.sampled_from(GENERATIONS),
)
Write = tuple[str, str, Triple]


class AnyWriter(RuleBasedStateMachine):
    """Write in every way, also in the midst of a look, and hold what is given against the disk."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="files-"))
        self.clock = Clock()
        self.reader = Interrupted()
        self.existed: list[X509Context] = []
        self.published: list[X509Context] = []

    @initialize(volume=st.booleans())
    def begin(self, *, volume: bool) -> None:
        self.folder = Volume(self.root / "x") if volume else Folder(self.root / "x")
        self.engine = FileEngine(
            self.folder.files(),
            reader=self.reader,
            poll_interval=5.0,
            clock=self.clock,
        )
        self.engine.publish.append(self.published.append)

    def teardown(self) -> None:
        shutil.rmtree(self.root)

    @rule(write=WRITES)
    def write(self, write: Write) -> None:
        self.perform(write)

    @rule(writes=st.lists(st.one_of(st.none(), WRITES), max_size=14))
    def look(self, writes: list[Write | None]) -> None:
        self.reader.steps = [partial(self.perform, each) for each in writes]
        self.engine.poll()
        while self.reader.steps:
            self.reader.steps.pop(0)()

    @rule(seconds=st.sampled_from([0.2, 5.0, 60.0, 2000.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(content=st.sampled_from(GENERATIONS))
    def whole_set(self, content: Triple) -> None:
        """A whole set that rests is taken at the next look, unless it has expired."""
        self.remember_after(partial(self.publish, content))
        self.engine.poll()
        if content.context.default.not_after > self.clock.wall:
            assert self.engine.context() == content.context
            assert self.engine.status().state is State.READY

    def publish(self, content: Triple) -> None:
        if isinstance(self.folder, Volume):
            for name in NAMES:  # as the kubelet would not have left them
                path = self.folder.path / name
                if not path.is_symlink():
                    path.unlink(missing_ok=True)
            self.folder.publish(content)
        else:
            for name, data in content.items():
                self.remember_after(partial(self.folder.put, name, data))

    def perform(self, write: Write | None) -> None:
        if write is not None:
            self.remember_after(partial(self.write_one, write))

    def write_one(self, write: Write) -> None:
        how, name, content = write
        data = dict(content.items())[name]
        path = self.folder.path / name
        if path.is_symlink() and how not in ("rename", "set"):
            how = "set"  # a volume is not written in place
        if how == "set":
            self.publish(content)
        elif how == "rename":
            self.folder.put("new", data)
            (self.folder.path / "new").replace(path)
        elif how == "remove":
            path.unlink(missing_ok=True)
        elif how == "touch":
            path.touch()
        else:
            part = {"part": data, "empty": b"", "half": data[: len(data) // 2]}[how]
            self.folder.put(name, part)

    def remember_after(self, step: Callable[[], object]) -> None:
        """Do something to the disk, and remember what was together on it then."""
        step()
        paths = [self.folder.path / name for name in NAMES]
        if all(path.exists() for path in paths):
            cert, key, bundle = (path.read_bytes() for path in paths)
            context = CONTEXTS.get((cert, key, bundle))
            if context is not None:
                self.existed.append(context)

    @invariant()
    def what_is_given_was_there_and_is_valid(self) -> None:
        if not hasattr(self, "engine"):
            return
        try:
            context = self.engine.context()
        except SourceError:
            assert self.engine.status().state not in (State.READY, State.DEGRADED)
        else:
            assert context in self.existed
            assert context.default.not_before <= self.clock.wall < context.default.not_after
            assert self.published[-1] == context
        status = self.engine.status()
        assert status.updates == len(self.published)
        assert all(a != b for a, b in zip(self.published, self.published[1:], strict=False))


AnyWriter.TestCase.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)
TestAnyWriter = AnyWriter.TestCase
