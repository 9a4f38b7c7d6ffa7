"""Decisions by role: who may call what, why, and what of it is written down."""

from __future__ import annotations

import logging
import pickle
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from serviceradar_security.config.rbac import Decision, RbacPolicy
from serviceradar_security.errors import ConfigError, SpiffeIdError
from serviceradar_security.identity.spiffe_id import SpiffeId
from tests.config.documents import patient

HUB = "spiffe://meadow.example/ns/field/sa/hub"
GATE = "spiffe://meadow.example/ns/field/sa/gate"
IDLE = "spiffe://meadow.example/ns/field/sa/idle"
METHODS = {
    "looker": ["/barn.Hay/Look", "/barn.Hay/Smell"],
    "keeper": ["/barn.Hay/Look", "/barn.Hay/Stack", "/Gate/Open"],
    "idler": [],
}
ROLES = {HUB: "keeper", GATE: "looker", IDLE: "idler"}
KNOWN = sorted({name for names in METHODS.values() for name in names})
# Each is near to an entry or a method, and is neither.
STRANGERS = (
    "spiffe://meadow.example/ns/field/sa/hub2",
    "spiffe://meadow.example/ns/field/sa/hu",
    "spiffe://meadow.example/ns/field/sa/hub/x",
    "spiffe://meadow.example/ns/field/sa/Hub",
    "spiffe://meadow.example/ns/field/sa",
    "spiffe://meadow.example",
    "spiffe://orchard.example/ns/field/sa/hub",
    "spiffe://sub.meadow.example/ns/field/sa/hub",
)
NEAR_METHODS = (
    "",
    "/",
    "*",
    "/barn.Hay/*",
    "/barn.Hay/",
    "/barn.Hay",
    "/barn.Hay/LookX",
    "/barn.Hay/Loo",
    "/barn.Hay/look",
    "/BARN.Hay/Look",
    "barn.Hay/Look",
    "//barn.Hay/Look",
    "/barn.Hay/Look/",
    "/barn.Hay/Look\n",
    " /barn.Hay/Look",
    "/barn.Hay/Look?x",
    "/Hay/Look",
    "/x.barn.Hay/Look",
    "/barn.Hay/Look\0",
    "/barn.Hay/Loo\u212a",
)

identities = st.one_of(
    st.sampled_from([*ROLES, *STRANGERS]),
    st.from_regex(r"spiffe://[a-z]{1,3}\.example(/[a-zA-Z0-9]{1,3}){0,4}", fullmatch=True),
).map(SpiffeId.parse)
called = st.one_of(
    st.sampled_from([*KNOWN, *NEAR_METHODS]),
    st.text(max_size=40),
    st.from_regex(r"/([A-Za-z_]\w*\.)*[A-Za-z_]\w*/[A-Za-z_]\w*", fullmatch=True),
)


def policy(*, observe_only: bool = False) -> RbacPolicy:
    """Make the policy of these tests."""
    entries = [{"identity": identity, "role": role} for identity, role in ROLES.items()]
    return RbacPolicy.from_config({"roles": entries}, methods=METHODS, observe_only=observe_only)


def decide(identity: str, method: str, *, observe_only: bool = False) -> Decision:
    """Ask that policy."""
    return policy(observe_only=observe_only).decide(SpiffeId.parse(identity), method)


# ---- who may call what -------------------------------------------------------------------------


@pytest.mark.parametrize("method", KNOWN)
@pytest.mark.parametrize("identity", ROLES)
def test_role_by_method(identity: str, method: str) -> None:
    """Each role may call its methods, and no other's."""
    role = ROLES[identity]
    decision = decide(identity, method)
    assert decision.allowed is (method in METHODS[role])
    assert decision.rule == ("role_allows" if decision.allowed else "not_of_role")
    assert decision.role == role
    assert decision.spiffe_id == SpiffeId.parse(identity)
    assert decision.method == method
    assert decision.would_deny is False


@pytest.mark.parametrize("method", NEAR_METHODS)
@pytest.mark.parametrize("identity", ROLES)
def test_near_method(identity: str, method: str) -> None:
    """A method is compared as a whole and in its case: a prefix or a variant is unknown."""
    decision = decide(identity, method)
    assert (decision.allowed, decision.rule) == (False, "unknown_method")
    assert decision.role == ROLES[identity]
    assert decision.reason.isprintable()


@pytest.mark.parametrize("method", [*KNOWN, *NEAR_METHODS])
@pytest.mark.parametrize("identity", STRANGERS)
def test_stranger(identity: str, method: str) -> None:
    """Who has no entry has no role, whatever the method, and learns nothing about methods."""
    decision = decide(identity, method)
    assert (decision.allowed, decision.rule, decision.role) == (False, "no_role", None)
    assert decision.reason == decide(identity, KNOWN[0]).reason


