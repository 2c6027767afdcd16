"""What a finished tokenizer training leaves in its run folder: weights with statistics, pictures, the report."""

import dataclasses
import math
from collections.abc import Iterable
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jax.sharding import Mesh
from jaxtyping import Array, Float

from laminate.analysis.baseline import MOST_IMAGES, MOST_NUMBERS, baselines, explained
from laminate.analysis.curves import loss_curves, read_metrics
from laminate.analysis.false_colours import false_colours
from laminate.analysis.figures import ablation_map, level_map, reconstruction_grid
from laminate.analysis.rate import PIXEL_BITS, codebook_use
from laminate.analysis.reconstruction import known_example, latents, rebuilt_example
from laminate.analysis.report import REPORT_FILE, Picture, RunReport, Table
from laminate.analysis.token_ablation import token_ablation
from laminate.bottlenecks.fsq import Fsq
from laminate.parallel.feeding import whole
from laminate.parallel.hosts import is_first
from laminate.parallel.sharding import place
from laminate.tokenizers.features import FeatureDecoder
from laminate.tokenizers.flatdino import FlatDino
from laminate.tokenizers.statistics import RunningStatistics
from laminate.train.export import TOKENIZER
from laminate.train.step import joined, make_map, map_batches

PICTURES = 16  # of the validation images that are looked at, so many are shown


def with_statistics(
    tokenizer: FlatDino, teacher: Any, batches: Iterable[dict[str, Array]], *, mesh: Mesh, dtype: jnp.dtype
) -> FlatDino:
    """`tokenizer` with the mean and variance of its latents over `batches`, for `encode` and `decode`."""
    return _normalised(
        tokenizer, latent_statistics(tokenizer, teacher, batches, mesh=mesh, dtype=dtype), mesh
    )


def latent_statistics(
    tokenizer: FlatDino, teacher: Any, batches: Iterable[dict[str, Array]], *, mesh: Mesh, dtype: jnp.dtype
) -> RunningStatistics:
    """Mean, variance and number of the raw latents over `batches`; every host has them."""
    apply = make_map(partial(latents, dtype=dtype), tokenizer, teacher, mesh=mesh, compute_dtype=dtype)
    statistics = RunningStatistics(tokenizer.latents, tokenizer.bottleneck.out_features)
    for rows in map_batches(apply, tokenizer, teacher, batches):
        statistics.update(rows["z"])
    return statistics


def _normalised(tokenizer: FlatDino, statistics: RunningStatistics, mesh: Mesh) -> FlatDino:
    mean, variance = place([np.asarray(x, np.float32) for x in (statistics.mean, statistics.variance)], mesh)
    return eqx.tree_at(lambda t: t.normalization, tokenizer, tokenizer.normalization.measured(mean, variance))


