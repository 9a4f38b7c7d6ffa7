"""Workload: where identities come from, and the way to the Workload API.

For: endpoints, the stream, the state of the watch, and sources. Must not touch gRPC, TLS,
configuration or authorizers.
"""
