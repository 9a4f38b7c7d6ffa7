"""The rbac block and the table of methods: what is read, and every way in which it cannot be."""

from __future__ import annotations

import logging
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serviceradar_security.config.load import Config
from serviceradar_security.config.rbac import RbacPolicy
from serviceradar_security.errors import ConfigError
from serviceradar_security.identity.spiffe_id import SpiffeId, TrustDomain
from tests.config.documents import patient

CANARY = "canary-do-not-show"
CONFIG_LOG = "serviceradar_security.config"
HUB = "spiffe://meadow.example/ns/field/sa/hub"
GATE = "spiffe://meadow.example/ns/field/sa/gate"
METHODS = {"looker": ["/barn.Hay/Look"], "keeper": ["/barn.Hay/Look", "/barn.Hay/Stack"]}


def entry(identity: Any = HUB, role: Any = "looker", **more: Any) -> dict[str, Any]:
    """Give an entry of a role list."""
    return {"identity": identity, "role": role, **more}


def read(*entries: Any, **options: Any) -> RbacPolicy:
    """Make a policy of these entries."""
    return RbacPolicy.from_config({"roles": list(entries)}, methods=METHODS, **options)


def problems(block: Any, methods: Any = METHODS, **options: Any) -> list[tuple[str, str]]:
    """Read what cannot be used, and give its problems."""
    with pytest.raises(ConfigError) as caught:
        RbacPolicy.from_config(block, methods=methods, **options)
    assert str(caught.value).isprintable()
    assert CANARY not in str(caught.value)
    return [(problem.path, problem.text) for problem in caught.value.problems]


# ---- the block ---------------------------------------------------------------------------------


def test_order_and_shapes() -> None:
    """A plain mapping, a read-only one and a loaded document give the same roles."""
    block = {"roles": [entry(), entry(GATE, "keeper")]}
    expected = {SpiffeId.parse(HUB): "looker", SpiffeId.parse(GATE): "keeper"}
    loaded = Config({"rbac": block}).document["rbac"]
    for given_block in (block, MappingProxyType(block), loaded, {"roles": tuple(block["roles"])}):
        assert expected == RbacPolicy.from_config(given_block, methods=METHODS).roles


@pytest.mark.parametrize(
    ("block", "path", "words"),
    [
        (None, "rbac", "is null, but an rbac block is an object"),
        ([], "rbac", "is a list"),
        ("roles", "rbac", "is a text"),
        (1, "rbac", "is a number"),
        (b"x", "rbac", "is of type bytes"),
        ({}, "rbac.roles", "missing"),
        ({"roles": None}, "rbac.roles", "is null, but must be a list"),
        ({"roles": {}}, "rbac.roles", "is an object, but must be a list"),
        ({"roles": "x"}, "rbac.roles", "is a text, but must be a list"),
        ({"roles": 1}, "rbac.roles", "is a number, but must be a list"),
        ({"roles": {CANARY}}, "rbac.roles", "is of type set"),
        ({"roles": [None]}, "rbac.roles[0]", "is null, but must be an object"),
        ({"roles": [[]]}, "rbac.roles[0]", "is a list, but must be an object"),
        ({"roles": [HUB]}, "rbac.roles[0]", "is a text, but must be an object"),
        ({"roles": [True]}, "rbac.roles[0]", "is a boolean, but must be an object"),
        ({"roles": [object()]}, "rbac.roles[0]", "is of type object"),
        ({"Roles": [], "roles": []}, "rbac.Roles", 'is read as "roles" by Go'),
        ({"role\u017f": [], "roles": []}, "rbac.role\u017f", 'is read as "roles" by Go'),
        ({"roles": [entry(Role="keeper")]}, "rbac.roles[0].Role", 'is read as "role" by Go'),
        ({"roles": [entry(IDENTITY=GATE)]}, "rbac.roles[0].IDENTITY", 'is read as "identity"'),
    ],
)
def test_wrong_shape(block: Any, path: str, words: str) -> None:
    """A wrong shape is one problem that names the place, the kind and the remedy."""
    ((where, text),) = problems(block)
    assert where == path
    assert words in text


