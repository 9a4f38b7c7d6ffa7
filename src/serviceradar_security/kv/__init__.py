"""KV: follows a document in the platform's key-value store, and hands it to the overlay gate.

For: one key of datasvc, over a channel that the caller gives, into a `ConfigWatch` that the caller
made (extra ``grpc``). Must not touch TLS, identity sources, authorizers or the provider: who
answers on the channel was decided where the channel was made. It merges nothing: every document
goes through `ConfigWatch`, and there is no second door.
"""

from __future__ import annotations

try:
    import grpc as _grpc  # noqa: F401 - only to say what is missing
except ImportError as _missing:
    raise ImportError(
        "serviceradar_security.kv needs grpcio: pip install 'serviceradar-security[grpc]'",
    ) from _missing

from serviceradar_security.kv.errors import KvError, KvTimeoutError
from serviceradar_security.kv.overlay import KV_CHANNEL_OPTIONS, KvOverlay
from serviceradar_security.kv.status import KvDocument, KvState, KvStatus

__all__ = [
    "KV_CHANNEL_OPTIONS",
    "KvDocument",
    "KvError",
    "KvOverlay",
    "KvState",
    "KvStatus",
    "KvTimeoutError",
]
