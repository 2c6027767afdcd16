"""What a table or a figure of a paper consists of: its figures as printed, and where ours of each come from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Figure = float | str
"""A number, or what stands in a table in place of one."""
FIGURE_ONLY = "in the plot alone"
"""In place of a value that a paper shows as a point of a curve, and states nowhere."""


@dataclass(frozen=True)
class Counted:
    """What follows from the recipes here, without any weights: FLOPs, parameters, settings."""

    value: Figure


@dataclass(frozen=True)
class Evaluated:
    """The `measure` in what `evaluate.py` leaves of the command called `command`."""

    command: str
    measure: str
    protocol: str = ""
    """The named protocol that the figure of the paper follows."""


@dataclass(frozen=True)
class Analysed:
    """What `take` finds in the numbers that `analyse.py` leaves of its question, for the tokenizer of a command, and
    for the one that is given. None where the numbers do not hold it."""

    take: Callable[[Mapping[str, Any]], Figure | None]
    command: str = ""


Ours = Counted | Evaluated | Analysed


@dataclass(frozen=True)
class Cell:
    """One figure: of which row, what it is, as the paper has it, and where ours comes from.

    `ours` is None where nothing here measures it, and `why` says so.
    """

    row: str
    quantity: str
    paper: Figure
    ours: Ours | None = None
    why: str = ""
    form: str = ".4g"
    """How a number of ours is written: with the digits that the paper prints."""


@dataclass(frozen=True)
class Training:
    """What a training costs: its steps, the images that they see, and the plan that says how many are seen a second.

    `exact` is whether that plan is of this very recipe; else it is of one with the same networks.
    """

    steps: int
    images: int
    plan: str
    exact: bool


@dataclass(frozen=True)
class Command:
    """A command that leads to figures of the paper's size, and what it needs. Those of an exhibit stand in order.

    `leaves` is the folder of its result, which is written as `{out}` in its text: in the run that it measures, or below
    `--results`, by `key`.
    """

    key: str
    text: str
    leaves: str = ""
    cost: Training | None = None


@dataclass(frozen=True)
class Question:
    """The question of `analyse.py` that an exhibit asks of a tokenizer, whatever it was trained on."""

    name: str


@dataclass(frozen=True)
class Beside:
    """The same measurement on the small runs of the package: the folder in which `evaluate.py` leaves its result, the
    command that does, and (measure, what it stands in for) in the order in which they are shown.

    Figures of the network in the package are comparable with nothing that is published.
    """

    kind: str
    """tokenizer or generator: whose folder it lies in."""
    what: str
    command: str
    measures: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Exhibit:
    """A table or a figure. `shows` is one line; `needs` is what its commands need beside what is in the package."""

    name: str
    """As on the command line, such as table7."""
    work: str
    """Paper or README that it is of."""
    shows: str
    cells: tuple[Cell, ...] = ()
    commands: tuple[Command, ...] = ()
    needs: tuple[str, ...] = ()
    question: Question | None = None
    beside: Beside | None = None
    notes: tuple[str, ...] = ()
    bars: tuple[str, str] | None = None
    """(quantity, unit) of the cells that the picture shows, counted here."""

    @property
    def title(self) -> str:
        """As the paper calls it: Table 7."""
        kind = self.name.rstrip("0123456789")
        number = self.name.removeprefix(kind)
        return f"{kind.capitalize()} {number}" if number else self.name

    @property
    def counted(self) -> bool:
        """Whether some of it follows from the recipes."""
        return any(isinstance(cell.ours, Counted) for cell in self.cells)

    @property
    def computed(self) -> str:
        """What of it can be computed here, in a few words."""
        found: list[str] = []
        if self.counted:
            left = any(not isinstance(cell.ours, Counted) for cell in self.cells)
            found.append("partly counted here" if left else "counted here")
        if self.question is not None:
            found.append(f"analysed here ({self.question.name})")
        if self.beside is not None:
            found.append(f"in small after evaluate.py {self.beside.what}")
        if self.commands:
            found.append(f"the paper's: {len(self.commands)} command{'s' * (len(self.commands) > 1)}")
        return "; ".join(found) or "nothing here computes it"

    @property
    def command(self) -> str:
        """The command that prints it."""
        return f"python experiments/paper.py {self.name}"
