"""Write the seeds anew: `python -m tests.fuzz.seeds`. The kinds stay, keys and signatures change.

The keys of the authorities live as long as this program. Those of the leaves are in the seeds.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from tests.fuzz.layout import CORPUS, KNOWN, SEPARATOR
from tests.fuzz.seed_certificates import Issued, certificates
from tests.fuzz.seed_documents import json_overlays, toml_overlays, yaml_overlays
from tests.fuzz.seed_kinds import bundles, chains, documents, identifiers, identities, messages

if TYPE_CHECKING:
    from collections.abc import Mapping


def main() -> None:
    """Replace the folders of seeds and of what is known of them."""
    made = certificates()
    _write_known(made)
    kinds: Mapping[str, Mapping[str, bytes]] = {
        "spiffe_id": identifiers(),
        "der_chain": chains(made),
        "bundle": bundles(made),
        "jwks": documents(made),
        "x509_svid": identities(made),
        "svid_response": messages(made),
        "overlay": json_overlays(),
        "toml": toml_overlays(),
        "yaml": yaml_overlays(),
    }
    shutil.rmtree(CORPUS, ignore_errors=True)
    for target, seeds in kinds.items():
        folder = CORPUS / target
        folder.mkdir(parents=True)
        for name, data in seeds.items():
            (folder / name).write_bytes(data)


def _write_known(made: Issued) -> None:
    KNOWN.mkdir(exist_ok=True)
    (KNOWN / "example.org.der").write_bytes(SEPARATOR.join(made.roots))
    (KNOWN / "partner.example.der").write_bytes(SEPARATOR.join(made.partner_roots))
    (KNOWN / "leaves.der").write_bytes(SEPARATOR.join(made.good_leaves))


if __name__ == "__main__":
    main()
