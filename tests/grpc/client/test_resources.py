"""xDS messages: every cluster has its TLS context, its identity, its trust and a pattern."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serviceradar_security._proto import control_plane_pb2 as pb
from serviceradar_security.grpc.client.patterns import san_patterns
from serviceradar_security.grpc.client.resources import (
    CLUSTER,
    ENDPOINTS,
    LISTENER,
    Verification,
    build_cluster,
    build_endpoints,
    build_listener,
    resource_name,
)
from serviceradar_security.identity.authorizer import authorize_one_of
from serviceradar_security.identity.spiffe_id import SpiffeId, TrustDomain

NAMES = st.text("abc-.", min_size=1, max_size=8)
VERIFICATIONS = st.builds(
    Verification,
    identity=NAMES,
    trust=NAMES,
    patterns=st.lists(NAMES, min_size=1, max_size=3).map(tuple),
    server_name=st.text("abc.", max_size=8),
)


@given(NAMES, NAMES, VERIFICATIONS)
def test_a_cluster_never_weakens_the_check(
    name: str,
    endpoints: str,
    verification: Verification,
) -> None:
    """TLS with our identity, named trust and a non-empty list of patterns, all as given."""
    made = build_cluster(name, endpoints, verification)
    assert made.type_url == CLUSTER
    cluster = pb.Cluster.FromString(made.value)
    assert (cluster.name, cluster.type) == (name, 3)
    assert cluster.eds_cluster_config.service_name == endpoints
    assert cluster.eds_cluster_config.eds_config.HasField("self")
    assert cluster.transport_socket.name == "envoy.transport_sockets.tls"
    tls = pb.UpstreamTlsContext.FromString(cluster.transport_socket.typed_config.value)
    assert tls.sni == verification.server_name
    common = tls.common_tls_context
    assert common.tls_certificate_provider_instance.instance_name == verification.identity
    checks = common.validation_context
    assert checks.ca_certificate_provider_instance.instance_name == verification.trust
    patterns = [each.safe_regex.regex for each in checks.match_subject_alt_names]
    assert patterns == list(verification.patterns)
    assert all(patterns)
    assert cluster.circuit_breakers.thresholds[0].max_requests.value == 2**32 - 1
    (policy,) = cluster.load_balancing_policy.policies
    assert policy.typed_extension_config.name == "pick_first"


@pytest.mark.parametrize(
    "fault",
    [
        {"patterns": ()},
        {"patterns": ("",)},
        {"patterns": ("a", "")},
        {"identity": ""},
        {"trust": ""},
    ],
    ids=str,
)
def test_a_check_with_a_gap_cannot_be_built(fault: dict[str, Any]) -> None:
    """No pattern, an empty one, no identity or no trust is an error and not a cluster."""
    facts: dict[str, Any] = {"identity": "i", "trust": "t", "patterns": ("p",)}
    with pytest.raises(ValueError, match="a cluster needs"):
        Verification(**(facts | fault))


def test_the_pattern_in_a_cluster_is_escaped() -> None:
    """A dot of an ID is a dot in the pattern that core gets."""
    spiffe_id = SpiffeId.of(TrustDomain.parse("a.b"), "c.d")
    verification = Verification("i", "t", san_patterns(authorize_one_of([spiffe_id])))
    cluster = pb.Cluster.FromString(build_cluster("c", "e", verification).value)
    tls = pb.UpstreamTlsContext.FromString(cluster.transport_socket.typed_config.value)
    (matcher,) = tls.common_tls_context.validation_context.match_subject_alt_names
    assert re.fullmatch(matcher.safe_regex.regex, "spiffe://a.b/c.d")
    assert not re.fullmatch(matcher.safe_regex.regex, "spiffe://aXb/c.d")


def test_a_listener_leads_each_authority_to_its_cluster() -> None:
    """One virtual host for each authority, with one route for every method."""
    made = build_listener("all", {"core:1": "c1", "db:2": "c2"}, silent=["pin"])
    assert made.type_url == LISTENER
    listener = pb.Listener.FromString(made.value)
    manager = pb.HttpConnectionManager.FromString(listener.api_listener.api_listener.value)
    hosts = {each.domains[0]: each for each in manager.route_config.virtual_hosts}
    assert {name: [each.route.cluster for each in host.routes] for name, host in hosts.items()} == {
        "core:1": ["c1"],
        "db:2": ["c2"],
        "pin": [],
    }
    assert all(route.match.HasField("prefix") for host in hosts.values() for route in host.routes)
    assert [each.name for each in manager.http_filters] == ["router"]


@pytest.mark.parametrize("addresses", [[], [("10.0.0.1", 1)], [("::1", 1), ("10.0.0.1", 2)]])
def test_endpoints_are_addresses_in_order(addresses: list[tuple[str, int]]) -> None:
    """Each address is one endpoint; none at all is an empty assignment."""
    made = build_endpoints("e", addresses)
    assert made.type_url == ENDPOINTS
    assignment = pb.ClusterLoadAssignment.FromString(made.value)
    places = [
        each.endpoint.address.socket_address
        for locality in assignment.endpoints
        for each in locality.lb_endpoints
    ]
    assert [(each.address, each.port_value) for each in places] == addresses
    assert len(assignment.endpoints) == bool(addresses)


def test_names_have_our_authority() -> None:
    """Our resources do not meet those of the application."""
    assert resource_name(CLUSTER, "7") == (
        "xdstp://serviceradar-security/envoy.config.cluster.v3.Cluster/7"
    )
