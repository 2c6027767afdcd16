"""The published weights that are known by a short name: where they lie, whose they are, under which licence.

Sizes are those of float32 copies, worked out from the configurations. No hash is written here that its owners do not
state: the first fetch notes the commit and the hashes of a name (`pins`), and every later use is compared with them.
"""

import difflib

from laminate.pretrained.families import FAMILIES
from laminate.pretrained.family import KnownWeights, PublishedNetwork

KNOWN: dict[str, KnownWeights] = {known.name: known for family in FAMILIES for known in family.weights}
NETWORKS: dict[str, PublishedNetwork] = {one.name: one for family in FAMILIES for one in family.networks}


def find(name: str) -> KnownWeights:
    """The known weights of that name. Raises ValueError with the nearest names."""
    if name not in KNOWN:
        near = difflib.get_close_matches(name, KNOWN, n=3, cutoff=0.5)
        hint = (
            f"did you mean {', '.join(near)}?" if near else "`python -m laminate.pretrained list` shows them."
        )
        raise ValueError(f"There are no known weights named {name!r}: {hint}")
    return KNOWN[name]