@pytest.mark.parametrize("name", ["identity", "role"])
@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "is null, but must be a text"),
        (1, "is a number, but must be a text"),
        (True, "is a boolean, but must be a text"),
        ([HUB], "is a list, but must be a text"),
        ({CANARY: 1}, "is an object, but must be a text"),
        (b"x", "is of type bytes"),
        ("", "missing"),
        (..., "missing"),
        ("$(NAME)", "unresolved placeholder '$(NAME)'"),
        ("{{NAME}}", "unresolved placeholder '{{NAME}}'"),
        ("PLACEHOLDER_NAME", "unresolved placeholder"),
        ("x\ny", "control character"),
        ("x\0", "control character"),
    ],
)
def test_wrong_member(name: str, value: Any, words: str) -> None:
    """Identity and role are texts, written out."""
    made = entry()
    if value is ...:
        del made[name]
    else:
        made[name] = value
    ((path, text),) = problems({"roles": [entry(GATE), made]})
    assert path == f"rbac.roles[1].{name}"
    assert words in text


@pytest.mark.parametrize("role", ["admin", "Looker", "looker ", " looker", "looker,keeper", "*"])
@pytest.mark.parametrize("identity", [HUB, "CN=hub,O=Meadow"])
def test_unknown_role(identity: str, role: str) -> None:
    """A role that the table does not have is an error, for entries that never match as well."""
    ((path, text),) = problems({"roles": [entry(identity, role)]})
    assert path == "rbac.roles[0].role"
    assert text == f'unknown role {role!r}: the roles are "looker", "keeper"'


@pytest.mark.parametrize(
    ("identity", "words"),
    [
        ("spiffe://Meadow.example/hub", "is no SPIFFE ID: "),
        ("SPIFFE://meadow.example/hub", "is no SPIFFE ID: "),
        ("https://meadow.example/hub", "is no SPIFFE ID: "),
        ("spiffe:/meadow.example/hub", "is no SPIFFE ID: "),
        ("spiffe:meadow.example", "is no SPIFFE ID: "),
        ("spiffe://meadow.example/hub/", "is no SPIFFE ID: "),
        ("spiffe://meadow.example//hub", "is no SPIFFE ID: "),
        ("spiffe://meadow.example/../hub", "is no SPIFFE ID: "),
        ("spiffe://meadow.example/hub?x=y", "is no SPIFFE ID: "),
        ("spiffe://meadow.example/h\u00fcb", "is no SPIFFE ID: "),
        (" spiffe://meadow.example/hub", "is no SPIFFE ID: "),
        ("spiffe://meadow.example/hub ", "is no SPIFFE ID: "),
        ("meadow.example/ns/field/sa/hub", "is no SPIFFE ID: "),
        ("/ns/field/sa/hub", "is no SPIFFE ID: "),
        ("spiffe://meadow.example", "is a trust domain, no workload, and wildcards"),
        ("spiffe://meadow.example/", "is no SPIFFE ID: "),
        ("*", "has a wildcard, and wildcards are not supported"),
        ("spiffe://meadow.example/*", "has a wildcard, and wildcards are not supported"),
        ("spiffe://*/ns/field/sa/hub", "has a wildcard, and wildcards are not supported"),
        ("CN=*.meadow.example", "has a wildcard, and wildcards are not supported"),
        ("*.meadow.example", "has a wildcard, and wildcards are not supported"),
    ],
)
def test_meant_as_a_spiffe_id(identity: str, words: str) -> None:
    """What was meant to be a SPIFFE ID, and is none, is an error and not an entry that sleeps."""
    ((path, text),) = problems({"roles": [entry(identity)]})
    assert path == "rbac.roles[0].identity"
    assert words in text


