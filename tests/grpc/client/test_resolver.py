"""Names: looked up, looked up again, and published only when something changed."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serviceradar_security.grpc.client.resolver import follow_name, look_up, retry_delay

A, B = ("10.0.0.1", 1), ("10.0.0.2", 1)
Answer = Sequence[tuple[str, int]] | OSError


class Script:
    """Answers of a name server, one for each question; the run ends with the last."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers)
        self.published: list[tuple[tuple[str, int], ...]] = []
        self.pauses: list[float] = []

    async def look_up(self, _host: str, _port: int) -> Sequence[tuple[str, int]]:
        answer = self._answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        if not self._answers:
            raise asyncio.CancelledError

    def run(self, spread: float = 0.5) -> None:
        async def main() -> None:
            with contextlib.suppress(asyncio.CancelledError):
                await follow_name(
                    "core",
                    1,
                    self.published.append,
                    lookup=self.look_up,
                    spread=lambda: spread,
                    pause=self.pause,
                )

        asyncio.run(main())


FAILED = OSError("no such name")


@pytest.mark.parametrize(
    ("answers", "published"),
    [
        ([[A]], [(A,)]),
        ([[A], [A]], [(A,)]),
        ([[A, B], [B, A]], [(A, B)]),
        ([[A, A]], [(A,)]),
        ([[A], [B]], [(A,), (B,)]),
        ([[A], [A, B]], [(A,), (A, B)]),
        ([FAILED, [A]], [(), (A,)]),
        ([FAILED, FAILED, [A]], [(), (A,)]),
        ([[A], FAILED, [A]], [(A,)]),
        ([[A], FAILED, [B]], [(A,), (B,)]),
    ],
    ids=str,
)
def test_addresses_are_published_when_their_set_changes(
    answers: list[Answer],
    published: list[tuple[tuple[str, int], ...]],
) -> None:
    """The first failure gives an empty list; later ones keep what is known; order is no change."""
    script = Script(*answers)
    script.run()
    assert script.published == published


def test_lookups_go_on_at_intervals() -> None:
    """A good answer is asked for again after 10 to 30 seconds."""
    for spread, pause in ((0.0, 10.0), (1.0, 30.0)):
        script = Script([A], [A])
        script.run(spread)
        assert script.pauses == [pause, pause]


def test_failures_are_retried_ever_more_slowly_and_forgotten_by_a_success() -> None:
    """The delay grows with each failure in a row and starts over after an answer."""
    script = Script(FAILED, FAILED, FAILED, [A], FAILED, [A])
    script.run(spread=1.0)
    first, second, third, _, again, _ = script.pauses
    assert first < second < third
    assert again == first


@given(st.integers(1, 10**6), st.floats(0, 1))
def test_retries_wait_between_one_second_and_thirty(failures: int, spread: float) -> None:
    """However long a name is unknown, the delay stays within its bounds."""
    assert 1.0 <= retry_delay(failures, spread) <= 30.0


def test_a_slow_first_lookup_stops_holding_calls_up() -> None:
    """After a while without an answer calls fail, and the answer is used when it comes."""

    async def main() -> list[Any]:
        published: asyncio.Queue[Any] = asyncio.Queue()
        answered = asyncio.Event()

        async def slow(_host: str, _port: int) -> Sequence[tuple[str, int]]:
            await answered.wait()
            return [A]

        follower = asyncio.create_task(
            follow_name("core", 1, published.put_nowait, lookup=slow, first_answer=0.01),
        )
        first = await published.get()
        answered.set()
        second = await published.get()
        follower.cancel()
        return [first, second]

    assert asyncio.run(asyncio.wait_for(main(), 5)) == [(), (A,)]


def test_the_system_is_asked_in_a_thread_that_nobody_waits_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A resolver that hangs holds up neither the loop nor the end of the program."""
    entered, leave = threading.Event(), threading.Event()

    def hang(*_args: object, **_kwargs: object) -> list[Any]:
        assert threading.current_thread().daemon
        entered.set()
        leave.wait(10)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)

    async def main() -> None:
        question = asyncio.create_task(look_up("core", 1))
        assert await asyncio.to_thread(entered.wait, 5)
        question.cancel()

    asyncio.run(asyncio.wait_for(main(), 5))
    leave.set()


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("localhost", "127.0.0.1")],
)
def test_the_system_gives_addresses(host: str, expected: str) -> None:
    """Names and addresses come back with the port."""
    assert (expected, 7) in asyncio.run(look_up(host, 7))


def test_a_name_that_the_system_does_not_take_is_an_os_error() -> None:
    """Whatever the system says, the follower sees one kind of error."""
    with pytest.raises(OSError, match="does not take this name"):
        asyncio.run(asyncio.wait_for(look_up("a" * 70, 7), 20))


def test_a_link_local_address_keeps_its_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The zone is part of the address that core dials."""
    found = [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("fe80::1", 7, 0, 3))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kwargs: found)
    assert asyncio.run(look_up("core", 7)) == [("fe80::1%3", 7)]
