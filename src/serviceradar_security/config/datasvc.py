"""The methods of ServiceRadar's datasvc by role, as data for `RbacPolicy`.

Each role lists all that it may call; none inherits. What is in no role is denied to everybody.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DATASVC_METHODS"]

_READ: Final = (
    "/proto.KVService/Get",
    "/proto.KVService/BatchGet",
    "/proto.KVService/Watch",
    "/proto.KVService/Info",
    "/proto.DataService/GetObjectInfo",
    "/proto.DataService/DownloadObject",
    # The platform's own table lacks ListKeys. It is a reader's: it gives names of keys whose
    # values a reader may fetch, and most names can be told beforehand (config/NAME.json), so
    # that keeping the list back would protect nothing.
    "/proto.KVService/ListKeys",
    # Not in that table either. Whoever may use the service may ask whether it is well; the answer
    # is one word. A prober that has no role needs one of its own: see docs/roles.md.
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
)
_WRITE: Final = (
    "/proto.KVService/Put",
    "/proto.KVService/PutIfAbsent",
    "/proto.KVService/PutMany",
    "/proto.KVService/Update",
    "/proto.KVService/Delete",
    "/proto.DataService/UploadObject",
    "/proto.DataService/DeleteObject",
)
_INSPECT: Final = (
    # Not in that table either. Reflection describes every service of the process, also those that
    # a reader or writer is never let into, and no service needs it at run time: it is for people.
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    # The list of everything whose health is known is an inventory, as reflection is.
    "/grpc.health.v1.Health/List",
)
# NATSAccountService is left out on purpose: it knows its callers by an allow list of its own, so no
# role of this table reaches it.

DATASVC_METHODS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "reader": frozenset(_READ),
        "writer": frozenset((*_READ, *_WRITE)),
        # Helm files give core the role `admin`, of which the platform's table knows nothing: there
        # it would be denied everywhere. Here it is what a reader of those files expects.
        "admin": frozenset((*_READ, *_WRITE, *_INSPECT)),
    },
)
"""What ``reader``, ``writer`` and ``admin`` may call on datasvc, by full gRPC method names."""
