"""What an autoencoder of images of any size leaves in its run folder: weights, pictures of all shapes, the report."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from etils import epath

from laminate.analysis.curves import Panel, loss_curves, read_metrics
from laminate.analysis.gallery import Pair, pair_gallery
from laminate.analysis.patch_reconstruction import rebuilt_example
from laminate.analysis.report import REPORT_FILE, Picture, RunReport, Table
from laminate.data.batch import Arrays
from laminate.data.patch_views import converted
from laminate.data.patches import MASK, PATCHES, SIZE, from_patches
from laminate.parallel.feeding import whole
from laminate.parallel.hosts import is_first
from laminate.train.export import TOKENIZER
from laminate.train.step import joined, make_map, map_batches

SHOWN = 18
FIGURES = ("r2", "psnr", "ssim")
PANELS = (
    Panel("Total loss", (("train/loss", "training"), ("val/loss", "validation"))),
    Panel("R² of held-out pixels", (("val/r2", "validation"),), log=False, limits=(0.0, 1.0)),
    Panel("Charbonnier loss of pixels", (("train/charbonnier_loss", "training"),)),
    Panel("1 - SSIM of tiles", (("train/ssim_loss", "training"),)),
    Panel("Distance in a frozen network", (("train/perceptual_loss", "training"),)),
    Panel("PSNR of held-out images (dB)", (("val/psnr", "validation"),), log=False),
)


def write_patch_report(run: RunReport, model: Any, /, *, patch: int, rooms: Sequence[int]) -> epath.Path:
    """Save the weights, draw held-out images of all shapes, write report.html; its path.

    `rooms` are the budgets of patches, the last of which is that of the validations.
    """
    folder = run.folder
    apply = make_map(
        partial(rebuilt_example, dtype=run.dtype), model, None, mesh=run.mesh, compute_dtype=run.dtype
    )
    found = joined(map_batches(apply, model, None, run.visualised()))
    weights = whole(model)
    if not is_first():
        return folder / REPORT_FILE
    records = read_metrics(folder / "metrics.jsonl")
    resolutions = {
        room: figures_in(records, run.step, "" if room == rooms[-1] else f"_{room}") for room in rooms
    }
    best = resolutions[rooms[-1]]
    run.save(
        folder / TOKENIZER, jax.device_put(weights, may_alias=False), {f"val/{n}": best[n] for n in best}
    )
    pair_gallery(chosen_pairs(found, patch), folder / "reconstructions.png")
    loss_curves(records, folder / "curves.png", panels=PANELS)
    return run.page(
        headlines=(
            (f"{best['r2']:.1%}", "of the variance of held-out pixels is explained"),
            (f"{best['psnr']:.1f} dB", "PSNR of held-out images"),
            (f"{best['ssim']:.3f}", "SSIM of the tile in the middle of each"),
        ),
        tables=(_table(resolutions),),
        pictures=(
            Picture(
                "reconstructions.png",
                "Held-out images of all shapes",
                "Above: what the encoder sees. Below: from its latents. Height x width in pixels, and PSNR.",
            ),
            Picture("curves.png", "Training", "Dots are validations."),
        ),
        files=(
            (f"{TOKENIZER}/model.safetensors", f"the weights of step {run.step}"),
            (f"{TOKENIZER}/README.md", "what to say when the folder is shared"),
            ("metrics.jsonl", "every logged number"),
            ("recipe.json", "the full recipe, from which the run can be started again"),
        ),
    )


def figures_in(records: Sequence[Mapping[str, Any]], step: int, end: str) -> dict[str, float]:
    """The last validation up to `step`, of the figures whose names end so."""
    found: dict[str, float] = {}
    for record in records:
        if record["step"] <= step:
            found |= {name: record[f"val/{name}{end}"] for name in FIGURES if f"val/{name}{end}" in record}
    return found


def chosen_pairs(found: Mapping[str, np.ndarray], patch: int) -> list[Pair]:
    """At most `SHOWN` of the images, evenly spread from the tallest to the widest."""
    some = np.any(found[MASK], axis=1)
    shapes = found[SIZE][:, 1] / np.maximum(found[SIZE][:, 0], 1)
    order = [int(row) for row in np.argsort(shapes, kind="stable") if some[row]]
    if not order:
        raise ValueError("There is no image to show.")
    spread = sorted({int(at) for at in np.linspace(0, len(order) - 1, min(len(order), SHOWN))})
    return [_pair(found, order[at], patch) for at in spread]


def _pair(found: Mapping[str, np.ndarray], row: int, patch: int) -> Pair:
    example: Arrays = {name: array[row] for name, array in found.items()}
    original, rebuilt = (
        converted(from_patches(one, patch), values="minus_one_to_one", to="zero_to_one")
        for one in (example, {**example, PATCHES: example["rebuilt"]})
    )
    error = max(float(np.mean(np.square(original - rebuilt))), 1e-10)
    height, width = original.shape[:2]
    return Pair(original, rebuilt, f"{height} x {width}\n{-10 * np.log10(error):.1f} dB")


def _table(resolutions: Mapping[int, Mapping[str, float]]) -> Table:
    return Table(
        title="By resolution",
        caption="All held-out images; those of more patches than there is room for are made smaller. SSIM is that "
        "of the tile in the middle.",
        head=("R²", "PSNR, dB", "SSIM"),
        rows=tuple(
            (
                f"at most {room} patches",
                f"{figures['r2']:.4f}",
                f"{figures['psnr']:.2f}",
                f"{figures['ssim']:.4f}",
            )
            for room, figures in sorted(resolutions.items())
        ),
    )
