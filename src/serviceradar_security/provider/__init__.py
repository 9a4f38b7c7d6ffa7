"""The provider: the one place where configuration, source, authorizers and adapters meet.

For: a service's whole security in one object. Stacks are imported on first use.

- `security`: what services hold.
- `modes`: what each mode of a security block makes of it.
- `tokens`: JWT-SVIDs.
"""

from serviceradar_security.provider.security import SecurityProvider

__all__ = ["SecurityProvider"]
