"""What a training of images leaves: weights, pictures beside the originals, curves, and the report."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from etils import epath
from jaxtyping import Array, Float

from laminate.analysis.baseline import MOST_IMAGES, MOST_NUMBERS, baselines
from laminate.analysis.curves import Panel, finite_values, loss_curves, read_metrics
from laminate.analysis.decoding import decoding_measures, summarise_decoding
from laminate.analysis.figures import sample_grid
from laminate.analysis.report import REPORT_FILE, Picture, RunReport, Table
from laminate.parallel.feeding import whole
from laminate.parallel.hosts import is_first
from laminate.storage.writing import write_bytes
from laminate.train.step import joined, make_map, map_batches

SHOWN = 8
ORIGINAL = "original"
LATENTS = "latents"
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
"""Of a model, the frozen networks and an example, images in [0, 1] by name, the `ORIGINAL` among them, and the
`LATENTS` that they are made of, if it is few numbers."""


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
    patch: int,
    panels: tuple[Panel, ...] = PANELS,
) -> epath.Path:
    """Save the weights in the folder `saved`, compare held-out images with what is made of them, write report.html;
    its path.

    `rows` are the names of `pictures` from above, as far as there are any, and `headlines(measured, figures)` are made
    of the last validation and of `val/psnr` and so on of each kind of picture; the last kind is the model's. If
    `pictures` has `LATENTS`, principal components of as many numbers stand beside it, of squares of `patch` pixels. All
    hosts measure, the first one writes.
    """
    folder = run.folder
    draw = make_map(pictures, model, frozen, mesh=run.mesh, compute_dtype=run.dtype)
    seen = lambda batches: _shuffled(joined(map_batches(draw, model, frozen, batches)))
    images = seen(run.visualised())
    trained_on = seen(run.known(len(images[ORIGINAL])))
    known = _known(run, model, frozen, pictures, images[ORIGINAL][0].size)
    weights = whole(model)
    if not is_first():
        return folder / REPORT_FILE
    figures = {name: _compared(images[ORIGINAL], images[name]) for name in rows[1:] if name in images}
    records = read_metrics(folder / "metrics.jsonl")
    looked = [record for record in records if "val/psnr" in record and record["step"] <= run.step]
    last = looked[-1] if looked else {}
    measured = {name: last[name] for name in last if name.startswith("val/") and finite_values([last], name)}
    run.save(folder / saved, jax.device_put(weights, may_alias=False), measured)
    rows = tuple(name for name in rows if name in images)
    _draw(images, rows, folder / "reconstructions.png")
    _draw(trained_on, rows, folder / "training.png")
    drawn = [
        Picture("reconstructions.png", "Held-out images", caption),
        Picture("training.png", "Training images", "The same of images that it was trained on."),
    ]
    for name, shown, about in (
        ("curves.png", panels, "Dots are validations."),
        ("adversary.png", ADVERSARY_PANELS, "What is 0 did not act yet."),
    ):
        if any(series in record for panel in shown for series, _ in panel.series for record in records):
            loss_curves(records, folder / name, panels=shown)
            drawn.append(Picture(name, "Training" if name == "curves.png" else "The adversary", about))
    return run.page(
        headlines=headlines(measured, figures),
        tables=(_beside(figures, images, trained_on, known, rows[1:], patch),),
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


def _shuffled(found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    order = np.random.default_rng(0).permutation(len(found[ORIGINAL]))
    return {name: images[order] for name, images in found.items()}


def _known(run: RunReport, model: Any, frozen: Any, pictures: Pictures, pixels: int) -> np.ndarray:
    """Training images as the model is to make them, as many as principal components are fitted on."""
    apply = make_map(
        lambda *seen: {ORIGINAL: pictures(*seen)[ORIGINAL]},
        model,
        frozen,
        mesh=run.mesh,
        compute_dtype=run.dtype,
    )
    fitted = min(MOST_IMAGES, max(2, MOST_NUMBERS // pixels))
    return joined(map_batches(apply, model, frozen, run.known(fitted)))[ORIGINAL]


def _draw(images: dict[str, np.ndarray], rows: tuple[str, ...], path: epath.Path) -> None:
    few = [images[name][:SHOWN] for name in rows]
    write_bytes(path, sample_grid(np.concatenate(few), columns=len(few[0]), rows=rows, tile=112))


def _beside(
    figures: dict[str, Measured],
    images: dict[str, np.ndarray],
    trained_on: dict[str, np.ndarray],
    known: np.ndarray,
    made: tuple[str, ...],
    patch: int,
) -> Table:
    """The model beside others that make the same images, and principal components of as many numbers."""
    *others, own = made
    rows = [("held-out images", figures[own])]
    rows += [(f"held-out images, by the {name} itself", figures[name]) for name in others]
    rows.append(("images that it was trained on", _compared(trained_on[ORIGINAL], trained_on[own])))
    original = images[ORIGINAL]
    numbers = images[LATENTS][0].size if LATENTS in images else original[0].size
    if numbers < original[0].size:
        for one in baselines(_patches(known, patch), _patches(original, patch), numbers):
            rebuilt = _images(one.rebuilt, original.shape, patch)
            rows.append((f"held-out images, {one.said}", _compared(original, rebuilt)))
    return Table(
        "Beside a baseline",
        f"{len(original)} images each. Principal components, of pixels, are not quantised, and take as many numbers as "
        f"the decoder reads, {numbers:,}, or as many as the images that they are fitted on allow. Detail is the "
        "energy in high frequencies, as a share of the originals'.",
        ("PSNR", "SSIM", "detail"),
        tuple(
            (said, f"{of['val/psnr']:.1f} dB", f"{of['val/ssim']:.3f}", f"{of['val/sharpness']:.0%}")
            for said, of in rows
        ),
    )


def _patches(
    images: Float[np.ndarray, "images height width 3"], patch: int
) -> Float[np.ndarray, "images patches numbers"]:
    count, height, width, _ = images.shape
    cut = images.reshape(count, height // patch, patch, width // patch, patch, 3)
    return cut.transpose(0, 1, 3, 2, 4, 5).reshape(count, -1, 3 * patch**2)


def _images(
    patches: Float[np.ndarray, "images patches numbers"], shape: tuple[int, ...], patch: int
) -> Float[np.ndarray, "images height width 3"]:
    """What `_patches` cut, put together."""
    count, height, width, _ = shape
    cut = patches.reshape(count, height // patch, width // patch, patch, patch, 3)
    return cut.transpose(0, 1, 3, 2, 4, 5).reshape(shape)


def _compared(originals: np.ndarray, pictures: np.ndarray) -> Measured:
    """`val/psnr`, `val/sharpness` and so on of pictures against their originals."""
    each = jax.jit(jax.vmap(lambda a, b: decoding_measures(a, b, perceptual={})))(originals, pictures)
    sums = {name: float(np.sum(np.asarray(value, np.float64))) for name, value in each.items()}
    return summarise_decoding({**sums, "count": len(originals)})
