"""Real parts for tests and demos: SPIRE on Postgres, built and run on this machine.

Nothing here is a stand-in. `build` compiles SPIRE from ``tests/go/spire`` into a cache outside
the tree, `postgres` runs a private cluster, `spire` puts a server and an agent on top of it,
`spiffe_helper` writes an agent's SVIDs into files, and `workload` gives several Python processes
on one machine an identity each. `process` and `supervisor` see to it that nothing of all this
outlives the program that started it.

One whole use::

    from tests.realparts.spire import Spire

    with Spire(trust_domain="example.org", default_x509_svid_ttl=60) as spire:
        spire.create_entry(
            "spiffe://example.org/web", selectors=[f"unix:uid:{os.getuid()}"], wait=10
        )
        ...  # a workload asks spire.endpoint
"""