@pytest.mark.parametrize(("first", "second"), [("looker", "keeper"), ("keeper", "looker")])
def test_two_roles(first: str, second: str) -> None:
    """Two roles for one identity are an error that names both entries: no entry goes first."""
    block = {"roles": [entry(HUB, first), entry(GATE), entry(HUB, second)]}
    ((path, text),) = problems(block)
    assert path == "rbac.roles[2].identity"
    assert f'"{second}" here and "{first}" in rbac.roles[0]' in text


def test_all_problems_at_once() -> None:
    """Everything that is wrong is listed, of the table and of the block, each at its place."""
    block = {
        "roles": [
            entry("spiffe://A/x", "boss"),
            entry(HUB, "looker"),
            entry(HUB, "keeper"),
            7,
            {"role": "looker"},
            entry(GATE, 3),
        ],
        "ROLES": [],
    }
    methods = {**METHODS, "l\u00fc": [], "x": "text"}
    assert [path for path, _ in problems(block, methods, path="a.b")] == [
        "methods",
        "methods.x",
        "a.b.ROLES",
        "a.b.roles[0].role",
        "a.b.roles[0].identity",
        "a.b.roles[2].identity",
        "a.b.roles[3]",
        "a.b.roles[4].identity",
        "a.b.roles[5].role",
    ]


def test_no_value_in_a_message(caplog: pytest.LogCaptureFixture) -> None:
    """A value that stands where none belongs is in no message and no log record."""
    block = {
        "password": CANARY,
        "roles": [
            entry(password=CANARY),
            entry([CANARY], {"x": CANARY}),
            CANARY,
            {"key": CANARY, "identity": 5},
        ],
    }
    for methods in (METHODS, {"looker": CANARY}, {"looker": {CANARY: 1}}, CANARY):
        problems(block, methods)
    RbacPolicy.from_config({"roles": [entry(password=CANARY)], "key": CANARY}, methods=METHODS)
    assert caplog.records
    assert not any(CANARY in repr(record.__dict__) for record in caplog.records)


# ---- what is only worth a warning --------------------------------------------------------------


@pytest.mark.parametrize(
    ("block", "event", "paths"),
    [
        (
            {"roles": [entry(note="x")], "default": "looker"},
            "rbac_members_ignored",
            ("rbac.default", "rbac.roles[0].note"),
        ),
        ({"roles": [entry(), entry()]}, "rbac_entries_repeated", ("rbac.roles[1]",)),
        (
            {"roles": [entry(), entry("CN=hub"), entry("hub")]},
            "rbac_entries_unmatched",
            ("rbac.roles[1].identity", "rbac.roles[2].identity"),
        ),
        ({"roles": []}, "rbac_denies_everybody", ("rbac",)),
    ],
)
def test_warnings(
    block: dict[str, object],
    event: str,
    paths: tuple[str, ...],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What may be a mistake, and opens nothing, is one warning with its places."""
    RbacPolicy.from_config(block, methods=METHODS)
    (record,) = [each for each in caplog.records if each.name == CONFIG_LOG]
    assert record.levelno == logging.WARNING
    assert record.__dict__["event"] == event
    assert record.__dict__["paths"] == paths
    assert record.getMessage().isprintable()


def test_quiet_when_all_is_well(caplog: pytest.LogCaptureFixture) -> None:
    """A clean block logs nothing."""
    with caplog.at_level(logging.DEBUG):
        read(entry(), entry(GATE, "keeper"))
    assert caplog.records == []


@pytest.mark.parametrize(
    ("observe_only", "words"),
    [(False, "every call is denied"), (True, "every call would be denied")],
)
def test_denies_everybody(
    observe_only: bool,
    words: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A list that gives nobody a role says what comes of it."""
    read(observe_only=observe_only)
    assert words in caplog.text


def test_many_warnings_are_short(caplog: pytest.LogCaptureFixture) -> None:
    """A list of thousands of entries that never match is counted, and named in part."""
    made = read(*(entry(f"CN=hub-{index}") for index in range(5000)))
    assert len(made.unmatched) == 5000
    record = next(each for each in caplog.records if "never match" in each.getMessage())
    assert "5000 entries" in record.getMessage()
    assert len(record.__dict__["paths"]) == 20
    assert len(record.getMessage()) < 4000


# ---- methods and options -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["/barn.Hay/Look", "/Hay/Look", "/a.b.c.D/E", "/_a._B/_c", "/grpc.health.v1.Health/Check"],
)
@pytest.mark.parametrize("container", [list, tuple, set, frozenset, iter, dict.fromkeys])
def test_method_names(name: str, container: Any) -> None:
    """Full names are taken from any collection but a mapping."""
    block = {"roles": [entry()]}
    methods = {"looker": container([name])}
    if container == dict.fromkeys:
        assert problems(block, methods)[0][0] == "methods.looker"
        return
    made = RbacPolicy.from_config(block, methods=methods)
    assert made.decide(SpiffeId.parse(HUB), name).allowed


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/",
        "Look",
        "barn.Hay/Look",
        "barn.Hay.Look",
        "/barn.Hay",
        "/barn.Hay/",
        "//barn.Hay/Look",
        "/barn.Hay//Look",
        "/barn..Hay/Look",
        "/.Hay/Look",
        "/barn.Hay./Look",
        "/barn.Hay/Look/",
        "/barn.Hay/Look\n",
        " /barn.Hay/Look",
        "/barn.Hay/Lo ok",
        "/barn.Hay/Lo-ok",
        "/barn.Hay/1Look",
        "/barn.Hay/L\u00f6k",
        "/barn.Hay/\u0661x",
        "/barn.Hay/*",
        "/barn.*/Look",
        "/*",
        "*",
        "https://hub/barn.Hay/Look",
    ],
)
def test_bad_method_name(name: str) -> None:
    """Something else than a full name is refused, wildcards by their name."""
    ((path, text),) = problems({"roles": []}, {"looker": ["/barn.Hay/Look", name]})
    assert path == "methods.looker"
    assert "is no full method name" in text
    assert ("wildcards are not supported" in text) is ("*" in name)


