"""The xDS resources that make gRPC core dial with our identity and verify the server.

Facts in, messages out: no connections, no state. What is built here never weakens the check: a
cluster always has a TLS context, a client identity, named trust and at least one SAN pattern.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from serviceradar_security._proto import control_plane_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from google.protobuf.message import Message

    from serviceradar_security.grpc.client.targets import Address

__all__ = [
    "CLUSTER",
    "ENDPOINTS",
    "LISTENER",
    "XDS_AUTHORITY",
    "Verification",
    "build_cluster",
    "build_endpoints",
    "build_listener",
    "resource_name",
]

XDS_AUTHORITY: Final = "serviceradar-security"
"""The authority of our resources, which keeps them apart from those of the application."""
_ENVOY: Final = "type.googleapis.com/envoy."
LISTENER: Final = f"{_ENVOY}config.listener.v3.Listener"
CLUSTER: Final = f"{_ENVOY}config.cluster.v3.Cluster"
ENDPOINTS: Final = f"{_ENVOY}config.endpoint.v3.ClusterLoadAssignment"
_MANAGER: Final = (
    f"{_ENVOY}extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
)
_ROUTER: Final = f"{_ENVOY}extensions.filters.http.router.v3.Router"
_TLS: Final = f"{_ENVOY}extensions.transport_sockets.tls.v3.UpstreamTlsContext"
_PICK_FIRST: Final = f"{_ENVOY}extensions.load_balancing_policies.pick_first.v3.PickFirst"
_EDS: Final = 3
_UNLIMITED: Final = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Verification:
    """What a connection shows and whom it accepts.

    Attributes:
        identity: Name of the certificate provider with our key and chain.
        trust: Name of the certificate provider with the bundle map, or the roots.
        patterns: RE2 patterns of which a name of the server's certificate must match one.
        server_name: The name for SNI; empty to send none.
    """

    identity: str
    trust: str
    patterns: tuple[str, ...]
    server_name: str = ""

    def __post_init__(self) -> None:
        # Without a pattern core would accept every certificate that the trust covers.
        if not (self.identity and self.trust and self.patterns and all(self.patterns)):
            raise ValueError("a cluster needs an identity, named trust and a pattern")


def resource_name(type_url: str, name: str) -> str:
    """Give the full name of one of our resources."""
    return f"xdstp://{XDS_AUTHORITY}/{type_url.rpartition('/')[2]}/{name}"


def build_listener(
    name: str,
    clusters: Mapping[str, str],
    silent: Iterable[str] = (),
) -> pb.Any:
    """Build a listener that leads each authority to its cluster.

    Args:
        name: Full name of the listener.
        clusters: Full names of clusters, by the authority that calls carry.
        silent: Authorities that are known and lead nowhere.
    """
    hosts = [
        pb.VirtualHost(
            name=authority,
            domains=[authority],
            routes=[
                pb.Route(
                    match=pb.RouteMatch(prefix=""),
                    route=pb.RouteAction(cluster=cluster),
                ),
            ],
        )
        for authority, cluster in clusters.items()
    ]
    hosts += [pb.VirtualHost(name=authority, domains=[authority]) for authority in silent]
    manager = pb.HttpConnectionManager(
        route_config=pb.RouteConfiguration(name=name, virtual_hosts=hosts),
        http_filters=[pb.HttpFilter(name="router", typed_config=_any(_ROUTER))],
    )
    api = pb.ApiListener(api_listener=_any(_MANAGER, manager))
    return _any(LISTENER, pb.Listener(name=name, api_listener=api))


def build_cluster(name: str, endpoints: str, verification: Verification) -> pb.Any:
    """Build a cluster: one set of endpoints, dialled with one identity and one expectation.

    Addresses come from us (EDS), never from core's own DNS, and calls go to the first address
    that works, as on any channel.

    Args:
        name: Full name of the cluster.
        endpoints: Full name of the endpoints.
        verification: What the connections show and whom they accept.
    """
    tls = pb.UpstreamTlsContext(
        common_tls_context=_tls_context(verification),
        sni=verification.server_name,
    )
    eds = pb.EdsClusterConfig(
        service_name=endpoints,
        eds_config=pb.ConfigSource(self=pb.SelfConfigSource()),
    )
    pick_first = pb.TypedExtensionConfig(name="pick_first", typed_config=_any(_PICK_FIRST))
    # Core's own limit of 1024 calls in flight is for proxies, not for a channel.
    limits = pb.CircuitBreakers(
        thresholds=[pb.Thresholds(max_requests=pb.UInt32(value=_UNLIMITED))],
    )
    cluster = pb.Cluster(
        name=name,
        type=_EDS,
        eds_cluster_config=eds,
        circuit_breakers=limits,
        load_balancing_policy=pb.LoadBalancingPolicy(
            policies=[pb.Policy(typed_extension_config=pick_first)],
        ),
        transport_socket=pb.TransportSocket(
            name="envoy.transport_sockets.tls",
            typed_config=_any(_TLS, tls),
        ),
    )
    return _any(CLUSTER, cluster)


def build_endpoints(name: str, addresses: Iterable[Address]) -> pb.Any:
    """Build the endpoints of a target; none at all make calls fail at once.

    Args:
        name: Full name of the endpoints.
        addresses: IP literals and ports, in the order in which they are tried.
    """
    found = [
        pb.LbEndpoint(
            endpoint=pb.Endpoint(
                address=pb.Address(socket_address=pb.SocketAddress(address=ip, port_value=port)),
            ),
        )
        for ip, port in addresses
    ]
    locality = pb.LocalityLbEndpoints(
        locality=pb.Locality(region="all"),
        lb_endpoints=found,
        load_balancing_weight=pb.UInt32(value=1),
    )
    assignment = pb.ClusterLoadAssignment(cluster_name=name, endpoints=[locality] if found else [])
    return _any(ENDPOINTS, assignment)


def _tls_context(verification: Verification) -> pb.CommonTlsContext:
    matchers = [
        pb.StringMatcher(safe_regex=pb.RegexMatcher(regex=pattern))
        for pattern in verification.patterns
    ]
    return pb.CommonTlsContext(
        tls_certificate_provider_instance=pb.CertificateProviderInstance(
            instance_name=verification.identity,
        ),
        validation_context=pb.CertificateValidationContext(
            ca_certificate_provider_instance=pb.CertificateProviderInstance(
                instance_name=verification.trust,
            ),
            match_subject_alt_names=matchers,
        ),
    )


def _any(type_url: str, message: Message | None = None) -> pb.Any:
    value = message.SerializeToString(deterministic=True) if message is not None else b""
    return pb.Any(type_url=type_url, value=value)
