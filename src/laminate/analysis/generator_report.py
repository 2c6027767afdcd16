"""What a generator leaves in its run folder: samples as it trains, then weights, pictures and the report."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from etils import epath
from jaxtyping import Int

from laminate.analysis.curves import Panel, finite_values, loss_curves, read_metrics
from laminate.analysis.figures import sample_grid
from laminate.analysis.report import REPORT_FILE, Picture, RunReport
from laminate.analysis.sample_check import SampleCheck, check_figures, check_json, check_tables
from laminate.analysis.sampling import NotFiniteError, Sampler, SamplerParams
from laminate.parallel.feeding import whole
from laminate.parallel.hosts import is_first
from laminate.storage.writing import make_folder, write_atomically, write_bytes
from laminate.train.export import GENERATOR

COLUMNS = 6
ROWS = 10
SHOWN = 4  # grids from the training that the report shows, beside the last
GRIDS = "samples"
CHECK_FILE = "check.json"
_GRID = re.compile(r"[0-9]{8,}\.png")  # other files in the folder, such as .DS_Store, are not ours
PANELS = (
    Panel("Flow matching loss", (("train/loss", "training"), ("val/loss", "validation"))),
    Panel("Norm of the gradient", (("train/grad_norm", "training"),)),
)


class SampleGrids:
    """`samples/00000100.png` and so on: the same noises and classes, drawn from the averaged weights.

    All hosts draw, the first one writes. Without a teacher that can show its features nothing is drawn.
    """

    def __init__(self, folder: epath.Path, sampler: Sampler, params: SamplerParams, classes: Sequence[str]):
        self._folder = folder
        self.sampler, self.params, self.classes = sampler, params, tuple(classes)
        self.labels, self._names = shown_labels(sampler.flow.classes, classes)
        self._last: tuple[int, bytes | None] | None = None

    def __call__(self, network: Any, step: int) -> None:
        """Draw and write the grid of a step."""
        drawn = self._drawn(network)
        self._last = step, drawn
        self._write(drawn, self._folder / GRIDS / f"{step:08d}.png")

    def finish(self, network: Any, step: int, path: epath.Path) -> epath.Path | None:
        """Write the grid of `network` after `step`, drawn anew unless it was the last; its file, None if nothing can be
        shown."""
        drawn = self._drawn(network) if self._last is None or self._last[0] != step else self._last[1]
        return self._write(drawn, path)

    def _drawn(self, network: Any) -> bytes | None:
        if not self.sampler.draws_images:
            return None
        try:
            batches = list(self.sampler.draw(self.labels, self.params, network=network))
        except NotFiniteError:  # the next step says what diverged
            return None
        images = np.concatenate([batch.images for batch in batches if batch.images is not None])
        return sample_grid(images, columns=COLUMNS, rows=self._names)

    def _write(self, drawn: bytes | None, path: epath.Path) -> epath.Path | None:
        if drawn is None:
            return None
        if is_first():
            make_folder(path.parent)
            write_bytes(path, drawn)
        return path


def shown_labels(classes: int, names: Sequence[str]) -> tuple[Int[np.ndarray, " samples"], tuple[str, ...]]:
    """A row of one class each, of classes spread over all; one of no class where there are none."""
    if not classes:
        return np.full(COLUMNS * ROWS, -1, np.int32), ("",) * ROWS
    chosen = np.unique(np.linspace(0, classes - 1, min(classes, ROWS)).astype(np.int32))
    rows = tuple(names[int(label)] if label < len(names) else str(label) for label in chosen)
    return np.repeat(chosen, COLUMNS), rows


def write_generator_report(
    run: RunReport, network: Any, /, *, grids: SampleGrids, check: Callable[[Any], SampleCheck | None]
) -> epath.Path:
    """Save the weights, draw curves and samples, write report.html; its path. All hosts draw, the first writes.

    `check(network)` draws samples and says what they are found to be; None where they cannot be checked.
    """
    folder = run.folder
    drawn = grids.finish(network, run.step, folder / "samples.png")
    found = check(network)
    weights = whole(network)
    if not is_first():
        return folder / REPORT_FILE
    records = read_metrics(folder / "metrics.jsonl")
    losses = finite_values(records, "val/loss")
    measured = {"val/loss": losses[-1]} if losses else {}
    if found is not None:
        measured |= check_figures(found)
        write_atomically(folder / CHECK_FILE, check_json(found, grids.classes))
    run.save(folder / GENERATOR, jax.device_put(weights, may_alias=False), measured)
    loss_curves(records, folder / "curves.png", panels=PANELS)
    return run.page(
        headlines=(*_headlines(found), *_losses(losses)),
        tables=() if found is None else check_tables(found, grids.classes),
        pictures=(
            *_pictures(folder, drawn, run.step),
            Picture("curves.png", "Training", "Dots are validations."),
        ),
        files=(
            (f"{GENERATOR}/model.safetensors", f"the averaged weights after {run.step} steps"),
            (f"{GENERATOR}/README.md", "what to say when the folder is shared"),
            *(() if found is None else ((CHECK_FILE, "what the samples were found to be"),)),
            ("metrics.jsonl", "every logged number"),
            ("recipe.json", "the full recipe, from which the run can be started again"),
        ),
    )


def _losses(losses: list[float]) -> tuple[tuple[str, str], ...]:
    if not losses:
        return ()
    return (
        (f"{losses[-1]:.4g}", "flow matching loss on held-out images"),
        (f"{min(losses):.4g}", "the lowest over the training"),
    )


def _headlines(check: SampleCheck | None) -> tuple[tuple[str, str], ...]:
    if check is None or check.classifier is None or check.recognised is None:
        return ()
    worth = (
        f" that is right about {check.classifier.accuracy:.0%} of held-out images"
        if check.classifier.asked
        else ""
    )
    return ((f"{check.recognised.mean:.0%}", f"of samples get their own label from a classifier{worth}"),)


def _pictures(folder: epath.Path, drawn: epath.Path | None, step: int) -> tuple[Picture, ...]:
    """The last samples, and some grids on the way to them."""
    if drawn is None:
        return ()
    there = (folder / GRIDS).iterdir() if (folder / GRIDS).is_dir() else ()
    earlier = sorted(path.name for path in there if _GRID.fullmatch(path.name))
    chosen = sorted({*np.linspace(0, max(len(earlier) - 2, 0), SHOWN).astype(int).tolist()})
    return (
        Picture(
            "samples.png", "Samples", f"From the averaged weights after {step} steps; a row for each class."
        ),
        *(
            Picture(
                f"{GRIDS}/{earlier[i]}", f"After {int(earlier[i].split('.')[0])} steps", "The same noises."
            )
            for i in chosen
            if i < len(earlier)
        ),
    )
