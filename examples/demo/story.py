"""The story: what happens to a core, a poller and an intruder."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from examples.demo.service import ROOT, DemoError, Event, Service
from examples.demo.stage import IDS

if TYPE_CHECKING:
    from pathlib import Path

    from examples.demo.show import Show
    from examples.demo.stage import Stage

HOSTILE = {"alert_threshold": "10m", "security": {"mode": "none"}, "nats": {"security": None}}
HARMLESS = {"alert_threshold": "10m"}


class Story:
    """Play it on a stage."""

    def __init__(self, stage: Stage, folder: Path, show: Show) -> None:
        """Prepare; `play` plays."""
        self._stage = stage
        self._folder = folder
        self._show = show
        self._overlay = folder / "kv-overlay.json"

    def play(self) -> None:
        """Play from beginning to end.

        Raises:
            DemoError: A step did not go as told.
        """
        began = time.monotonic()
        with self._start("core", grpc_addr="127.0.0.1:0") as core:
            ready = core.wait_for("ready")[0]
            address = f"127.0.0.1:{ready['port']}"
            with self._start("poller", core_address=address, poll_interval="200ms") as poller:
                self._identities(ready, poller.wait_for("ready")[0])
                self._calls(core, poller)
                self._overlays(core)
                self._intruder(core, address)
                self._rotation(core, poller)
                self._authority(core, poller)
                poller.stop()
                self._summary(core, poller, time.monotonic() - began)

    def _start(self, name: str, **pinned: object) -> Service:
        """Start an example with a pinned file, in which the operator says what is local here."""
        example = "core" if name == "core" else "poller"
        workload = self._stage.workloads[name]
        block = "security" if example == "core" else "core_security"
        own = self._folder / f"{name}-pinned.json"
        own.write_text(
            json.dumps({**pinned, block: {"workload_socket": workload.endpoint}}),
        )
        argv = [workload.python, "-m", f"examples.{example}"]
        argv += [str(ROOT / "examples" / example / f"{example}.json"), "--pinned", str(own)]
        if example == "core":
            argv += ["--overlay", str(self._overlay)]
        return Service(name, argv, log=self._folder / f"{name}.log")

    def _identities(self, core: Event, poller: Event) -> None:
        self._show.step("Two services get their identities")
        for name, event in (("core", core), ("poller", poller)):
            _expect(event["spiffe_id"] == IDS[name], f"{name} is {event['spiffe_id']}")
            self._show.fact(name, f"{event['spiffe_id']}, valid until {event['not_after'][11:19]}")

    def _calls(self, core: Service, poller: Service) -> None:
        self._show.step("The poller reports, and core knows who is calling")
        reports = core.wait_for("report", count=6)
        callers = {each["caller"] for each in reports}
        _expect(callers == {IDS["poller"]}, f"core saw the callers {callers}")
        poller.wait_for("reported", count=6)
        self._show.fact("core", f"{len(reports)} reports taken, all from {IDS['poller']}")

    def _overlays(self, core: Service) -> None:
        self._show.step("The KV store tries to switch security off")
        refused = self._send_overlay(core, HOSTILE, "overlay_refused")
        _expect(refused["paths"] == ["security", "nats.security"], str(refused))
        self._show.fact("overlay", json.dumps(HOSTILE))
        self._show.refused("core", "refused, whole: " + ", ".join(refused["paths"]))
        accepted = self._send_overlay(core, HARMLESS, "overlay_accepted")
        self._show.fact("core", f"{json.dumps(HARMLESS)} is fine: {accepted['alert_threshold']}")
        core.wait_for("report", since=core.mark())

    def _send_overlay(self, core: Service, document: dict[str, Any], event: str) -> Event:
        mark = core.mark()
        self._overlay.write_text(json.dumps(document))
        core.reread()
        return core.wait_for(event, since=mark)[0]

    def _intruder(self, core: Service, address: str) -> None:
        self._show.step("An intruder calls, with a valid identity of the same trust domain")
        mark = core.mark()
        with self._start("intruder", core_address=address) as intruder:
            said = intruder.wait_for("failed")[0]
            heard = core.wait_for("warning", since=mark, where=lambda e: "refused" in e["text"])[0]
        _expect(said["code"] == "PERMISSION_DENIED", f"the intruder got {said['code']}")
        _expect(IDS["intruder"] in heard["text"], f"core names somebody else: {heard['text']}")
        reports = core.events("report", since=mark)
        _expect(all(e["caller"] == IDS["poller"] for e in reports), "core served the intruder")
        self._show.refused("core", heard["text"])
        self._show.refused("intruder", f"{said['code']}: {said['text']}")

    def _rotation(self, core: Service, poller: Service) -> None:
        self._show.step("Identities rotate under traffic")
        marks = core.mark(), poller.mark()
        before = core.events("report")[-1]["certificate"]
        core.wait_for("rotated", since=marks[0])
        poller.wait_for("rotated", since=marks[1])
        self._show.fact("core", "has a new SVID, used from the next handshake on")
        self._show.fact("poller", "has a new SVID")
        core.wait_for("report", since=marks[0], where=lambda e: e["certificate"] != before)
        self._count(core, poller, marks, "the poller's new certificate is seen by core")

    def _authority(self, core: Service, poller: Service) -> None:
        self._show.step("The signing authority rotates under traffic")
        marks = core.mark(), poller.mark()
        for step in self._stage.rotate_authority():
            at = core.mark(), poller.mark()
            before = core.events("report")[-1]["certificate"]
            core.wait_for("rotated", since=at[0])
            poller.wait_for("rotated", since=at[1])
            if step.startswith("activated"):
                core.wait_for("report", since=at[0], where=lambda e: e["certificate"] != before)  # noqa: B023 - used at once
            poller.wait_for("reported", count=5, since=at[1])
            self._show.fact("authority", step)
        self._count(core, poller, marks, "every step under traffic")

    def _count(self, core: Service, poller: Service, marks: tuple[int, int], what: str) -> None:
        failed = poller.events("failed", since=marks[1])
        good = len(poller.events("reported", since=marks[1]))
        _expect(not failed, f"{len(failed)} calls failed, the first with {failed[:1]}")
        seen = len({e["certificate"] for e in core.events("report", since=marks[0])})
        self._show.fact("calls", f"{good} good, 0 failed; {what} ({seen} certificates)")

    def _summary(self, core: Service, poller: Service, seconds: float) -> None:
        end = poller.events("stopped")[-1]
        certificates = {each["certificate"] for each in core.events("report")}
        _expect(end["failed"] == 0, f"{end['failed']} calls failed")
        self._show.summary(
            {
                "reports sent": end["sent"],
                "reports failed": end["failed"],
                "certificates of the poller seen by core": len(certificates),
                "overlays refused": len(core.events("overlay_refused")),
                "seconds": f"{seconds:.0f}",
            },
        )


def _expect(condition: bool, otherwise: str) -> None:  # noqa: FBT001 - reads as a sentence
    if not condition:
        raise DemoError(otherwise)
