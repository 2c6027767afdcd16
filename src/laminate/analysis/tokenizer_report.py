"""What a finished tokenizer training leaves in its run folder: weights with statistics, pictures, the report."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jax.sharding import Mesh
from jaxtyping import Array

from laminate.analysis.curves import loss_curves, read_metrics
from laminate.analysis.figures import ablation_map, reconstruction_grid
from laminate.analysis.reconstruction import latents, rebuilt_pixels
from laminate.analysis.report import FILE, Picture, Report, write_report
from laminate.analysis.token_ablation import token_ablation
from laminate.parallel.feeding import whole
from laminate.parallel.hosts import is_first
from laminate.parallel.sharding import place
from laminate.tokenizers.flatdino import FlatDino
from laminate.tokenizers.statistics import RunningStatistics
from laminate.train.export import TOKENIZER
from laminate.train.step import make_map

PICTURES = 16  # validation images that are shown
ABLATED = 64  # validation images that the ablation averages over

Batches = Callable[[], Iterable[dict[str, Array]]]
Save = Callable[[epath.Path, FlatDino, dict[str, float]], object]


def with_statistics(
    tokenizer: FlatDino, teacher: Any, batches: Iterable[dict[str, Array]], *, mesh: Mesh, dtype: jnp.dtype
) -> FlatDino:
    """`tokenizer` with the mean and variance of its latents over `batches`, for `encode` and `decode`."""
    apply = make_map(partial(latents, dtype=dtype), tokenizer, teacher, mesh=mesh, compute_dtype=dtype)
    statistics = RunningStatistics(tokenizer.latents, tokenizer.bottleneck.out_features)
    for batch in batches:
        z, valid = whole((apply(tokenizer, teacher, batch)["z"], batch["valid"]))
        statistics.update(z[valid])
    mean, variance = place([np.asarray(x, np.float32) for x in (statistics.mean, statistics.variance)], mesh)
    return eqx.tree_at(lambda t: t.normalization, tokenizer, tokenizer.normalization.measured(mean, variance))


def write_tokenizer_report(
    folder: epath.Path,
    tokenizer: FlatDino,
    /,
    teacher: Any,
    *,
    mesh: Mesh,
    dtype: jnp.dtype,
    training: Batches,
    validation: Batches,
    title: str,
    summary: str,
    facts: tuple[tuple[str, str], ...],
    command: str,
    save: Save,
) -> epath.Path:
    """Measure the statistics, `save` the weights with them, draw the pictures, write report.html; its path.

    `save(folder, tokenizer, metrics)` writes what others load. All hosts measure, the first one writes.
    """
    tokenizer = with_statistics(tokenizer, teacher, training(), mesh=mesh, dtype=dtype)
    shown = _examples(tokenizer, teacher, validation(), mesh=mesh, dtype=dtype)
    weights = whole(tokenizer)
    if not is_first():
        return folder / FILE
    tokenizer = jax.tree.map(jnp.asarray, weights)
    heat = _ablation(tokenizer, shown["z"])
    psnr = _psnr(shown["original"], shown["rebuilt"])
    records = read_metrics(folder / "metrics.jsonl")
    best = max(record["val/r2"] for record in records if "val/r2" in record)
    metrics = {"val/r2": best, f"val/psnr_db of {len(psnr)} images": float(np.mean(psnr))}
    save(folder / TOKENIZER, tokenizer, metrics)
    reconstruction_grid(
        shown["original"][:PICTURES],
        shown["rebuilt"][:PICTURES],
        folder / "reconstructions.png",
        captions=[f"{value:.1f} dB" for value in psnr[:PICTURES]],
    )
    loss_curves(records, folder / "curves.png")
    ablation_map(heat, folder / "ablation.png")
    numbers = tokenizer.latents * tokenizer.bottleneck.out_features
    compression = shown["features"] / numbers
    report = Report(
        title=title,
        summary=summary,
        headlines=(
            (f"{best:.1%}", "of the variance of held-out teacher features explained"),
            (f"{compression:.1f}x", f"fewer numbers: {shown['features']} in {tokenizer.latents} tokens"),
            (f"{float(np.mean(psnr)):.1f} dB", "mean PSNR of held-out images"),
        ),
        facts=facts,
        command=command,
        pictures=(
            Picture(
                "reconstructions.png", "Held-out images", "Above: original. Below: rebuilt from its tokens."
            ),
            Picture("curves.png", "Training", "Dots are validations."),
            Picture(
                "ablation.png", "Where each token acts", "How far each patch moves when a token is zeroed."
            ),
        ),
        files=(
            (
                f"{TOKENIZER}/model.safetensors",
                "the best weights by validation loss, with the latent statistics",
            ),
            (
                f"{TOKENIZER}/README.md",
                "what to say when the folder is shared; laminate.from_pretrained reads it",
            ),
            ("metrics.jsonl", "every logged number"),
            ("recipe.json", "the full recipe, from which the run can be started again"),
        ),
    )
    return write_report(folder, report)


def _examples(
    tokenizer: FlatDino, teacher: Any, batches: Iterable[dict[str, Array]], *, mesh: Mesh, dtype: jnp.dtype
) -> dict[str, Any]:
    """Originals, reconstructions and latents of images spread over the validation set."""
    apply = make_map(partial(rebuilt_pixels, dtype=dtype), tokenizer, teacher, mesh=mesh, compute_dtype=dtype)
    gathered: dict[str, list[np.ndarray]] = {"original": [], "rebuilt": [], "z": []}
    for batch in batches:
        valid = whole(batch["valid"])
        for name, value in whole(apply(tokenizer, teacher, batch)).items():
            gathered[name].append(value[valid])
    images = {name: np.concatenate(parts) for name, parts in gathered.items()}
    count = len(images["z"])
    chosen = np.unique(np.linspace(0, count - 1, min(count, ABLATED)).astype(int))
    spread = np.random.default_rng(0).permutation(chosen)
    features = int(np.prod(jax.eval_shape(teacher, jnp.zeros(images["original"].shape[1:])).shape))
    return {**{name: value[spread] for name, value in images.items()}, "features": features}


def _psnr(original: np.ndarray, rebuilt: np.ndarray) -> np.ndarray:
    error = np.mean(np.square(original - rebuilt), axis=(1, 2, 3))
    return -10.0 * np.log10(np.maximum(error, 1e-10))


def _ablation(tokenizer: FlatDino, z: np.ndarray) -> np.ndarray:
    """How far each patch moves when a token is zeroed: `[latents, side, side]`."""
    normalised = jax.vmap(tokenizer.normalization)(jnp.asarray(z))
    heat = np.asarray(token_ablation(tokenizer.decode, normalised), np.float32)
    side = int(np.sqrt(tokenizer.patches))
    return heat.reshape(tokenizer.latents, side, side)