@pytest.mark.parametrize(
    ("methods", "path", "words"),
    [
        (None, "methods", "is null, but must be a mapping"),
        ([], "methods", "is a list, but must be a mapping"),
        ("x", "methods", "is a text, but must be a mapping"),
        ({}, "methods", "names no role"),
        ({"": []}, "methods", "has the role ''"),
        ({"*": []}, "methods", "has the role '*'"),
        ({"a b": []}, "methods", "has the role 'a b'"),
        ({"a\n": []}, "methods", "has the role 'a\\n'"),
        ({"-a": []}, "methods", "has the role '-a'"),
        ({"a" * 65: []}, "methods", "has the role"),
        ({1: []}, "methods", "has the role a number"),
        ({None: []}, "methods", "has the role null"),
        ({"a": None}, "methods.a", "is null, but must be a list"),
        ({"a": "/barn.Hay/Look"}, "methods.a", "is a text, but must be a list"),
        ({"a": b"x"}, "methods.a", "is of type bytes, but must be a list"),
        ({"a": {}}, "methods.a", "is an object, but must be a list"),
        ({"a": 1}, "methods.a", "is a number, but must be a list"),
        ({"a": [None]}, "methods.a", "has an item that is null"),
        ({"a": [b"/barn.Hay/Look"]}, "methods.a", "has an item that is of type bytes"),
        ({"a": [["/barn.Hay/Look"]]}, "methods.a", "has an item that is a list"),
    ],
)
def test_wrong_methods(methods: Any, path: str, words: str) -> None:
    """A table of the wrong shape is one problem that names role and kind."""
    ((where, text),) = problems({"roles": []}, methods)
    assert where == path
    assert words in text


@pytest.mark.parametrize("value", [None, 0, 1, "", "false", "true", []])
def test_observe_only_is_a_boolean(value: Any) -> None:
    """A text or number does not switch refusals off."""
    ((_, text),) = problems({"roles": []}, observe_only=value)
    assert text.startswith("observe_only is ")


