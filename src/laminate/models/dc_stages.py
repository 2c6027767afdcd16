"""What the encoder and the decoder of DC-AE have in common: the list of their stages (Chen et al. 2025)."""

from collections.abc import Sequence
from dataclasses import dataclass

from laminate.models.conv_blocks import MakeBlock
from laminate.nn import Remat, Stack
from laminate.types import RandomKey

Blocks = MakeBlock | Sequence[MakeBlock]
"""What makes a block of a width: one for all stages, or one for each of them."""


@dataclass(frozen=True)
class Stage:
    """`depth` blocks of one width."""

    width: int
    depth: int
    make: MakeBlock

    def blocks(self, remat: Remat, *, key: RandomKey) -> Stack:
        """The blocks, written out one after the other."""
        make = self.make
        return Stack(lambda key: make(self.width, key=key), self.depth, remat=remat, unroll=True, key=key)


def stages_of(widths: Sequence[int], depths: Sequence[int], blocks: Blocks) -> list[Stage | None]:
    """The stages from the finest to the coarsest; None for one of no blocks.

    Raises ValueError for lists of different lengths, and for no blocks at all.
    """
    makes = tuple(blocks) if isinstance(blocks, Sequence) else (blocks,) * len(widths)
    if not len(widths) == len(depths) == len(makes):
        raise ValueError(
            f"Stages have a width, a depth and a kind of block each, got {len(widths)} widths, {len(depths)} depths "
            f"and {len(makes)} kinds."
        )
    if not any(depths) or min(depths) < 0:
        raise ValueError(f"An autoencoder needs blocks in some stage, got depths {tuple(depths)}.")
    listed = zip(widths, depths, makes, strict=True)
    return [Stage(width, depth, make) if depth else None for width, depth, make in listed]


def require_width(wanted: int, got: int, stage: int) -> None:
    """Raises ValueError if a stage does not get the channels that it has."""
    if wanted != got:
        raise ValueError(
            f"Stage {stage} (from the finest) begins with {got} channels and has {wanted}: stages around one that is "
            "left out, or behind an up-sampling that keeps the width, have to be equally wide."
        )