@patient
@given(identities, called)
def test_default_deny(spiffe_id: SpiffeId, method: str) -> None:
    """Whatever is not in the table is denied, by the right rule."""
    decision = policy().decide(spiffe_id, method)
    role = ROLES.get(str(spiffe_id))
    assert decision.allowed is (role is not None and method in METHODS[role])
    assert decision.role == role
    if role is None:
        assert decision.rule == "no_role"
    elif method not in KNOWN:
        assert decision.rule == "unknown_method"


@patient
@given(identities, called)
def test_reason_names_nobody_else(spiffe_id: SpiffeId, method: str) -> None:
    """A reason is one printable line, and names no identity and no role but the caller's."""
    assume("spiffe" not in method)
    decision = policy().decide(spiffe_id, method)
    assert decision.reason.isprintable()
    assert decision.reason.isascii()
    assert "spiffe" not in decision.reason.replace(str(spiffe_id), "")
    others = set(METHODS) - {decision.role}
    said = decision.reason.replace(str(spiffe_id), "").replace(method[:60], "")
    assert not any(f"role {other}" in said for other in others)


@pytest.mark.parametrize(
    ("identity", "method", "reason"),
    [
        (HUB, "/barn.Hay/Stack", "role keeper may call /barn.Hay/Stack"),
        (GATE, "/barn.Hay/Stack", "role looker cannot access /barn.Hay/Stack"),
        (GATE, "/barn.Hay/Burn", "no role may call /barn.Hay/Burn"),
        (GATE, "/barn.Hay/x\n", "no role may call '/barn.Hay/x\\n'"),
        (GATE, "/" + "x" * 4000, "no role may call '/" + "x" * 59 + "...'"),
        (
            STRANGERS[0],
            "/barn.Hay/Look",
            f"identity {STRANGERS[0]} not authorized: it has no role here",
        ),
    ],
)
def test_reason(identity: str, method: str, reason: str) -> None:
    """The reason is a sentence with the facts; what a caller made up is escaped and cut."""
    assert decide(identity, method).reason == reason


@patient
@given(identities, called)
def test_observe_only(spiffe_id: SpiffeId, method: str) -> None:
    """Observing lets everybody pass, and says of each call what enforcing would have done."""
    enforced = policy().decide(spiffe_id, method)
    observed = policy(observe_only=True).decide(spiffe_id, method)
    assert observed.allowed is True
    assert observed.would_deny is not enforced.allowed
    assert (observed.role, observed.rule, observed.reason) == (
        enforced.role,
        enforced.rule,
        enforced.reason,
    )


@pytest.mark.parametrize("entries", [[], [{"identity": "CN=hub", "role": "keeper"}]])
@pytest.mark.parametrize("method", [*KNOWN, "/barn.Hay/Burn"])
def test_nobody_has_a_role(entries: list[Any], method: str) -> None:
    """A list without a SPIFFE ID denies everybody."""
    made = RbacPolicy.from_config({"roles": entries}, methods=METHODS)
    assert made.decide(SpiffeId.parse(HUB), method).rule == "no_role"


# ---- the objects -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("identity", "method", "observe_only", "passes"),
    [
        (HUB, "/barn.Hay/Stack", False, True),
        (GATE, "/barn.Hay/Stack", False, False),
        (GATE, "/barn.Hay/Stack", True, True),
    ],
)
def test_decision_as_condition(
    identity: str,
    method: str,
    observe_only: bool,
    passes: bool,
) -> None:
    """A decision used as a condition is true only if the call may pass."""
    assert bool(decide(identity, method, observe_only=observe_only)) is passes


def test_decision_is_frozen() -> None:
    """A decision does not change, and travels."""
    decision = decide(GATE, "/barn.Hay/Stack")
    with pytest.raises(AttributeError):
        decision.allowed = True  # type: ignore[misc]  # the point of the test
    assert pickle.loads(pickle.dumps(decision)) == decision  # noqa: S301 - our own bytes


def test_policy_shows_itself() -> None:
    """Roles, methods and the switch can be read and not be changed; the repr tells their size."""
    made = policy()
    assert {str(each): role for each, role in made.roles.items()} == ROLES
    assert {role: set(names) for role, names in METHODS.items()} == made.methods
    assert made.observe_only is False
    assert made.unmatched == ()
    assert repr(made) == (
        "RbacPolicy(identities=3, roles=['idler', 'keeper', 'looker'], unmatched=0, "
        "observe_only=False)"
    )
    with pytest.raises(TypeError):
        made.roles[SpiffeId.parse(STRANGERS[0])] = "keeper"  # type: ignore[index]  # likewise
    with pytest.raises(TypeError):
        made.methods["looker"] = frozenset(KNOWN)  # type: ignore[index]  # likewise
    with pytest.raises(AttributeError):
        made.observe_only = True  # type: ignore[misc]  # likewise


