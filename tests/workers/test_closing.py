"""Closing a source in the ways in which processes end, while others wait for it."""

from __future__ import annotations

import pytest

from tests.workload.scripts import run

WAITERS = """
errors = []


def wait():
    try:
        source.wait_ready(timeout=60)
    except SourceClosedError as error:
        errors.append(error)


async def wait_async():
    try:
        await source.wait_ready_async(timeout=60)
    except SourceClosedError as error:
        errors.append(error)


async def iterate():
    async for _ in source.updates():
        pass
    errors.append("the end")


def waiting():
    return len(source._engine.listeners)

"""


def test_atexit_wakes_daemon_threads() -> None:
    """Closing at exit wakes the daemon threads that wait, one of them with a loop of asyncio."""
    run(
        WAITERS
        + """
api = FakeWorkloadApi([ID]).start()
api.hang()
source = X509Source(api.endpoint).open()


def check():
    until(lambda: len(errors) == 2)
    os.write(1, b"woken")


atexit.register(check)
atexit.register(source.close)  # runs first
for target in (wait, lambda: asyncio.run(wait_async())):
    threading.Thread(target=target, daemon=True).start()
until(waiting)
signal.alarm(30)
""",
    )


def test_sigterm_in_a_loop() -> None:
    """A handler of asyncio's for SIGTERM that closes ends every wait, of tasks and of threads."""
    run(
        WAITERS
        + """
async def main():
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, source.close)
    tasks = [wait_async(), iterate(), asyncio.to_thread(wait)]
    everything = asyncio.gather(*tasks)
    while waiting() < 2:
        await asyncio.sleep(0.002)
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(everything, 20)


with FakeWorkloadApi([ID]) as api:
    api.hang()
    source = X509Source(api.endpoint).open()
    asyncio.run(main())
    assert len(errors) == 3 and "the end" in errors, errors
    until(lambda: api.connections == 0)
""",
    )


def test_sigterm_that_exits() -> None:
    """A handler that closes and exits ends a process whose threads and pools wait for a source."""
    run(
        WAITERS
        + """
from concurrent.futures import ThreadPoolExecutor


def stop(*_):
    source.close()
    sys.exit(0)


api = FakeWorkloadApi([ID]).start()
api.hang()
pid = os.fork()
if pid == 0:
    source = X509Source(api.endpoint).open()
    signal.signal(signal.SIGTERM, stop)
    signal.alarm(30)
    # Threads that the interpreter waits for before anything that is registered with atexit.
    threading.Thread(target=wait).start()
    ThreadPoolExecutor(1).submit(wait)
    os.kill(os.getpid(), signal.SIGTERM)
    signal.pause()
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
until(lambda: api.connections == 0)
api.stop()
""",
    )


def test_callback_while_asyncio_iterates() -> None:
    """A subscriber that closes ends the iterations of every loop."""
    run(
        WAITERS
        + """
with FakeWorkloadApi([ID]) as api:
    source = X509Source(api.endpoint).open()
    source.wait_ready(timeout=10)
    loops = [threading.Thread(target=lambda: asyncio.run(iterate())) for _ in range(2)]
    for each in loops:
        each.start()
    until(lambda: waiting() == 2)
    source.subscribe(lambda _: source.close())
    api.rotate()
    for each in loops:
        each.join(20)
    assert errors == ["the end"] * 2
    until(lambda: api.connections == 0)
    until(lambda: not [each for each in threading.enumerate() if "security" in each.name])
""",
    )


@pytest.mark.parametrize("used", [False, True], ids=["unused", "used"])
@pytest.mark.parametrize("how", ["atexit", "SIGTERM"])
def test_handlers_that_a_child_inherits(how: str, used: bool) -> None:
    """What a parent registered to close its source closes that of the child, and no other."""
    run(
        """
how, used = sys.argv[1], sys.argv[2] == "True"


def stop(*_):
    source.close()
    sys.exit(0)


api = FakeWorkloadApi([ID]).start()  # no block: a child that exits would leave it as well
source = X509Source(api.endpoint).open()
if how == "atexit":
    atexit.register(source.close)
else:
    signal.signal(signal.SIGTERM, stop)
source.wait_ready(timeout=10)
pid = os.fork()
if pid == 0:
    signal.alarm(30)
    if used:
        source.wait_ready(timeout=10)
    if how == "SIGTERM":
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()
    sys.exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
until(lambda: api.connections == 1)
assert api.requests == 1 + used
(new,) = api.rotate()
until(lambda: source.current().default == new)
assert source.status().state is State.READY
assert api.requests == 1 + used
source.close()
api.stop()
""",
        how,
        str(used),
    )
