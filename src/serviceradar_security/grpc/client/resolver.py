"""Names to addresses: each dialled name is looked up again and again while channels need it.

gRPC core never resolves for us. A change reaches live channels as a push of endpoints; nothing
tells us that a connection broke, so lookups go on at intervals.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import socket
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from serviceradar_security.grpc.client.targets import Address

    Lookup = Callable[[str, int], Awaitable[Sequence[Address]]]
    Publish = Callable[[tuple[Address, ...]], None]

__all__ = ["follow_name", "look_up", "retry_delay"]

_LOG: Final = logging.getLogger("serviceradar_security.grpc")
_FIRST_RETRY: Final = 1.0
_LONGEST_RETRY: Final = 30.0
_GROWTH: Final = 1.6  # as for gRPC's connections
_FRESH: Final = (10.0, 30.0)
# Core waits 15 s for endpoints before it says that they do not exist.
_FIRST_ANSWER: Final = 10.0


def retry_delay(failures: int, spread: float) -> float:
    """Give the seconds until a lookup is tried again.

    Args:
        failures: How many failed in a row, 1 or more.
        spread: A random number from 0 to 1, so that many processes do not ask at once.
    """
    # Bounded before the power, which would overflow after a day without DNS.
    longest = min(_LONGEST_RETRY, _FIRST_RETRY * _GROWTH ** min(failures, 20))
    return _FIRST_RETRY + (longest - _FIRST_RETRY) * spread


async def follow_name(
    host: str,
    port: int,
    publish: Publish,
    *,
    lookup: Lookup | None = None,
    spread: Callable[[], float] = random.random,
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    first_answer: float = _FIRST_ANSWER,
) -> None:
    """Look a name up until cancelled, and publish its addresses whenever the set changes.

    Before the first answer nothing is published, so that calls wait as on any channel. If the
    first lookup fails or takes too long, an empty list is published, and calls fail at once.
    Later failures keep the last addresses.

    Args:
        host: The name.
        port: Goes with every address.
        publish: Takes the addresses.
        lookup: Asks the system, unless given.
        spread: Gives random numbers from 0 to 1.
        pause: Waits some seconds.
        first_answer: How long calls may wait for the first answer.
    """
    ask = lookup or look_up
    known: tuple[Address, ...] | None = None
    failures = 0
    while True:
        question = asyncio.ensure_future(ask(host, port))
        try:
            if known is None:
                await asyncio.wait((question,), timeout=first_answer)
                if not question.done():
                    known = ()
                    publish(known)
            found = tuple(dict.fromkeys(await question))
        except OSError as error:
            failures += 1
            if failures == 1:
                _LOG.warning("%s cannot be resolved: %s; trying again", host, error)
            if known is None:
                known = ()
                publish(known)
            await pause(retry_delay(failures, spread()))
            continue
        finally:
            question.cancel()
        if failures:
            _LOG.info("%s can be resolved again", host)
            failures = 0
        # Servers rotate the order of their answers: that alone changes nothing.
        if known is None or set(found) != set(known):
            known = found
            publish(known)
        shortest, longest = _FRESH
        await pause(shortest + (longest - shortest) * spread())


async def look_up(host: str, port: int) -> Sequence[Address]:
    """Ask the system's resolver, in a thread that no exit of the program waits for.

    Raises:
        OSError: The name has no address, or nobody could be asked.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[Address]] = loop.create_future()

    def deliver(found: list[Address], error: OSError | None) -> None:
        if answer.done():
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(found)

    def ask() -> None:
        found: list[Address] = []
        failure: OSError | None = None
        try:
            for *_, place in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
                found.append((_with_zone(place), port))
        except OSError as error:
            failure = error
        except (UnicodeError, ValueError) as error:
            failure = OSError(f"the system's resolver does not take this name: {error}")
        with contextlib.suppress(RuntimeError):  # the loop ended before the answer came
            loop.call_soon_threadsafe(deliver, found, failure)

    # The default executor would hold up the end of the program until the last answer came.
    threading.Thread(target=ask, name=f"resolve {host}", daemon=True).start()
    return await answer


def _with_zone(place: tuple[object, ...]) -> str:
    """Write an address with the zone that a link-local one needs."""
    ip = str(place[0])
    zone = place[3] if len(place) > 3 else 0  # noqa: PLR2004 - (address, port, flow, zone) for IPv6
    return f"{ip}%{zone}" if zone and "%" not in ip else ip
