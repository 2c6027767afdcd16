"""What the commands of the papers cost on a v5e:4x8: chip hours, from images a second that a plan says.

Plans are the compiler's estimates. One that `plan.py` wrote here is taken before what `tpu/PLANS.md` records.
"""

from dataclasses import dataclass
from pathlib import Path

from laminate.runs.paper.exhibit import Training
from laminate.storage.strict_json import read_json

TOPOLOGY, MESH, CHIPS = "v5e:4x8", "4x8", 32
RECORDS = "tpu/PLANS.md"

RECORDED: dict[str, float] = {
    "long-32-bl-128": 2342.0,
    "ditxl": 9128.0,
    "ditxl --draw": 887.0,
    "vit-xl": 814.0,
}
"""Images a second on v5e:4x8, mesh 4x8, as `tpu/PLANS.md` has them; of drawing with guidance at all times."""


@dataclass(frozen=True)
class Cost:
    """Of a command. `hours` are chip hours; None where no plan says."""

    steps: int
    images: int
    hours: float | None
    source: str

    def __str__(self) -> str:
        steps = f"{self.steps:,} steps, " if self.steps else ""
        if self.hours is None:
            return f"{steps}{self.images:,} images; {self.source}"
        wall = f"{self.hours / CHIPS:,.1f} h on {TOPOLOGY}"
        return f"{steps}{self.images:,} images, {self.hours:,.0f} chip hours ({wall}): {self.source}"


def cost_of(training: Training, plans: Path = Path("plans")) -> Cost:
    """Steps and chip hours of a training or a drawing. Raises ValueError for a plan.json that is damaged."""
    name = training.plan.removesuffix(" --draw")
    draws = training.plan != name
    file = plans / f"{name}-{TOPOLOGY.replace(':', '-')}-{MESH}" / "plan.json"
    of = "" if training.exact else f" of {training.plan}, whose networks are the same size,"
    if not draws and file.is_file():
        rate = read_json(file)["images_per_second"].number()
        source = f"{rate:,.0f} images/s{of} by {file}"
    elif training.plan in RECORDED:
        rate = RECORDED[training.plan]
        less = ", guided at all times" if draws else ""
        source = f"{rate:,.0f} images/s{of} by {RECORDS}{less}, estimated by the compiler"
    else:
        how = f"python experiments/plan.py --experiment {name} --topology {TOPOLOGY} --mesh {MESH}"
        return Cost(
            training.steps, training.images, None, f"not planned: {how}{' --draw' if draws else ''} says"
        )
    return Cost(training.steps, training.images, training.images / rate * CHIPS / 3600.0, source)
