"""gRPC client channels that verify the server and follow a rotating identity.

For: `channel` and `aio_channel`, whose servers have SPIFFE IDs, and `host_channel` and
`host_aio_channel`, whose servers have host names. gRPC core does TLS, verification and reloading in
C; this package tells it how, as the xDS control plane of its own process. Must not touch sources,
configuration or other TLS stacks. One use goes through these modules, top to bottom:

- `targets`, `patterns`: what is dialled, and who may answer.
- `runtime`: made once per process: `bootstrap`, control plane, credentials, a pin.
- `plane`: the thread that owns all that changes: `routes`, `materials`, `resolver`.
- `trust`, `bundle_map`: what core is given to hold servers against.
- `resources`, `control_plane`: xDS messages, and the stream that serves them to core.
- `rotation`: when files are written, and when live connections must follow.
- `channel`, `host_channel`, `handles`: the objects that callers hold.
"""

from serviceradar_security.grpc.client.channel import aio_channel, channel
from serviceradar_security.grpc.client.host_channel import host_aio_channel, host_channel

__all__ = ["aio_channel", "channel", "host_aio_channel", "host_channel"]