def write_tokenizer_report(
    run: RunReport, tokenizer: FlatDino, /, *, teacher: Any, decoder: FeatureDecoder | None
) -> epath.Path:
    """Measure the statistics, save the weights with them, draw the pictures, write report.html; its path.

    `decoder`, in host memory, turns features into pixels; without one they are shown in false colours. All hosts
    measure, the first one writes.
    """
    folder, mesh, dtype = run.folder, run.mesh, run.dtype
    statistics = latent_statistics(tokenizer, teacher, run.training(), mesh=mesh, dtype=dtype)
    tokenizer = _normalised(tokenizer, statistics, mesh)
    said = f"of the latents of {statistics.count:,} training images, {run.statistics}"
    run = dataclasses.replace(run, facts=(*run.facts, ("statistics", said)))
    seen = partial(_examples, tokenizer, (teacher, place(decoder, mesh)), mesh=mesh, dtype=dtype)
    examples = seen(run.visualised())
    trained_on = seen(run.known(len(examples["z"])))
    apply = make_map(partial(known_example, dtype=dtype), tokenizer, teacher, mesh=mesh, compute_dtype=dtype)
    fitted = min(MOST_IMAGES, max(2, MOST_NUMBERS // int(np.prod(examples["features"].shape[1:]))))
    known = joined(map_batches(apply, tokenizer, teacher, run.known(fitted)))
    weights = whole(tokenizer)
    if not is_first():
        return folder / REPORT_FILE
    tokenizer = jax.device_put(weights, may_alias=False)
    records = read_metrics(folder / "metrics.jsonl")
    r2 = _measured(records, "val/r2", run.step)
    likeness, caption = _draw_reconstructions(examples, folder / "reconstructions.png")
    _draw_reconstructions(trained_on, folder / "training.png", most=PICTURES // 2)
    compared = _compared(examples, trained_on, known["features"], decoder, tokenizer)
    rate, use = _rate(examples), _codebook(tokenizer, known, folder / "codebook.png")
    run = dataclasses.replace(run, facts=(*run.facts, *rate, *use))
    found = {
        likeness.metric: likeness.value,
        "training images of the latent statistics": float(statistics.count),
    }
    run.save(folder / TOKENIZER, tokenizer, {**r2, **found})
    loss_curves(records, folder / "curves.png")
    ablation_map(_ablation(tokenizer, examples["z"]), folder / "ablation.png")
    numbers = tokenizer.latents * tokenizer.bottleneck.out_features
    features = int(np.prod(examples["features"].shape[1:]))
    return run.page(
        headlines=(
            *(
                (f"{value:.1%}", "of the variance of held-out teacher features explained")
                for value in r2.values()
            ),
            (f"{features / numbers:.1f}x", f"fewer numbers: {features} in {tokenizer.latents} tokens"),
            (likeness.text, likeness.meaning),
        ),
        pictures=(
            Picture("reconstructions.png", "Held-out images", caption),
            Picture("training.png", "Training images", "The same of images that it was trained on."),
            Picture("curves.png", "Training", "Dots are validations."),
            Picture(
                "ablation.png", "Where each token acts", "How far each patch moves when a token is zeroed."
            ),
            *((Picture("codebook.png", "Codebook", "Share of tokens at each level."),) if use else ()),
        ),
        files=_FILES,
        tables=(compared,),
    )


def _rate(examples: dict[str, np.ndarray]) -> tuple[tuple[str, str], ...]:
    """Bits of an image, and how many times fewer that is than its pixels at 8 bits."""
    if "bits" not in examples:
        return ()
    bits = float(np.mean(examples["bits"]))
    pixels = examples.get("original")
    beside = ""
    if pixels is not None:
        raw = int(np.prod(pixels.shape[1:3])) * PIXEL_BITS
        beside = f", {raw / max(bits, 1e-9):.1f}x fewer than {raw:,} of its pixels at 8 bits"
    return (("bits per image", f"{bits:,.0f} on held-out images{beside}"),)


def _codebook(
    tokenizer: FlatDino, known: dict[str, np.ndarray], path: epath.Path
) -> tuple[tuple[str, str], ...]:
    """How much of the codebook is used, and a picture of it; nothing where latents are no codes."""
    bottleneck = tokenizer.bottleneck
    if not isinstance(bottleneck, Fsq):
        return ()
    books, size = bottleneck.codebooks, bottleneck.codebooks * bottleneck.codebook_size
    use = codebook_use(bottleneck.levels, known["indices"], codebooks=books)
    level_map(use.levels, path, codebooks=books)
    several = "" if books == 1 else f" of {books} codebooks"
    most = "cannot be more" if books == 1 else f"cannot be more than {books} each"
    return (
        (
            "codebook use",
            f"{use.used:,} of {size:,} codes{several} ({use.used / size:.2%}) in {use.tokens:,} tokens of training "
            f"images, which {most}; perplexity {use.perplexity:,.0f}",
        ),
    )


def _compared(
    examples: dict[str, np.ndarray],
    trained_on: dict[str, np.ndarray],
    known: np.ndarray,
    decoder: FeatureDecoder | None,
    tokenizer: FlatDino,
) -> Table:
    """The tokenizer beside principal components of as many numbers, on the same held-out images."""
    pixels = None if decoder is None else eqx.filter_jit(eqx.filter_vmap(decoder.pixels))

    def figures(seen: dict[str, np.ndarray], rebuilt: np.ndarray) -> tuple[str, ...]:
        r2 = f"{explained(seen['features'], rebuilt):.1%}"
        if pixels is None:
            return (r2, f"{float(np.mean(_cosines(seen['features'], rebuilt))):.3f}")
        shown = np.asarray(pixels(jnp.asarray(rebuilt, jnp.float32)))
        return (r2, f"{float(np.mean(_psnr(seen['original'], shown))):.1f} dB")

    numbers = tokenizer.latents * tokenizer.bottleneck.out_features
    rows = [
        ("held-out images", *figures(examples, examples["rebuilt"])),
        ("images that it was trained on", *figures(trained_on, trained_on["rebuilt"])),
        *(
            (f"held-out images, {one.said}", *figures(examples, one.rebuilt))
            for one in baselines(known, examples["features"], numbers)
        ),
    ]
    return Table(
        "Beside a baseline",
        f"{len(examples['z'])} images each. Principal components are not quantised, and take as many numbers as the "
        f"latents have, {numbers:,}, or as many as the images that they are fitted on allow.",
        ("R²", "cosine" if decoder is None else "PSNR"),
        tuple(rows),
    )


def _measured(records: list[dict[str, Any]], name: str, step: int) -> dict[str, float]:
    """The figure `name` of the weights of `step`, by its name; nothing if it was not measured or is not finite."""
    seen = [record[name] for record in records if name in record and record["step"] <= step]
    return {name: seen[-1]} if seen and seen[-1] is not None else {}


_FILES = (
    (f"{TOKENIZER}/model.safetensors", "the best weights by validation loss, with the latent statistics"),
    (f"{TOKENIZER}/README.md", "what to say when the folder is shared; laminate.from_pretrained reads it"),
    ("metrics.jsonl", "every logged number"),
    ("recipe.json", "the full recipe, from which the run can be started again"),
)


class Likeness(NamedTuple):
    """How much reconstructions look like their originals: a figure, what it says, and its name as a metric."""

    value: float
    text: str
    meaning: str
    metric: str


def _coloured(z: Float[np.ndarray, "examples latents latent_dim"]) -> np.ndarray:
    """Latent tokens in false colours, in their order, row by row."""
    count = z.shape[1]
    rows = max(row for row in range(1, math.isqrt(count) + 1) if count % row == 0)
    return false_colours(z, z, grid=(rows, count // rows))[0]


def _draw_reconstructions(
    examples: dict[str, np.ndarray], path: epath.Path, *, most: int = PICTURES
) -> tuple[Likeness, str]:
    """The picture of originals above reconstructions; the mean likeness of all examples, and what is to be seen."""
    if "picture" in examples:
        original, picture = examples["original"], examples["picture"]
        each, unit = _psnr(original, picture), " dB"
        caption = "From above: original, its tokens in false colours, rebuilt from them."
        named = ("mean PSNR of held-out images", f"val/psnr_db of {len(each)} images")
    else:
        original, picture = false_colours(examples["features"], examples["rebuilt"])
        each, unit = _cosines(examples["features"], examples["rebuilt"]), ""
        caption = (
            "False colours (the three main directions). From above: the teacher's features, their tokens, features "
            "rebuilt from those."
        )
        named = ("mean cosine to the teacher's features", f"val/cosine of {len(each)} images")
    digits = 1 if unit else 3
    reconstruction_grid(
        original[:most],
        picture[:most],
        path,
        captions=[f"{value:.{digits}f}{unit}" for value in each[:most]],
        tokens=_coloured(examples["z"])[:most],
    )
    mean = float(np.mean(each))
    return Likeness(mean, f"{mean:.{digits}f}{unit}", *named), caption


def _examples(
    tokenizer: FlatDino,
    frozen: tuple[Any, Any],
    batches: Iterable[dict[str, Array]],
    *,
    mesh: Mesh,
    dtype: jnp.dtype,
) -> dict[str, np.ndarray]:
    """What `rebuilt_example` gives of every example of `batches`, in a random order."""
    apply = make_map(partial(rebuilt_example, dtype=dtype), tokenizer, frozen, mesh=mesh, compute_dtype=dtype)
    examples = joined(map_batches(apply, tokenizer, frozen, batches))
    order = np.random.default_rng(0).permutation(len(examples["z"]))
    return {name: value[order] for name, value in examples.items()}


def _cosines(features: np.ndarray, rebuilt: np.ndarray) -> np.ndarray:
    """The mean over tokens of the cosine between each and its reconstruction, of every example."""
    product = np.sum(features * rebuilt, axis=-1)
    lengths = np.linalg.norm(features, axis=-1) * np.linalg.norm(rebuilt, axis=-1)
    return np.mean(product / np.maximum(lengths, 1e-12), axis=-1)


def _psnr(original: np.ndarray, rebuilt: np.ndarray) -> np.ndarray:
    error = np.mean(np.square(original - rebuilt), axis=(1, 2, 3))
    return -10.0 * np.log10(np.maximum(error, 1e-10))


def _ablation(tokenizer: FlatDino, z: np.ndarray) -> np.ndarray:
    """How far each patch moves when a token is zeroed: `[latents, side, side]`."""
    normalised = jax.vmap(tokenizer.normalization)(jnp.asarray(z))
    heat = np.asarray(token_ablation(tokenizer.decode, normalised), np.float32)
    side = int(np.sqrt(tokenizer.patches))
    return heat.reshape(tokenizer.latents, side, side)
