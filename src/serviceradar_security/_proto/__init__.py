"""Generated messages, each file in a descriptor pool of its own.

The Workload API's proto has no package, so a second copy of it in protobuf's default pool (that of
another SPIFFE library in the same process, say) would collide. `make proto` writes these modules
from the ``.proto`` files beside them; `make check` compares.
"""
