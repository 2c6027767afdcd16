"""Accelerators by name: how a slice is written, and what its makers say one chip can do.

Peak figures are the makers' own for bfloat16, per chip. `link` is what one link of the interconnect carries one way;
a chip has one such link in each direction of each axis of its torus. `network` is a chip's share of its host's
connection to other slices.
"""

import difflib
import re
from dataclasses import dataclass

GIB = 2**30


@dataclass(frozen=True)
class Chip:
    """One kind of chip. A v4 is compiled for its two cores as one device, a TPU7x has two devices per chip.

    `clock` is None where it is not published.
    """

    name: str
    axes: int
    peak_flops: float
    hbm_bytes: int
    hbm_bandwidth: float
    link: float
    network: float
    clock: float | None
    devices: int = 1
    compiled_as: str = ""

    def of_device(self, total: float) -> float:
        """A figure of the chip, shared among its devices."""
        return total / self.devices


CHIPS: dict[str, Chip] = {
    chip.name: chip
    for chip in (
        Chip("v4", 3, 275e12, 32 * GIB, 1.228e12, 50e9, 3.1e9, 1.05e9, compiled_as="megacore"),
        Chip("v5e", 2, 197e12, 16 * GIB, 0.819e12, 50e9, 3.1e9, 1.5e9),
        Chip("v5p", 3, 459e12, 95 * GIB, 2.765e12, 100e9, 6.25e9, 1.75e9),
        Chip("v6e", 2, 918e12, 32 * GIB, 1.64e12, 100e9, 12.5e9, 1.75e9),
        Chip("TPU7x", 3, 2307e12, 192 * GIB, 7.38e12, 100e9, 12.5e9, None, devices=2),
    )
}


@dataclass(frozen=True)
class Topology:
    """`slices` equal tori of one kind of chip."""

    chip: Chip
    sizes: tuple[int, ...]
    slices: int = 1

    @property
    def chips(self) -> int:
        count = self.slices
        for size in self.sizes:
            count *= size
        return count

    @property
    def layout(self) -> str:
        """One slice, as the compiler calls it."""
        return f"{self.chip.name}:{'x'.join(map(str, self.sizes))}"

    def __str__(self) -> str:
        return self.layout if self.slices == 1 else f"{self.slices}*{self.layout}"


def parse_topology(text: str, *, slices: int | None = None) -> Topology:
    """`v5e:4x8`, `v5p:4x4x4`; `2*v5e:4x8` for two slices, which `slices=2` says as well.

    Raises ValueError for what is no slice, with the known kinds and an example.
    """
    read = re.fullmatch(r"(?:([1-9]\d*)\*)?([A-Za-z0-9]+):([1-9]\d*(?:x[1-9]\d*)*)", text)
    if read is None:
        raise ValueError(
            f"--topology {text!r} is no slice: write KIND:SIZE such as v5e:4x8 or v5p:4x4x4, and 2*v5e:4x8 for two "
            f"slices. Kinds: {', '.join(CHIPS)}."
        )
    chip = next((chip for name, chip in CHIPS.items() if name.lower() == read[2].lower()), None)
    if chip is None:
        near = difflib.get_close_matches(read[2], CHIPS, 1, 0.0)
        raise ValueError(
            f"--topology {text!r}: unknown kind {read[2]!r}. Kinds: {', '.join(CHIPS)}; perhaps {near[0]}."
        )
    sizes = tuple(int(size) for size in read[3].split("x"))
    if len(sizes) != chip.axes:
        example = "4x8" if chip.axes == 2 else "4x4x4"
        raise ValueError(
            f"--topology {text!r}: a {chip.name} slice has {chip.axes} axes and {read[3]} has {len(sizes)}: "
            f"write {chip.name}:{example}."
        )
    if slices is not None and slices < 1:
        raise ValueError(f"--slices must be at least 1, got {slices}.")
    if slices is not None and read[1] is not None and slices != int(read[1]):
        raise ValueError(
            f"--topology {text!r} and --slices {slices} say different numbers of slices: give one."
        )
    return Topology(chip, sizes, slices or int(read[1] or 1))