@pytest.mark.parametrize("value", ["meadow.example", SpiffeId.parse(HUB), 1])
def test_trust_domain_is_one(value: Any) -> None:
    """The trust domain for advice is a `TrustDomain`."""
    ((_, text),) = problems({"roles": []}, trust_domain=value)
    assert "use TrustDomain.parse" in text


# ---- entries that never match ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("identity", "what"),
    [
        ("CN=hub", "a certificate's subject"),
        ("CN=hub.meadow.example,O=Meadow", "a certificate's subject"),
        ("CN=hub,OU=Kubernetes,O=Meadow,L=Hill Top,ST=CA,C=US", "a certificate's subject"),
        ("/C=US/O=Meadow/CN=hub", "a certificate's subject"),
        ("cn=h\u00fcb", "a certificate's subject"),
        ("CN=" + "x" * 5000, "a certificate's subject"),
        ("hub", "a plain name"),
        ("hub.meadow.example", "a plain name"),
        ("hub@meadow.example", "a plain name"),
    ],
)
def test_unmatched(identity: str, what: str) -> None:
    """A CN, a subject or a plain name is reported with its place, and gives nobody its role."""
    made = read(entry(), entry(identity, "keeper"), path="datasvc.rbac")
    (found,) = made.unmatched
    assert found.path == "datasvc.rbac.roles[1].identity"
    assert (found.identity, found.role, found.spiffe_id) == (identity, "keeper", None)
    assert f"is {what}, no SPIFFE ID, and never matches: write the SPIFFE ID of" in found.text
    assert '"spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT" in Kubernetes' in found.text
    assert str(found) == f"{found.path}: {found.text}"
    assert str(found).isprintable()
    assert len(found.text) < 400
    assert {SpiffeId.parse(HUB): "looker"} == made.roles


KUBERNETES = "spiffe://meadow.example/ns/field/sa/serviceradar-{}"
COMPOSE = "spiffe://meadow.example/services/{}"


@pytest.mark.parametrize(
    ("identity", "beside", "derived"),
    [
        # Kubernetes: the CN is the service account; namespace and domain are the neighbours'.
        ("CN=serviceradar-zen", [KUBERNETES.format("core")], KUBERNETES.format("zen")),
        ("serviceradar-zen", [KUBERNETES.format("core")], KUBERNETES.format("zen")),
        ("CN=serviceradar-zen,OU=K,O=X", [KUBERNETES.format("core")], KUBERNETES.format("zen")),
        ("O=X, cn = serviceradar-zen", [HUB, GATE], KUBERNETES.format("zen")),
        ("CN=serviceradar-zen", [HUB, COMPOSE.format("core")], KUBERNETES.format("zen")),
        ("CN=serviceradar-zen", [], None),
        ("CN=serviceradar-zen", [COMPOSE.format("core")], None),
        ("CN=serviceradar-zen", [HUB, "spiffe://meadow.example/ns/hill/sa/hub"], None),
        ("CN=serviceradar-zen", [HUB, "spiffe://orchard.example/ns/field/sa/hub"], None),
        ("CN=serviceradar-zen", ["spiffe://meadow.example/ns/field/hub"], None),
        ("CN=serviceradar-debug-client", [HUB], None),
        ("CN=serviceradar-", [HUB], None),
        ("CN=zen", [HUB], None),
        # Compose: the CN is NAME.serviceradar.
        ("CN=zen.serviceradar,O=ServiceRadar", [COMPOSE.format("core")], COMPOSE.format("zen")),
        ("zen.serviceradar", [COMPOSE.format("core")], COMPOSE.format("zen")),
        ("zen.serviceradar", [HUB, COMPOSE.format("core")], COMPOSE.format("zen")),
        ("zen.serviceradar", [], "spiffe://carverauto.dev/services/zen"),
        ("zen.serviceradar", [HUB], None),
        ("zen.serviceradar", [COMPOSE.format("a"), "spiffe://orchard.example/services/a"], None),
        ("web.serviceradar", [COMPOSE.format("core")], None),
        ("agent-gateway.serviceradar", [], None),
        (".serviceradar", [], None),
        # Of two CNs, or of a value with escapes, nobody knows which one was meant.
        ("CN=zen.serviceradar,CN=core.serviceradar", [], None),
        ("CN=zen.serviceradar\\,O=X", [], None),
        ('CN="zen.serviceradar"', [], None),
        ("CN=zen.serviceradar+UID=1", [], None),
        ("O=x\\,CN=zen.serviceradar,C=US", [], None),
        ("OU=zen.serviceradar", [], None),
        ("XCN=zen.serviceradar", [], None),
        ("/O=X/CN=zen.serviceradar", [], None),
    ],
)
def test_the_id_that_would_match(identity: str, beside: list[str], derived: str | None) -> None:
    """The SPIFFE ID is told where the platform's naming and the neighbours leave one answer."""
    made = read(entry(identity), *(entry(each) for each in beside))
    (found,) = made.unmatched
    assert found.spiffe_id == (None if derived is None else SpiffeId.parse(derived))
    assert (derived or "write the SPIFFE ID of that workload") in found.text
    # It is told, and given no role.
    assert made.roles.keys() == {SpiffeId.parse(each) for each in beside}


