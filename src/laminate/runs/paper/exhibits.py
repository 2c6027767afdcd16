"""Every table and figure of the papers, in their order, by name."""

import difflib

from laminate.runs.paper.exhibit import Exhibit
from laminate.runs.paper.figures import FIGURES
from laminate.runs.paper.flops import FIGURE
from laminate.runs.paper.flops import TABLES as FLOP_TABLES
from laminate.runs.paper.readmes import README_TABLES
from laminate.runs.paper.tables import LAST, TABLES

EXHIBITS: dict[str, Exhibit] = {
    one.name: one for one in (*TABLES, *FLOP_TABLES, *LAST, FIGURE, *FIGURES, *README_TABLES)
}


def exhibit(name: str) -> Exhibit:
    """The exhibit of that name. Raises ValueError with the nearest names."""
    if name in EXHIBITS:
        return EXHIBITS[name]
    near = difflib.get_close_matches(name.lower(), EXHIBITS, n=3, cutoff=0.0)
    raise ValueError(
        f"There is no {name!r}: did you mean {' or '.join(near)}? `paper.py list` has all of them."
    )
