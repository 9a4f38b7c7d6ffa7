"""Identity: SPIFFE IDs, bundles, SVIDs, the verdict on a peer, and authorizers.

For: bytes and a time in, a verdict out. Must not touch clocks, sockets, threads, TLS, gRPC or
configuration.
"""
