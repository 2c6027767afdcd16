"""How well a tokenizer gives back its teacher's features: validation measures, statistics, pictures."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from laminate.losses.reconstruction import huber_loss, mse_loss
from laminate.nn import resize
from laminate.pretrained.features import FEATURES, features_of, unit_image
from laminate.tokenizers.flatdino import FlatDino

LOSSES = {"mse": mse_loss, "huber": huber_loss}


def reconstruction_measures(
    tokenizer: FlatDino, teacher: Any, example: dict[str, Array], *, loss: str, dtype: jnp.dtype
) -> dict[str, Array]:
    """Of one example, without sampling: the reconstruction loss, and the sums that `explained_variance` needs."""
    target = features_of(teacher, example, dtype=dtype).final.astype(jnp.float32)
    z, _ = tokenizer.encode_raw(target.astype(dtype))
    rebuilt = tokenizer.decode_raw(z, dtype=dtype).final.astype(jnp.float32)
    return {
        "loss": LOSSES[loss](rebuilt, target),
        "squared_error": jnp.sum(jnp.square(rebuilt - target)),
        "squares": jnp.sum(jnp.square(target)),
        "means": jnp.mean(target, axis=0),
        "numbers": jnp.asarray(target.size, jnp.float32),
    }


def explained_variance(sums: dict[str, Any]) -> float:
    """R^2 = 1 - (squared error) / (squared deviation of each feature from its mean over the set)."""
    count, numbers = float(sums["count"]), float(sums["numbers"])
    means = np.asarray(sums["means"], np.float64) / count
    deviation = float(sums["squares"]) - numbers * float(np.mean(np.square(means)))
    return 1.0 - float(sums["squared_error"]) / deviation


def summarise(sums: dict[str, Any]) -> dict[str, float]:
    """The validation metrics from sums over the set: every mean that is called a loss, and R^2."""
    count = float(sums["count"])
    losses = {f"val/{name}": float(value) / count for name, value in sums.items() if name.startswith("loss")}
    return {**losses, "val/r2": explained_variance(sums)}


def latents(
    tokenizer: FlatDino, teacher: Any, example: dict[str, Array], *, dtype: jnp.dtype
) -> dict[str, Array]:
    """The raw latents of one example, without sampling."""
    return {"z": tokenizer.encode_raw(features_of(teacher, example, dtype=dtype).final.astype(dtype))[0]}


def rebuilt_example(
    tokenizer: FlatDino, frozen: tuple[Any, Any], example: dict[str, Array], *, dtype: jnp.dtype
) -> dict[str, Array]:
    """Of one example: features, their reconstruction and latents; and both as images in [0, 1] (`original`, `picture`)
    if `frozen`, which is a teacher and a decoder of its features, has a decoder.

    The original is the image itself, resized to what the decoder makes; of records of features, it is decoded too.
    """
    teacher, decoder = frozen
    features = features_of(teacher, example, dtype=dtype).final
    z, _ = tokenizer.encode_raw(features.astype(dtype))
    rebuilt = tokenizer.decode_raw(z, dtype=dtype).final.astype(jnp.float32)
    shown = {"features": features.astype(jnp.float32), "rebuilt": rebuilt, "z": z}
    if decoder is None:
        return shown
    picture = decoder.pixels(rebuilt)
    if FEATURES in example:
        original = decoder.pixels(shown["features"])
    else:
        original = resize(unit_image(example["image"]), picture.shape[:2], "bilinear-antialias")
    return {**shown, "picture": picture, "original": original}
