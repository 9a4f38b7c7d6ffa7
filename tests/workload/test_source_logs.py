"""What the live source logs: each transition once, and never a key."""

from __future__ import annotations

import base64
import logging
import re
from typing import TYPE_CHECKING, Final

from serviceradar_security import (
    SecurityError,
    X509Source,
)
from serviceradar_security.workload.watch import State
from tests.workload.clock import ShiftedClock
from tests.workload.material import ID, entry, key_der, message
from tests.workload.peers import (
    until,
    until_refused,
    until_requests,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest

    from serviceradar_security import X509Context, X509Svid
    from serviceradar_security.testing.workload_api import FakeWorkloadApi


LOG: Final = "serviceradar_security.workload"


def test_logged_once(api: FakeWorkloadApi, caplog: pytest.LogCaptureFixture) -> None:
    """A transition is logged once, not with each attempt; so is each new cause in a state."""
    caplog.set_level(logging.INFO, LOG)
    with X509Source(api.endpoint) as source:
        source.wait_ready(timeout=10)
        api.fail("CANCELLED", "told so")
        until_requests(api, 3)
        api.stop()
        until(lambda: "no such socket" in source.status().cause)
        api.start()
        api.allow()
        until(lambda: source.status().state is State.READY)
    texts = [record.getMessage() for record in caplog.records if record.name == LOG]
    assert [text.split(" ", 4)[3] for text in texts] == [
        "READY",
        "DEGRADED",
        "DEGRADED",
        "READY",
        "CLOSED",
    ]
    assert "CANCELLED (1): told so: look at the log of the SPIRE agent" in texts[1]
    assert "there is no such socket: start the SPIRE agent" in texts[2]
    assert all(text.isprintable() for text in texts)
    levels = [record.levelname for record in caplog.records if record.name == LOG]
    assert levels == ["INFO", "WARNING", "WARNING", "INFO", "INFO"]


def test_left_out_is_logged_once(api: FakeWorkloadApi, caplog: pytest.LogCaptureFixture) -> None:
    """What is left out of a message is logged, and not again with each message."""
    caplog.set_level(logging.WARNING, LOG)
    with X509Source(api.endpoint) as source:
        source.wait_ready(timeout=10)
        for _ in range(2):
            good = entry(api.authority.issue(ID), api.authority.bundle)
            api.send(message(good, federated={"b.test": b"junk"}))
        until(lambda: source.status().updates == 3)
        assert source.status().state is State.READY
    assert len([each for each in caplog.messages if "b.test" in each]) == 1


def test_flood_of_warnings_is_not_a_flood_of_logs(
    api: FakeWorkloadApi,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A message with thousands of bad bundles is logged by its first ones and their number."""
    caplog.set_level(logging.WARNING, LOG)
    good = entry(api.authority.issue(ID), api.authority.bundle)
    with X509Source(api.endpoint) as source:
        source.wait_ready(timeout=10)
        api.send(message(good, federated={f"{n}.test": b"junk" for n in range(3000)}))
        until(lambda: source.status().updates == 2)
    assert len(caplog.messages) == 11
    assert "3000 such in all" in caplog.messages[-1]


def test_flood_of_refusals_is_not_a_flood_of_logs(
    api: FakeWorkloadApi,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Ever new bad messages do not fill the log."""
    caplog.set_level(logging.INFO, LOG)
    svid = api.authority.issue(ID)
    with X509Source(api.endpoint) as source:
        source.wait_ready(timeout=10)
        for number in range(100):
            api.send(message(entry(svid, api.authority.bundle, spiffe_id=f"{ID}/{number}")))
        until(lambda: source.status().rejected == 100)
    assert len(caplog.messages) < 30


def _shows(text: str, svid: X509Svid) -> bool:
    """Tell whether a text has the private key in it, in any of the usual spellings."""
    der = key_der(svid)
    number = svid.private_key.private_numbers().private_value  # type: ignore[union-attr] # EC keys here
    scalar = number.to_bytes(32)
    # How quotes and backslashes are written depends on what is around them: look between them.
    longest = max(re.split(rb"['\"\\]", scalar), key=len)
    forms = [
        repr(longest)[2:-1],
        scalar.hex(),
        scalar.hex(":"),
        str(number),
        base64.b64encode(der).decode()[60:90],
        str(list(scalar))[1:-1],
        "".join(f"\\{byte:03o}" for byte in scalar[:8]),
        "PRIVATE KEY",
    ]
    return any(form in text or form.upper() in text for form in forms)


def test_key_is_never_shown(api: FakeWorkloadApi, caplog: pytest.LogCaptureFixture) -> None:
    """No log record, error, status or repr of a whole life shows a key (R-WLAPI-36)."""
    caplog.set_level(logging.DEBUG)
    clock = ShiftedClock()
    svids, shown = [api.authority.issue(ID)], []

    def pick(given: Sequence[X509Svid]) -> X509Svid:
        if any("picky" in str(each.spiffe_id) for each in given):
            raise LookupError(f"none of {given!r}")
        return given[0]

    def fail(context: X509Context) -> None:
        raise LookupError(f"cannot take {context!r}")

    def note(source: X509Source) -> None:
        shown.extend([repr(source), repr(source.status()), repr(vars(source))])
        try:
            shown.append(repr(source.current()))
        except SecurityError as error:
            shown.append(f"{error!r} {error.__cause__!r}")

    api.set_identities(svids)
    with X509Source(api.endpoint, pick=pick, clock=clock) as source, source.subscribe(fail):
        source.wait_ready(timeout=10)
        note(source)
        svids.append(api.authority.issue(ID))
        api.set_identities(svids[-1:])
        until(lambda: source.current().default == svids[-1])
        good = message(entry(svids[0], api.authority.bundle))
        other_key = entry(svids[0], api.authority.bundle, x509_svid_key=key_der(svids[1]))
        no_key = entry(svids[0], api.authority.bundle, x509_svid_key=key_der(svids[1])[:-1])
        picky = entry(api.authority.issue("spiffe://a.test/picky"), api.authority.bundle)
        bad = [good[:-5], message(other_key), message(no_key), message(picky), b"\xff" + good]
        for number, each in enumerate(bad, 1):
            api.send(each)
            until_refused(source, number)
            note(source)
        api.fail("INTERNAL")
        until(lambda: "INTERNAL" in source.status().cause)
        note(source)
        api.deny()
        until(lambda: "taken back" in source.status().cause)
        clock.advance(100)
        note(source)
        clock.advance(10_000)
        note(source)
    shown.append(repr(source))
    everything = caplog.text + "\n".join(shown)
    assert "a subscriber of the identity source failed" in everything
    for svid in svids:
        assert _shows(repr(key_der(svid)), svid)
        assert _shows(svid.to_pem()[1].decode(), svid)
        assert not _shows(everything, svid)
