"""Configuration: documents in, checked security settings out.

For: reading a service's files strictly, putting their layers together, merging an overlay from
outside without letting it near a security block, and saying what a block means. Must not touch
connections, sources, TLS or gRPC; the environment only where the caller hands it over.
"""

from __future__ import annotations

from serviceradar_security.config.config_watch import ConfigWatch, ConfigWatchStatus
from serviceradar_security.config.configuration import Config
from serviceradar_security.config.datasvc import DATASVC_METHODS
from serviceradar_security.config.layers import Layer, LayerName, Origin
from serviceradar_security.config.load import load_config
from serviceradar_security.config.overlay import apply_overlay
from serviceradar_security.config.protected import PROTECTED_PATHS, ProtectedPath, ProtectedPaths
from serviceradar_security.config.rbac import Decision, RbacPolicy, UnmatchedEntry
from serviceradar_security.config.schema import security_block_schema
from serviceradar_security.config.security import SecurityConfig, TlsFiles
from serviceradar_security.config.strip import StrippedOverlay, strip_protected

__all__ = [
    "DATASVC_METHODS",
    "PROTECTED_PATHS",
    "Config",
    "ConfigWatch",
    "ConfigWatchStatus",
    "Decision",
    "Layer",
    "LayerName",
    "Origin",
    "ProtectedPath",
    "ProtectedPaths",
    "RbacPolicy",
    "SecurityConfig",
    "StrippedOverlay",
    "TlsFiles",
    "UnmatchedEntry",
    "apply_overlay",
    "load_config",
    "security_block_schema",
    "strip_protected",
]
