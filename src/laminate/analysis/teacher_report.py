"""What a masked autoencoder leaves in its run folder: weights, how well it knows its images, the report."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from laminate.analysis.curves import Panel, loss_curves, read_metrics
from laminate.analysis.figures import reconstruction_grid
from laminate.analysis.neighbours import classify
from laminate.analysis.report import REPORT_FILE, Batches, Picture, RunReport
from laminate.parallel.feeding import whole
from laminate.parallel.hosts import is_first
from laminate.pretrained.features import unit_image
from laminate.tokenizers.flatdino import FlatDino
from laminate.train.export import TEACHER
from laminate.train.state import TrainState
from laminate.train.step import joined, make_map, map_batches

SHOWN = 16
FIGURES = {
    "val/psnr": ("{:.1f} dB", "PSNR of held-out images, made of their features"),
    "val/rebuilt_psnr": ("{:.1f} dB", "PSNR of what tokenizers give back of them"),
    "val/knn": ("{:.1%}", "of held-out images have the label of their neighbours by features"),
}
PANELS = (
    Panel(
        "Squared error of pixels", (("train/loss", "training, patches hidden"), ("val/loss", "validation"))
    ),
    Panel(
        "PSNR of held-out images (dB)",
        (("val/psnr", "from exact features"), ("val/rebuilt_psnr", "through tokenizers")),
        log=False,
    ),
    Panel("Held-out images whose neighbours have their label", (("val/knn", "k-NN on features"),), log=False),
)


class NeighbourAccuracy:
    """The share of held-out images whose class their nearest training images have, by the features (DINO's k-NN).

    An image is the features of all its patches, side by side, each example to unit length. Called with a training
    state, by all hosts. Images without a label count for nothing; without any, there is no figure.
    """

    def __init__(self, known: Batches, asked: Batches, *, mesh: Mesh, dtype: jnp.dtype):
        self._known, self._asked, self._mesh, self._dtype = known, asked, mesh, dtype
        self._apply: Callable[..., dict[str, Array]] | None = None

    def __call__(self, state: TrainState) -> dict[str, float]:
        network = state.averaged
        if self._apply is None:
            self._apply = make_map(
                partial(labelled_features, dtype=self._dtype),
                network,
                None,
                mesh=self._mesh,
                compute_dtype=self._dtype,
            )
        known, asked = (
            _labelled(joined(map_batches(self._apply, network, None, batches())))
            for batches in (self._known, self._asked)
        )
        if known is None or asked is None:
            return {}
        found, _ = classify(asked[0], *known)
        return {"val/knn": float(np.mean(found == asked[1]))}


def labelled_features(
    teacher: Any, frozen: None, example: dict[str, Array], *, dtype: jnp.dtype
) -> dict[str, Array]:
    """The features of an example as one vector of length 1, and its label."""
    flat = teacher(unit_image(example["image"]), dtype=dtype).astype(jnp.float32).reshape(-1)
    return {"features": flat / jnp.maximum(jnp.linalg.norm(flat), 1e-6), "label": example["label"]}


def _labelled(
    found: dict[str, np.ndarray],
) -> tuple[Float[np.ndarray, "images numbers"], Int[np.ndarray, " images"]] | None:
    mine = found["label"] >= 0
    return (found["features"][mine], found["label"][mine]) if mine.any() else None


def write_teacher_report(run: RunReport, teacher: Any, /, *, tokenizers: Sequence[FlatDino]) -> epath.Path:
    """Save the weights, draw held-out images and what the features hold of them, write report.html; its path.

    With the `tokenizers` beside which the decoder was trained, what each leaves of them too.
    """
    folder, dtype = run.folder, run.dtype
    apply = make_map(partial(_shown, dtype=dtype), teacher, tokenizers, mesh=run.mesh, compute_dtype=dtype)
    images = joined(map_batches(apply, teacher, tokenizers, run.visualised()))
    weights = whole(teacher)
    if not is_first():
        return folder / REPORT_FILE
    records = read_metrics(folder / "metrics.jsonl")
    seen = [record for record in records if "val/psnr" in record and record["step"] <= run.step]
    measured = {name: seen[-1][name] for name in FIGURES if name in seen[-1]}
    half = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float16), weights)  # frozen: half the download
    run.save(folder / TEACHER, half, measured)
    order = np.random.default_rng(0).permutation(len(images["original"]))[:SHOWN]
    originals = images["original"][order]
    reconstruction_grid(originals, images["picture"][order], folder / "reconstructions.png")
    through: list[Picture] = []
    for number in range(1, len(tokenizers) + 1):
        file, which = f"rebuilt-{number}.png", f" {number}" if len(tokenizers) > 1 else ""
        reconstruction_grid(originals, images[f"rebuilt {number}"][order], folder / file)
        said = "Above: original. Below: from the features that it gives back."
        through.append(Picture(file, f"Held-out images, seen through tokenizer{which}", said))
    loss_curves(records, folder / "curves.png", panels=PANELS)
    return run.page(
        headlines=tuple(
            (FIGURES[name][0].format(value), FIGURES[name][1]) for name, value in measured.items()
        ),
        pictures=(
            Picture("reconstructions.png", "Held-out images", "Above: original. Below: from its features."),
            *through,
            Picture("curves.png", "Training", "Dots are validations."),
        ),
        files=(
            (f"{TEACHER}/model.safetensors", f"the averaged weights of step {run.step}"),
            (f"{TEACHER}/README.md", "what to say when the folder is shared"),
            ("metrics.jsonl", "every logged number"),
            ("recipe.json", "the full recipe, from which the run can be started again"),
        ),
    )


def _shown(
    teacher: Any, tokenizers: Sequence[FlatDino], example: dict[str, Array], *, dtype: jnp.dtype
) -> dict[str, Array]:
    image = unit_image(example["image"])
    features = teacher(image, dtype=dtype)
    shown = {"original": image, "picture": teacher.pixels(features.astype(jnp.float32))}
    for number, one in enumerate(tokenizers, start=1):
        shown[f"rebuilt {number}"] = teacher.pixels(one.decode(one.encode(features)))
    return shown
