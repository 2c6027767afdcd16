"""What a training of images leaves: weights, pictures beside the originals, curves, and the report."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from etils import epath
from jaxtyping import Array

from laminate.analysis.curves import Panel, finite_values, loss_curves, read_metrics
from laminate.analysis.decoding import decoding_measures, summarise_decoding
from laminate.analysis.figures import sample_grid
from laminate.analysis.report import REPORT_FILE, Picture, RunReport
from laminate.parallel.feeding import whole
from laminate.parallel.hosts import is_first
from laminate.storage.writing import write_bytes
from laminate.train.step import joined, make_map, map_batches

SHOWN = 8
ORIGINAL = "original"
PANELS = (
    Panel("Pixel loss", (("train/recon_loss", "training"), ("val/l1", "validation, L1"))),
    Panel("Perceptual loss", (("train/perceptual_loss", "training"), ("val/perceptual", "validation"))),
    Panel("PSNR of held-out images (dB)", (("val/psnr", "validation"),), log=False),
    Panel("High frequencies, of the originals'", (("val/sharpness", "validation"),), log=False),
)
ADVERSARY_PANELS = (
    Panel("Mean logits", (("train/logits_real", "real"), ("train/logits_fake", "decoded")), log=False),
    Panel(
        "Balance of the decoder's gradients",
        (("train/adversarial_weight", "weight of the adversary"),),
        log=False,
    ),
    Panel("Loss of the discriminator", (("train/discriminator_loss", "training"),), log=False),
    Panel(
        "Norm of the gradient",
        (("train/grad_norm", "decoder"), ("train/discriminator_grad_norm", "discriminator")),
        log=False,
    ),
)

Measured = dict[str, float]
Pictures = Callable[[Any, Any, dict[str, Array]], dict[str, Array]]
"""Of a model, the frozen networks and an example, images in [0, 1] by name, the `ORIGINAL` among them."""


def write_picture_report(
    run: RunReport,
    model: Any,
    frozen: Any,
    pictures: Pictures,
    *,
    saved: str,
    rows: tuple[str, ...],
    caption: str,
    headlines: Callable[[Measured, dict[str, Measured]], tuple[tuple[str, str], ...]],
    panels: tuple[Panel, ...] = PANELS,
) -> epath.Path:
    """Save the weights in the folder `saved`, compare held-out images with what is made of them, write report.html;
    its path.

    `rows` are the names of `pictures` from above, as far as there are any, and `headlines(measured, figures)` are made
    of the last validation and of `val/psnr` and so on of each kind of picture. All hosts measure, the first one writes.
    """
    folder = run.folder
    draw = make_map(pictures, model, frozen, mesh=run.mesh, compute_dtype=run.dtype)
    images = joined(map_batches(draw, model, frozen, run.visualised()))
    weights = whole(model)
    if not is_first():
        return folder / REPORT_FILE
    figures = {name: _compared(images[ORIGINAL], images[name]) for name in images if name != ORIGINAL}
    records = read_metrics(folder / "metrics.jsonl")
    looked = [record for record in records if "val/psnr" in record and record["step"] <= run.step]
    last = looked[-1] if looked else {}
    measured = {name: last[name] for name in last if name.startswith("val/") and finite_values([last], name)}
    run.save(folder / saved, jax.device_put(weights, may_alias=False), measured)
    order = np.random.default_rng(0).permutation(len(images[ORIGINAL]))[:SHOWN]
    rows = tuple(name for name in rows if name in images)
    grid = sample_grid(
        np.concatenate([images[name][order] for name in rows]), columns=len(order), rows=rows, tile=112
    )
    write_bytes(folder / "reconstructions.png", grid)
    drawn = [Picture("reconstructions.png", "Held-out images", caption)]
    for name, shown, about in (
        ("curves.png", panels, "Dots are validations."),
        ("adversary.png", ADVERSARY_PANELS, "What is 0 did not act yet."),
    ):
        if any(series in record for panel in shown for series, _ in panel.series for record in records):
            loss_curves(records, folder / name, panels=shown)
            drawn.append(Picture(name, "Training" if name == "curves.png" else "The adversary", about))
    return run.page(
        headlines=headlines(measured, figures),
        pictures=tuple(drawn),
        files=(
            (f"{saved}/model.safetensors", f"the averaged weights of step {run.step}"),
            (f"{saved}/README.md", "what to say when the folder is shared"),
            ("metrics.jsonl", "every logged number"),
            ("recipe.json", "the full recipe, from which the run can be started again"),
        ),
    )


def quality_headlines(measured: Measured) -> list[tuple[str, str]]:
    """PSNR and sharpness of the last validation, as far as they were measured."""
    rows: list[tuple[str, str]] = []
    if "val/psnr" in measured:
        rows.append((f"{measured['val/psnr']:.1f} dB", "mean PSNR of held-out images"))
    if "val/sharpness" in measured:
        rows.append((f"{measured['val/sharpness']:.0%}", "of the originals' energy in high frequencies"))
    return rows


def _compared(originals: np.ndarray, pictures: np.ndarray) -> Measured:
    """`val/psnr`, `val/sharpness` and so on of pictures against their originals."""
    each = jax.jit(jax.vmap(lambda a, b: decoding_measures(a, b, perceptual={})))(originals, pictures)
    sums = {name: float(np.sum(np.asarray(value, np.float64))) for name, value in each.items()}
    return summarise_decoding({**sums, "count": len(originals)})
