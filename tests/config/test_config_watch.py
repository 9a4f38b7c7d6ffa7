"""Later overlays and whole documents: the same gate, and nothing half applied."""

from __future__ import annotations

import contextlib
import copy
import inspect
import json
import logging
import threading
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
)

from serviceradar_security.config.config_watch import ConfigWatch, ConfigWatchStatus
from serviceradar_security.config.configuration import make_config
from serviceradar_security.config.layers import Layer, same
from serviceradar_security.config.load import Config, load_config
from serviceradar_security.config.protected import ProtectedPaths
from serviceradar_security.errors import ConfigError, OverlayRefusedError
from tests.config.documents import (
    bases,
    blocks_of,
    cases,
    offending,
    patient,
    reference_merge,
    spelled,
    walk,
    with_frames_left,
)

if TYPE_CHECKING:
    from pathlib import Path

CANARY = "canary-do-not-show"
LOCAL: dict[str, Any] = {
    "log": {"level": "info"},
    "security": {"mode": "spiffe", "trust_domain": "meadow.example"},
    "nats": {"name": "hub", "security": {"mode": "none"}},
    "agents": {"north": {"security": {"mode": "none"}}},
    "checks": [{"security": {"mode": "none"}}],
    "kelvin": {"kv_security": {"mode": "none"}},
}
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
PATIENCE = 30.0


class Service:
    """Keep what a service was given, and fail when told to."""

    def __init__(self) -> None:
        self.applied: list[Config] = []
        self.seen: list[ConfigWatchStatus] = []
        self.failure: BaseException | None = None

    def apply(self, config: Config) -> None:
        """Take over a configuration."""
        if self.failure is not None:
            raise self.failure
        self.applied.append(config)


@pytest.fixture
def service() -> Service:
    """Make a service."""
    return Service()


@pytest.fixture
def watch(service: Service) -> ConfigWatch:
    """Watch for a service with a local document."""
    return ConfigWatch(LOCAL, service.apply, observer=service.seen.append, now=lambda: NOON)


def test_update(watch: ConfigWatch, service: Service) -> None:
    """An accepted document is merged over the local ones, applied, and then in force."""
    new = watch.update(b'{"log": {"level": "debug"}}')
    assert new is watch.current
    assert service.applied == [new]
    assert new.document == reference_merge(LOCAL, {"log": {"level": "debug"}})
    assert new.origin("log.level") == "overlay"
    expected = ConfigWatchStatus(updates=1, changes=1, last_update=NOON)
    assert watch.status() == expected
    assert service.seen == [expected]


@pytest.mark.parametrize("form", [dict, json.dumps, lambda value: json.dumps(value).encode()])
def test_forms_of_a_document(watch: ConfigWatch, form: Any) -> None:
    """A document may come as mapping, text or bytes."""
    assert watch.update(form({"x": 1})).document["x"] == 1


@pytest.mark.parametrize(
    ("data", "name"),
    [(b"[log]\nlevel = 'x'", "toml"), ("log: {level: x}", "yaml")],
)
def test_format_of_a_document(watch: ConfigWatch, data: Any, name: Any) -> None:
    """A document may be written as the files of the platform are."""
    config = watch.update(data, format=name)
    assert config.document["log"] == {"level": "x"}
    with pytest.raises(OverlayRefusedError):
        watch.update(data)
    with pytest.raises(ConfigError, match="format is none of those"):
        watch.update(data, format="xml")  # type: ignore[arg-type]  # that is the test
    assert watch.current is config


