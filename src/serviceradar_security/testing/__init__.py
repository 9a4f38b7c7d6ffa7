"""Testing: an authority and a Workload API for the tests of services, on a real socket.

For: users' tests and our own. Must not touch the provider; pytest is used in the plugin alone.
"""

from serviceradar_security.testing.authority import FakeAuthority, IssuedCertificate
from serviceradar_security.testing.workload_api import FakeWorkloadApi

__all__ = ["FakeAuthority", "FakeWorkloadApi", "IssuedCertificate"]
