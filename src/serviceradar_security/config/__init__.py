"""Configuration: documents in, checked security settings out.

For: reading a service's JSON strictly, merging an overlay from outside without letting it near
a security block, and saying what a block means. Must not touch connections, sources, TLS, gRPC or
the environment: what it reads are the files it is given.
"""

from __future__ import annotations

from serviceradar_security.config.datasvc import DATASVC_METHODS
from serviceradar_security.config.load import Config, load_config
from serviceradar_security.config.overlay import apply_overlay
from serviceradar_security.config.rbac import Decision, RbacPolicy, UnmatchedEntry
from serviceradar_security.config.security import SecurityConfig, TlsFiles

__all__ = [
    "DATASVC_METHODS",
    "Config",
    "Decision",
    "RbacPolicy",
    "SecurityConfig",
    "TlsFiles",
    "UnmatchedEntry",
    "apply_overlay",
    "load_config",
]