def test_what_it_was_made_of_may_change() -> None:
    """A policy keeps nothing of the objects that it was made of."""
    entries = [{"identity": GATE, "role": "looker"}]
    methods = {"looker": {"/barn.Hay/Look"}, "keeper": {"/barn.Hay/Stack"}}
    made = RbacPolicy.from_config({"roles": entries}, methods=methods)
    entries[0]["role"] = "keeper"
    methods["looker"].add("/barn.Hay/Stack")
    assert not made.decide(SpiffeId.parse(GATE), "/barn.Hay/Stack")
    assert made.decide(SpiffeId.parse(GATE), "/barn.Hay/Look")


def test_no_policy_without_rules() -> None:
    """A policy is only made of a configuration."""
    with pytest.raises(TypeError, match="from_config"):
        RbacPolicy()


@pytest.mark.parametrize("caller", [HUB, None, b"x", object(), "CN=hub"])
def test_caller_must_be_verified(caller: Any) -> None:
    """A text is no verified caller, even if it spells an entry."""
    with pytest.raises(SpiffeIdError, match="verified SpiffeId, not"):
        policy(observe_only=True).decide(caller, "/barn.Hay/Look")


@pytest.mark.parametrize("method", [None, b"/barn.Hay/Look", ["/barn.Hay/Look"], 1])
def test_method_must_be_text(method: Any) -> None:
    """Something else than a text is no method."""
    with pytest.raises(ConfigError, match="a method is a text"):
        policy(observe_only=True).decide(SpiffeId.parse(HUB), method)


# ---- the audit ---------------------------------------------------------------------------------

AUDIT = "serviceradar_security.audit"
CASES = [
    (HUB, "/barn.Hay/Stack", False, "allowed", logging.DEBUG),
    (GATE, "/barn.Hay/Stack", False, "denied", logging.WARNING),
    (GATE, "/barn.Hay/Burn", False, "denied", logging.WARNING),
    (STRANGERS[0], "/barn.Hay/Look", False, "denied", logging.WARNING),
    (HUB, "/barn.Hay/Stack", True, "allowed", logging.DEBUG),
    (GATE, "/barn.Hay/Stack", True, "would deny", logging.WARNING),
    (STRANGERS[0], "/barn.Hay/Look", True, "would deny", logging.WARNING),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[3]}-{case[0][-4:]}{case[1]}")
def test_one_event_for_each_decision(
    case: tuple[str, str, bool, str, int],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Each decision is one event with all its facts as fields, refusals as warnings."""
    identity, method, observe_only, word, level = case
    made = policy(observe_only=observe_only)
    with caplog.at_level(logging.DEBUG, AUDIT):
        decision = made.decide(SpiffeId.parse(identity), method)
    (record,) = [each for each in caplog.records if each.name == AUDIT]
    assert record.levelno == level
    assert record.getMessage() == f"{word} {method} for {identity}: {decision.reason}"
    fields = {
        "event": "rbac_decision",
        "spiffe_id": identity,
        "method": method,
        "role": ROLES.get(identity),
        "allowed": decision.allowed,
        "would_deny": decision.would_deny,
        "rule": decision.rule,
        "reason": decision.reason,
        "observe_only": observe_only,
    }
    assert fields == {name: record.__dict__[name] for name in fields}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[3]}-{case[0][-4:]}{case[1]}")
def test_default_level(
    case: tuple[str, str, bool, str, int],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A service that logs from INFO on sees refusals, and no record of each allowed call."""
    identity, method, observe_only, word, _ = case
    made = policy(observe_only=observe_only)
    with caplog.at_level(logging.INFO, AUDIT):
        made.decide(SpiffeId.parse(identity), method)
    assert len([each for each in caplog.records if each.name == AUDIT]) == (word != "allowed")


@pytest.mark.parametrize("method", NEAR_METHODS)
def test_event_is_one_line(method: str, caplog: pytest.LogCaptureFixture) -> None:
    """What a caller made up cannot break the lines of a log, nor fill it."""
    made = policy()
    with caplog.at_level(logging.DEBUG, AUDIT):
        made.decide(SpiffeId.parse(HUB), method + "x" * 5000)
    (record,) = [each for each in caplog.records if each.name == AUDIT]
    assert record.getMessage().isprintable()
    assert record.__dict__["method"].isprintable()
    assert len(record.getMessage()) < 400
