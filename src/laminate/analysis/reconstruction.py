"""How well a tokenizer gives back its teacher's features: validation measures, statistics, pictures."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from laminate.analysis.rate import code_indices, image_bits
from laminate.losses.reconstruction import huber_loss, mse_loss
from laminate.nn import resize
from laminate.pretrained.features import FEATURES, features_of, unit_image
from laminate.tokenizers.flatdino import FlatDino
from laminate.train.moments import Moments

_EPS = float(np.finfo(np.float32).eps)

LOSSES = {"mse": mse_loss, "huber": huber_loss}


def reconstruction_measures(
    tokenizer: FlatDino, teacher: Any, example: dict[str, Array], *, loss: str, dtype: jnp.dtype
) -> dict[str, Any]:
    """Of one example, without sampling: the reconstruction loss, and what `explained_variance` needs."""
    target = features_of(teacher, example, dtype=dtype).final.astype(jnp.float32)
    z, _ = tokenizer.encode_raw(target.astype(dtype))
    rebuilt = tokenizer.decode_raw(z, dtype=dtype).final.astype(jnp.float32)
    return {
        "loss": LOSSES[loss](rebuilt, target),
        "squared_error": jnp.sum(jnp.square(rebuilt - target)),
        "features": Moments.of(target),
    }


def explained_variance(sums: dict[str, Any]) -> float:
    """R^2 = 1 - (squared error) / (squared deviation of each feature from its mean over the set).

    NaN of features that never vary, of which there is nothing to explain.
    """
    deviation, rounding = _deviation(sums)
    if not deviation > rounding:
        return float("nan")
    return 1.0 - float(sums["squared_error"]) / deviation


def _deviation(sums: dict[str, Any]) -> tuple[float, float]:
    """The sum of squares about the mean in float64, and how large rounding alone makes it.

    From `features`, the moments of a validation, whose float32 means are a few units of the last place off; or from
    plain sums, which lose what the squares of a large mean round away: `squares`, `numbers`, and the sum over examples
    of their `means`.
    """
    if "features" in sums:
        features: Moments = sums["features"] + 0.0
        deviation = float(np.sum(features.squares))
        about_zero = deviation + float(features.count) * float(np.sum(np.square(features.mean)))
        return deviation, about_zero * (8 * _EPS) ** 2
    numbers, squares = float(sums["numbers"]), float(sums["squares"])
    means = np.asarray(sums["means"], np.float64) / float(sums["count"])
    return squares - numbers * float(np.mean(np.square(means))), squares * np.sqrt(numbers) * _EPS


def summarise(sums: dict[str, Any]) -> dict[str, float]:
    """The validation metrics from sums over the set: every mean that is called a loss, and R^2 (NaN where nothing
    varies)."""
    count = float(sums["count"])
    losses = {f"val/{name}": float(value) / count for name, value in sums.items() if name.startswith("loss")}
    return {**losses, "val/r2": explained_variance(sums)}


def latents(
    tokenizer: FlatDino, teacher: Any, example: dict[str, Array], *, dtype: jnp.dtype
) -> dict[str, Array]:
    """The raw latents of one example, without sampling."""
    return {"z": tokenizer.encode_raw(features_of(teacher, example, dtype=dtype).final.astype(dtype))[0]}


def known_example(
    tokenizer: FlatDino, teacher: Any, example: dict[str, Array], *, dtype: jnp.dtype
) -> dict[str, Array]:
    """Of one training example: its features, and the indices of its codes where latents are codes."""
    features = features_of(teacher, example, dtype=dtype).final
    aux = tokenizer.encode_raw(features.astype(dtype))[1]
    return {"features": features.astype(jnp.float32), **code_indices(tokenizer.bottleneck, aux)}


def rebuilt_example(
    tokenizer: FlatDino, frozen: tuple[Any, Any], example: dict[str, Array], *, dtype: jnp.dtype
) -> dict[str, Array]:
    """Of one example: features, their reconstruction, latents and their `bits` where they have some; and both as
    images in [0, 1] (`original`, `picture`) if `frozen`, which is a teacher and a decoder of its features, has a
    decoder.

    The original is the image itself, resized to what the decoder makes; of records of features, it is decoded too.
    """
    teacher, decoder = frozen
    features = features_of(teacher, example, dtype=dtype).final
    z, aux = tokenizer.encode_raw(features.astype(dtype))
    rebuilt = tokenizer.decode_raw(z, dtype=dtype).final.astype(jnp.float32)
    shown = {"features": features.astype(jnp.float32), "rebuilt": rebuilt, "z": z}
    bits = image_bits(tokenizer.bottleneck, aux)
    if bits is not None:
        shown["bits"] = bits
    if decoder is None:
        return shown
    picture = decoder.pixels(rebuilt)
    if FEATURES in example:
        original = decoder.pixels(shown["features"])
    else:
        original = resize(unit_image(example["image"]), picture.shape[:2], "bilinear-antialias")
    return {**shown, "picture": picture, "original": original}
