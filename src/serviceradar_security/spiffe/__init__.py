"""py-spiffe: its values and sources used here, ours used there, and JWT-SVIDs through its client.

For: applications that use the package ``spiffe`` (extra ``spiffe``), and everybody's JWT-SVIDs.
What comes from there passes our own strict checks again. Must not touch transports or
configuration.
"""

from __future__ import annotations

try:
    import spiffe as _spiffe  # noqa: F401 - only to say what is missing
except ImportError as _missing:
    raise ImportError(
        "serviceradar_security.spiffe needs spiffe: pip install 'serviceradar-security[spiffe]'",
    ) from _missing

from serviceradar_security.spiffe.convert import from_spiffe, to_spiffe
from serviceradar_security.spiffe.jwt import fetch_jwt_svid, validate_jwt_svid
from serviceradar_security.spiffe.jwt_svid import JwtSvid
from serviceradar_security.spiffe.source import SpiffeX509Source

__all__ = [
    "JwtSvid",
    "SpiffeX509Source",
    "fetch_jwt_svid",
    "from_spiffe",
    "to_spiffe",
    "validate_jwt_svid",
]