@pytest.mark.parametrize(
    ("trust_domain", "beside", "derived"),
    [
        ("orchard.example", [], "spiffe://orchard.example/services/zen"),
        ("orchard.example", [COMPOSE.format("core")], COMPOSE.format("zen")),
        ("orchard.example", [HUB], None),
    ],
)
def test_trust_domain_for_advice(
    trust_domain: str,
    beside: list[str],
    derived: str | None,
) -> None:
    """The trust domain that was given completes the advice where the list shows none."""
    entries = [entry(each) for each in beside]
    made = read(entry("zen.serviceradar"), *entries, trust_domain=TrustDomain.parse(trust_domain))
    assert made.unmatched[0].spiffe_id == (None if derived is None else SpiffeId.parse(derived))


@pytest.mark.parametrize(
    ("role", "words"),
    [
        ("looker", "is in rbac.roles[1] with the same role: remove this entry"),
        ("keeper", 'is in rbac.roles[1] with the role "looker": correct that entry if need be'),
    ],
)
def test_the_id_is_there_already(role: str, words: str) -> None:
    """If the SPIFFE ID has an entry, the report says where and with which role."""
    made = read(entry("CN=serviceradar-zen", role), entry(KUBERNETES.format("zen")))
    assert words in made.unmatched[0].text


# ---- anything at all ---------------------------------------------------------------------------

values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.text(max_size=12),
        st.sampled_from(["looker", "keeper", HUB, GATE, "CN=hub", "hub.serviceradar", "*"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.sampled_from(["roles", "identity", "role", "Role", "x"]), inner, max_size=3
        ),
    ),
    max_leaves=12,
)
usable_entries = st.fixed_dictionaries(
    {
        "identity": st.one_of(
            st.sampled_from([HUB, GATE, "CN=hub", "hub"]),
            st.from_regex(r"spiffe://[a-z.]{1,9}(/[A-Za-z0-9_]{1,9}){1,3}", fullmatch=True),
        ),
        "role": st.sampled_from(["looker", "keeper"]),
    },
)
entries_of_all_sorts = st.one_of(
    values,
    usable_entries,
    st.fixed_dictionaries({"identity": values, "role": values}),
)
lists_of_entries = st.one_of(st.lists(usable_entries), st.lists(entries_of_all_sorts))


@patient
@given(st.one_of(values, st.fixed_dictionaries({"roles": lists_of_entries})))
def test_anything(block: Any) -> None:
    """Whatever stands there gives a policy or our error, and a policy has only what was written."""
    try:
        made = RbacPolicy.from_config(block, methods=METHODS)
    except ConfigError:
        assert problems(block)
        return
    written = {(each["identity"], each["role"]) for each in block["roles"]}
    granted = {(str(spiffe_id), role) for spiffe_id, role in made.roles.items()}
    sleeping = {(each.identity, each.role) for each in made.unmatched}
    assert granted | sleeping == written
    assert not granted & sleeping