def test_changes_are_logged(
    watch: ConfigWatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One event says that something else is in force, and nothing of what it is."""
    caplog.set_level(logging.INFO)
    watch.update({"x": CANARY})
    watch.update({"x": CANARY})
    [record] = caplog.records
    assert record.event == "config_changed"  # type: ignore[attr-defined]  # an extra
    assert CANARY not in caplog.text


def test_each_document_replaces_the_one_before(watch: ConfigWatch, service: Service) -> None:
    """What is in force is what a restart would give: no trace of earlier documents stays."""
    watch.update({"a": 1, "log": {"level": "debug", "extra": [1]}})
    watch.update({"b": 2})
    assert watch.current.document == LOCAL | {"b": 2}
    watch.clear()
    assert watch.current.document == LOCAL
    assert len(service.applied) == 3
    watch.clear()
    assert len(service.applied) == 3


def test_the_same_document_again(watch: ConfigWatch, service: Service) -> None:
    """A document that changes nothing is accepted and not applied again."""
    first = watch.update({"a": 1})
    again = watch.update('{"a": 1}')
    assert again.document == first.document
    assert service.applied == [first]
    assert watch.status() == ConfigWatchStatus(updates=2, changes=1, last_update=NOON)


@pytest.mark.parametrize(("one", "other"), [(1, True), (0, False), (1, 1.0), ([0], [False])])
def test_change_that_python_does_not_see(
    watch: ConfigWatch,
    service: Service,
    one: object,
    other: object,
) -> None:
    """A number that becomes a boolean is a change, equal as they are to Python."""
    watch.update({"a": one})
    watch.update({"a": other})
    assert len(service.applied) == 2
    assert type(service.applied[1].layers[1]._plain["a"]) is type(other)


def test_origin_follows_the_newest_document(watch: ConfigWatch, service: Service) -> None:
    """A document that says what was said already is no change, and its layer is named."""
    watch.update({"log": {"level": "info"}})
    assert not service.applied
    assert watch.current.origin("log.level") == "overlay"
    watch.clear()
    assert not service.applied
    assert watch.current.origin("log.level") == "file"


HOSTILE = [
    '{"security": {"mode": "none"}}',
    '{"security": null}',
    '{"x": 1, "kv_security": {}}',
    '{"x": [{"security": {}}]}',
    '{"\\u017fecurity": {"mode": "none"}}',
    '{"kelvin": {"kv_\\u017fecurity": null}}',
    '{"SECURITY": {"mode": "none"}}',
    '{"nats": null}',
    '{"NATS": {"x": 1}}',
    '{"nat\\u017f": null}',
    '{"\\u212aelvin": null}',
    '{"agents": {"north": null}}',
    '{"agents": []}',
    '{"checks": []}',
    '{"rbac": {"roles": []}}',
]
BROKEN = [
    "",
    "{",
    "[]",
    "null",
    '{"log": {"level": "debug"}, "log": 1}',
    '{"log": {"level": "debug"}} {}',
    '{"log": {"level": "debug"}, "a": NaN}',
    '\ufeff{"a": 1}',
    '{"a": ' + "[" * 500 + "]" * 500 + "}",
    b'{"log": {"level": "debug"}, "a": "\xff"}',
    '{"log": {"level": "debug"}}'.encode("utf-16"),
    {"log": {"level": "debug"}, "a": b"x"},
    {"log": {"level": "debug"}, "a": float("nan")},
    {1: 2},
    3,
    ["a"],
]


def state_of(watch: ConfigWatch) -> tuple[object, ...]:
    """Give what a refusal may not change."""
    config = watch.current
    return (
        id(config),
        copy.deepcopy(config._plain),
        [(layer.name, copy.deepcopy(layer._plain)) for layer in config.layers],
    )


@pytest.mark.parametrize("before", [None, {"log": {"level": "warn"}, "x": [1]}])
@pytest.mark.parametrize("data", HOSTILE + BROKEN)
def test_first_and_later_documents_pass_one_gate(
    watch: ConfigWatch,
    service: Service,
    caplog: pytest.LogCaptureFixture,
    before: Any,
    data: Any,
) -> None:
    """What the first overlay may not say, no later document may: refused whole, and logged once."""
    if before is not None:
        watch.update(before)
    state, applied, updates = state_of(watch), list(service.applied), watch.status().updates
    with pytest.raises(OverlayRefusedError) as first:
        Config(LOCAL).with_overlay(data)
    caplog.clear()
    with pytest.raises(OverlayRefusedError) as later:
        watch.update(data)
    assert later.value.paths == first.value.paths
    assert str(later.value) == str(first.value)
    assert state == state_of(watch)
    assert applied == service.applied
    [record] = caplog.records
    assert record.event == "overlay_refused"  # type: ignore[attr-defined]  # an extra
    assert record.paths == later.value.paths  # type: ignore[attr-defined]  # likewise
    status = watch.status()
    assert (status.updates, status.refused, status.behind) == (updates, 1, True)
    assert status.last_refusal == str(later.value)
    assert service.seen[-1] == status


def test_whole_document_passes_the_gate(watch: ConfigWatch, service: Service) -> None:
    """A document as services once stored it, security block and all, is refused as any other."""
    whole = LOCAL | {"log": {"level": "debug"}}
    with pytest.raises(OverlayRefusedError) as caught:
        watch.update(json.dumps(whole))
    assert caught.value.paths == (
        "security",
        "nats.security",
        "agents.north.security",
        "checks",
        "checks[0].security",
        "kelvin.kv_security",
    )
    assert not service.applied
    clean = {"log": {"level": "debug"}, "nats": {"name": "x"}, "agents": {"north": {}}}
    assert watch.update(clean).security == Config(LOCAL).security


def test_block_never_becomes_absent_or_null(watch: ConfigWatch) -> None:
    """No document leaves a service without its security block."""
    for data in (*HOSTILE, '{"security": null}', "{}"):
        with contextlib.suppress(OverlayRefusedError):
            watch.update(data)
        assert watch.current.security.mode == "spiffe"
        assert set(watch.current.block_paths) == set(Config(LOCAL).block_paths)


def test_repeated_names_are_refused_whichever_comes_first(watch: ConfigWatch) -> None:
    """A name twice is refused, so that no reader sees a value that another one does not."""
    for data in ('{"a": 1, "a": {"security": 1}}', '{"a": {"security": 1}, "a": 1}'):
        with pytest.raises(OverlayRefusedError) as caught:
            watch.update(data)
        assert set(caught.value.paths) == {"a", "a.security"}


def test_documents_are_judged_before_they_are_applied(service: Service) -> None:
    """The service sees nothing of a refused document, and the accepted one whole."""
    seen: list[tuple[object, object]] = []

    def apply(config: Config) -> None:
        seen.append((own.current.document["log"], config.document["log"]))

    own = ConfigWatch(LOCAL, apply)
    with pytest.raises(OverlayRefusedError):
        own.update({"log": {"level": "x"}, "security": {}})
    own.update({"log": {"level": "y"}})
    assert seen == [({"level": "info"}, {"level": "y"})]


def test_nothing_is_inherited_from_an_earlier_list(watch: ConfigWatch) -> None:
    """An item of a new list has only what the new document says of it."""
    watch.update({"roles": [{"identity": "a", "role": "writer"}]})
    config = watch.update({"roles": [{"identity": "b"}]})
    assert config.document["roles"] == [{"identity": "b"}]


def test_values_are_never_coerced(watch: ConfigWatch) -> None:
    """A document's value keeps its kind, whatever kind it replaces."""
    config = watch.update({"log": {"level": 900000000000, "x": True}})
    assert config.document["log"] == {"level": 900000000000, "x": True}


def test_base_is_never_changed(service: Service) -> None:
    """Neither the mapping nor the configuration that a watch began with ever changes."""
    document = copy.deepcopy(LOCAL)
    base = Config(document)
    watch = ConfigWatch(base, service.apply)
    other = ConfigWatch(document, service.apply)
    for each in (watch, other):
        each.update({"log": {"level": "debug", "new": {"a": 1}}, "nats": {"name": "x"}})
        each.update({"log": {"new": {"b": 2}}})
    assert document == LOCAL
    assert base.document == LOCAL
    document["security"]["mode"] = "none"
    assert other.current.security.mode == "spiffe"


def test_given_document_may_change_afterwards(watch: ConfigWatch) -> None:
    """Changing a mapping after it was given changes nothing that is in force."""
    data: dict[str, Any] = {"log": {"x": [1]}}
    config = watch.update(data)
    data["log"]["x"].append(2)
    data["log"]["security"] = {}
    assert config.document["log"] == {"level": "info", "x": [1]}


def loaded(tmp_path: Path, **options: Any) -> Config:
    """Load a configuration with a pinned file."""
    file, pinned = tmp_path / "a.json", tmp_path / "pinned.json"
    file.write_text(json.dumps(LOCAL))
    pinned.write_text(
        '{"log": {"level": "pinned"}, "security": {"role": "core"}, "deep": {"security": {}}}',
    )
    environ = {"CONFIG_SOURCE": "env", "SERVICERADAR_NATS_NAME": "from-env"}
    return load_config(file, pinned=pinned, environ=environ, **options)


def test_pinned_file_wins_over_every_document(tmp_path: Path, service: Service) -> None:
    """The pinned file is merged again over each document, before the service sees it."""
    watch = ConfigWatch(loaded(tmp_path), service.apply)
    watch.update({"log": {"level": "debug", "x": 1}, "nats": {"name": "from-kv"}})
    watch.update({"log": None, "nats": {"y": 1}})
    first, second = service.applied
    assert first.document["log"] == {"level": "pinned", "x": 1}
    assert second.document["log"] == {"level": "pinned"}
    assert first.document["nats"]["name"] == "from-kv"  # type: ignore[index]  # an object
    assert second.document["nats"]["name"] == "from-env"  # type: ignore[index]  # likewise
    assert {config.security.role for config in service.applied} == {"core"}


def test_blocks_of_the_pinned_file_are_guarded(tmp_path: Path, service: Service) -> None:
    """A document may not touch the parent of a block that only the pinned file has."""
    watch = ConfigWatch(loaded(tmp_path), service.apply)
    for data in ('{"deep": null}', '{"DEEP": null}', '{"deep": {"security": {}}}'):
        with pytest.raises(OverlayRefusedError):
            watch.update(data)
    assert not service.applied


def test_base_with_an_overlay(tmp_path: Path, service: Service) -> None:
    """The overlay that a service started with is the document in force, and is replaced."""
    base = loaded(tmp_path, overlay={"x": 1})
    watch = ConfigWatch(base, service.apply)
    assert watch.current is base
    watch.update({"x": 1})
    assert not service.applied
    assert watch.update({"y": 1}).document == loaded(tmp_path, overlay={"y": 1}).document
    assert watch.clear().document == loaded(tmp_path).document


def test_protected_paths_are_those_of_the_base(tmp_path: Path, service: Service) -> None:
    """A watch refuses what the load refused, and lets in what the load let in."""
    data = {"rbac": {"roles": [{"identity": "spiffe://meadow.example/x", "role": "writer"}]}}
    with pytest.raises(OverlayRefusedError):
        ConfigWatch(loaded(tmp_path), service.apply).update(data)
    free = loaded(tmp_path, protected=ProtectedPaths())
    assert ConfigWatch(free, service.apply).update(data).document["rbac"] == data["rbac"]
    own = loaded(tmp_path, protected=ProtectedPaths().with_paths("x.y"))
    with pytest.raises(OverlayRefusedError):
        ConfigWatch(own, service.apply).update({"x": {"y": 1}})


def test_meaning_of_a_block_does_not_come_from_outside(service: Service) -> None:
    """What the mode of a block is when it names none, the local document decides."""
    files = {"cert_file": "a", "key_file": "b", "ca_file": "c"}
    local: dict[str, object] = {"nats_url": "x", "security": files}
    watch = ConfigWatch(make_config([Layer("file", "f", local)], protected=ProtectedPaths()), print)
    for document in ({"grpc_listen_addr": "x"}, {"grpc_listen_addr": "x", "grpc_tls": files}):
        config = watch.update(document)
        assert config.block_paths == ("security",)
        with pytest.raises(ConfigError, match=r"security\.mode: missing"):
            _ = config.security


@pytest.mark.parametrize(
    "document",
    [
        {"nats": None},
        {"nats": {"tls": None}},
        {"nats": {"tls": {"ca_file": ""}}},
        {"nats": {"tls": {"ca_file": "other.pem"}}},
    ],
    ids=["no parent", "no block", "an empty member", "another member"],
)
def test_block_that_a_caller_leaves_unprotected(document: dict[str, object]) -> None:
    """A block by another name says what the local layers say, also where an overlay may write."""
    local = {"nats": {"tls": {"cert_file": "a", "key_file": "b", "ca_file": "c"}}}
    config = make_config([Layer("file", "f", dict(local))], protected=ProtectedPaths())
    before = config.security_block("nats.tls")

    after = config.with_overlay(document).security_block("nats.tls")

    assert before.mode == "mtls"
    assert after == before


def test_failing_apply(
    watch: ConfigWatch,
    service: Service,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What a service cannot apply does not come into force, and is tried again when it returns."""
    old = watch.update({"x": 1})
    state = state_of(watch)
    service.failure = RuntimeError(CANARY)
    caplog.clear()
    for call in (partial(watch.update, {"x": 2}), watch.clear):
        with pytest.raises(ConfigError, match="the old one stays in force: RuntimeError") as caught:
            call()
        assert not isinstance(caught.value, OverlayRefusedError)
        assert caught.value.__cause__ is service.failure
        assert CANARY not in str(caught.value)
        assert state == state_of(watch)
    status = watch.status()
    assert (status.updates, status.refused, status.behind) == (1, 2, True)
    assert CANARY not in status.last_refusal
    assert {record.event for record in caplog.records} == {"config_apply_failed"}  # type: ignore[attr-defined]  # an extra
    assert CANARY not in caplog.text
    assert watch.current is old
    service.failure = None
    assert watch.update({"x": 2}) is service.applied[-1]
    assert not watch.status().behind


def test_interrupt_in_apply(watch: ConfigWatch, service: Service) -> None:
    """An interrupt passes through, leaves the old configuration, and blocks nothing."""
    state = state_of(watch)
    for failure in (KeyboardInterrupt(), SystemExit(1)):
        service.failure = failure
        with pytest.raises(type(failure)):
            watch.update({"x": 1})
        assert state == state_of(watch)
    service.failure = None
    assert watch.update({"x": 1}).document["x"] == 1


def test_failing_observer(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    """What an observer raises is logged, and changes nothing."""

    def observe(_status: ConfigWatchStatus) -> None:
        raise RuntimeError(CANARY)

    watch = ConfigWatch(LOCAL, service.apply, observer=observe)
    watch.update({"x": 1})
    with pytest.raises(OverlayRefusedError):
        watch.update({"security": 1})
    assert watch.current.document["x"] == 1
    assert "RuntimeError" in caplog.text
    assert CANARY not in caplog.text


def test_update_from_inside() -> None:
    """An update from `apply` or an observer is refused, and harms neither update."""
    refusals: list[ConfigError] = []

    def again(_what: object) -> None:
        for call in (partial(own.update, {"inner": 1}), own.clear):
            with pytest.raises(ConfigError, match="is being applied by this very thread") as caught:
                call()
            refusals.append(caught.value)

    own = ConfigWatch(LOCAL, again, observer=again, patience=PATIENCE)
    own.update({"outer": 1})
    assert len(refusals) == 4
    assert own.current.document == LOCAL | {"outer": 1}
    assert own.status().updates == 1
    assert own.update({"outer": 2}).document["outer"] == 2


def test_readers_do_not_wait_and_writers_have_a_deadline() -> None:
    """While a configuration is applied, reading goes on, and another update gives up in time."""
    entered, leave = threading.Event(), threading.Event()

    def apply(_config: Config) -> None:
        entered.set()
        assert leave.wait(PATIENCE)

    watch = ConfigWatch(LOCAL, apply, patience=0.05)
    thread = threading.Thread(target=watch.update, args=({"x": 1},))
    thread.start()
    try:
        assert entered.wait(PATIENCE)
        assert watch.current.document == LOCAL
        assert watch.status() == ConfigWatchStatus()
        for call in (partial(watch.update, {"x": 2}), watch.clear):
            with pytest.raises(ConfigError, match=r"was not applied within 0\.05 s"):
                call()
    finally:
        leave.set()
        thread.join(PATIENCE)
    assert watch.current.document == LOCAL | {"x": 1}


def test_many_threads() -> None:
    """Updates from many threads are applied one after the other, whole, and none is lost."""
    inside = threading.Semaphore(1)
    applied: list[Config] = []

    def apply(config: Config) -> None:
        assert inside.acquire(blocking=False)
        applied.append(config)
        inside.release()

    watch = ConfigWatch(LOCAL, apply, patience=PATIENCE)
    torn: list[object] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            document = watch.current.document
            if document.get("a") != document.get("b"):
                torn.append(document)

    def write(number: int) -> None:
        for count in range(20):
            value = f"{number}-{count}"
            watch.update({"a": value, "b": value})
            with pytest.raises(OverlayRefusedError):
                watch.update({"a": value, "security": None})

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join(PATIENCE)
    done.set()
    reader.join(PATIENCE)
    assert not torn
    assert len(applied) == 80
    assert watch.current is applied[-1]
    assert watch.status().updates == watch.status().refused == watch.status().changes == 80


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"apply": None}, "apply is null"),
        ({"apply": 3}, "apply is a number"),
        ({"observer": "x"}, "observer is a text"),
        ({"now": 1}, "now is a number"),
        ({"patience": 0}, "patience"),
        ({"patience": -1.0}, "patience"),
        ({"patience": float("nan")}, "patience"),
        ({"patience": float("inf")}, "patience"),
        ({"patience": None}, "patience"),
        ({"patience": True}, "patience"),
        ({"patience": "1"}, "patience"),
        ({"base": 3}, "is a number"),
        ({"base": None}, "is null"),
        ({"base": {1: 2}}, "names are plain texts"),
    ],
)
def test_wrong_arguments(options: dict[str, Any], named: str) -> None:
    """A wrong argument is our error that names it."""
    base, apply = options.pop("base", LOCAL), options.pop("apply", print)
    with pytest.raises(ConfigError, match=named):
        ConfigWatch(base, apply, **options)


def test_asynchronous_functions_are_refused() -> None:
    """A coroutine function would do nothing, since nobody would await it."""

    async def apply(_config: object) -> None:
        raise AssertionError

    with pytest.raises(ConfigError, match=r"apply is asynchronous.*observer is asynchronous"):
        ConfigWatch(LOCAL, apply, observer=apply)


class Later:
    """Be called like a function, and promise."""

    async def __call__(self, _config: object) -> None:
        """Do nothing, later."""
        raise AssertionError


class Task:
    """Look like a task of an event loop."""

    def __init__(self) -> None:
        self.cancelled = False

    def __await__(self) -> Any:
        """Wait for nothing."""
        raise AssertionError

    def cancel(self) -> None:
        """End."""
        self.cancelled = True


def test_asynchronous_callables_are_refused() -> None:
    """An object that is called asynchronously is refused like a coroutine function."""
    with pytest.raises(ConfigError, match=r"apply is asynchronous.*observer is asynchronous"):
        ConfigWatch(LOCAL, Later(), observer=Later())


def test_promises_are_not_applied(caplog: pytest.LogCaptureFixture) -> None:
    """What `apply` only promises is not in force: the promise is ended, and the update fails."""
    promised: list[Any] = []

    def promise(_config: object) -> object:
        promised.append(Later()(None) if not promised else Task())
        return promised[-1]

    watch = ConfigWatch(LOCAL, promise)
    old = watch.current
    for _ in range(2):
        with pytest.raises(ConfigError, match="is asynchronous and nobody would await it"):
            watch.update({"x": CANARY})
    assert watch.current is old
    status = watch.status()
    assert (status.updates, status.changes, status.refused, status.behind) == (0, 0, 2, True)
    assert "is asynchronous" in status.last_refusal
    coroutine, task = promised
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED
    assert task.cancelled
    assert {vars(record)["event"] for record in caplog.records} == {"config_apply_failed"}
    assert CANARY not in caplog.text


def test_promises_of_an_observer(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    """What an observer only promises is ended and logged, and changes nothing."""
    watch = ConfigWatch(LOCAL, service.apply, observer=lambda _status: Later()(None))
    watch.update({"x": 1})
    assert watch.current.document["x"] == 1
    (record,) = (each for each in caplog.records if each.levelno == logging.ERROR)
    assert vars(record)["event"] == "config_observer_failed"


def test_deep_caller(service: Service) -> None:
    """A caller near the end of the stack gets a refusal that counts, and what was stays."""
    deep = '{"a":' * 95 + "1" + "}" * 95
    watch = ConfigWatch(json.loads(deep), service.apply)
    refusals = []
    for room in range(130, 600, 10):
        state = state_of(watch)
        text = deep.replace("1", str(room))
        try:
            with_frames_left(room, partial(watch.update, text))
        except OverlayRefusedError as error:
            refusals.append((str(error), state, state_of(watch), watch.status().behind))
        assert watch.status().refused == len(refusals)
    assert 0 < len(refusals) < 47
    for text, before, after, behind in refusals:
        assert "for a caller that is itself this deep" in text
        assert before == after
        assert behind
    assert watch.update(deep).plain() == json.loads(deep)


def test_no_document(watch: ConfigWatch) -> None:
    """Nothing is no document: a deletion is said by `clear`."""
    nothing: Any = None
    with pytest.raises(ConfigError, match=r"call clear\(\)"):
        watch.update(nothing)
    assert watch.status() == ConfigWatchStatus()


def test_repr_shows_no_values(watch: ConfigWatch) -> None:
    """The repr names blocks and counts, and shows no value."""
    watch.update({"password": CANARY})
    with pytest.raises(OverlayRefusedError):
        watch.update({"password": CANARY, "security": CANARY})
    assert CANARY not in repr(watch)
    assert "refused=1" in repr(watch)


HALF = ("", "{", "[]", '{"a": 1, "a": 2}', '{"a": 1} {}')


class Machine(RuleBasedStateMachine):
    """Any sequence of updates and deletions, good, hostile and broken."""

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        """Draw local layers, and begin."""
        file, environment, pinned = (data.draw(bases()) for _ in range(3))
        self.file: dict[str, object] = file
        self.above = environment
        self.pinned = pinned
        layers = [
            Layer("file", "f", copy.deepcopy(file)),
            Layer("environment", "e", copy.deepcopy(environment)),
            Layer("pinned", "p", copy.deepcopy(pinned)),
        ]
        try:
            base = make_config(layers, protected=ProtectedPaths())
        except ConfigError:  # twins
            self.above, self.pinned = {}, {}
            self.file = {"a": {"security": {"mode": "none"}}}
            base = make_config(
                [Layer("file", "f", copy.deepcopy(self.file))],
                protected=ProtectedPaths(),
            )
        self.accepted: dict[str, object] = {}
        self.applied: list[Config] = [base]
        self.fails = False
        self.refused = 0
        self.watch = ConfigWatch(base, self.apply)

    def apply(self, config: Config) -> None:
        """Take over a configuration, or fail."""
        if self.fails:
            raise RuntimeError
        self.applied.append(config)

    @property
    def local(self) -> dict[str, object]:
        """What the local layers say."""
        return merge(merge(self.file, self.above), self.pinned)

    @rule(data=st.data(), as_text=st.booleans(), fails=st.booleans())
    def update(self, data: st.DataObject, *, as_text: bool, fails: bool) -> None:
        """Give a document that may or may not be hostile."""
        aimed = data.draw(st.booleans())
        document = data.draw(aimed_at(self.local) if aimed else bases())
        given: Any = data.draw(spelled(document)) if as_text else document
        offenders = offending(self.local, document)
        self.fails = fails
        try:
            self.watch.update(given)
        except OverlayRefusedError:
            event("refused")
            assert offenders
            self.refused += 1
        except ConfigError:
            event("failed")
            assert fails
            assert not offenders
            self.refused += 1
        else:
            event("accepted with a change" if document else "accepted")
            assert not offenders
            self.accepted = document

    @rule(garbage=st.binary(max_size=8).map(lambda head: head + b"\xff") | st.sampled_from(HALF))
    def broken(self, garbage: Any) -> None:
        """Give what is no document."""
        with pytest.raises(OverlayRefusedError):
            self.watch.update(garbage)
        self.refused += 1

    @rule(fails=st.booleans())
    def clear(self, *, fails: bool) -> None:
        """Say that the document was deleted."""
        self.fails = fails
        try:
            self.watch.clear()
        except ConfigError:
            assert fails
            self.refused += 1
        else:
            self.accepted = {}

    @invariant()
    def in_force(self) -> None:
        """What is in force is the merge of the layers, and the blocks are the local ones."""
        expected = merge(merge(merge(self.file, self.above), self.accepted), self.pinned)
        document = thawed(self.watch.current)
        assert same(expected, document)
        assert blocks_of(document) == blocks_of(self.local)
        assert same(thawed(self.applied[-1]), document)
        assert all(blocks_of(config._plain) == blocks_of(self.local) for config in self.applied)
        status = self.watch.status()
        assert status.refused == self.refused
        assert bool(status.last_refusal) == bool(self.refused)
        assert status.changes == len(self.applied) - 1


def merge(base: dict[str, object], change: dict[str, object]) -> dict[str, object]:
    """Merge by the reference."""
    merged = reference_merge(base, change)
    assert isinstance(merged, dict)
    return merged


def thawed(config: Config) -> dict[str, object]:
    """Give the plain document of a configuration, in a copy."""
    return copy.deepcopy(config._plain)


@st.composite
def aimed_at(draw: st.DrawFn, local: dict[str, object]) -> dict[str, object]:
    """Draw a document that sets one place of another one, and something beside it."""
    places = [place for place, _ in walk(local)] or [("a",)]
    place = draw(st.sampled_from(places))
    steps = [step for step in place if isinstance(step, str)] or ["a"]
    value: object = draw(st.sampled_from([None, 1, "x", [], {}, {"mode": "none"}]))
    for step in reversed(steps):
        value = {step: value}
    _, beside = draw(cases())
    return merge({key: each for key, each in beside.items() if key not in local}, {}) | value  # type: ignore[operator,no-any-return]  # an object


TestMachine = Machine.TestCase
TestMachine.settings = settings(patient, max_examples=60, stateful_step_count=12)
