"""How well a tokenizer gives back its teacher's features: validation measures, statistics, pictures."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from laminate.losses.reconstruction import huber_loss, mse_loss
from laminate.tokenizers.flatdino import FlatDino
from laminate.types import UInt8Image

LOSSES = {"mse": mse_loss, "huber": huber_loss}


def unit_image(image: UInt8Image) -> Float[Array, "height width channels"]:
    """A stored image as float32 in [0, 1]."""
    return image.astype(jnp.float32) / 255.0


def reconstruction_measures(
    tokenizer: FlatDino, teacher: Any, example: dict[str, Array], *, loss: str, dtype: jnp.dtype
) -> dict[str, Array]:
    """Of one example, without sampling: the reconstruction loss, and the sums that `explained_variance` needs."""
    target = teacher(unit_image(example["image"]))
    z, _ = tokenizer.compress(target.astype(dtype))
    rebuilt = tokenizer.expand(z, dtype=dtype).final.astype(jnp.float32)
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
    return {"z": tokenizer.compress(teacher(unit_image(example["image"])).astype(dtype))[0]}


def rebuilt_pixels(
    tokenizer: FlatDino, teacher: Any, example: dict[str, Array], *, dtype: jnp.dtype
) -> dict[str, Array]:
    """Original and reconstruction of one example as images in [0, 1], by a teacher that can show its features."""
    image = unit_image(example["image"])
    z, _ = tokenizer.compress(teacher(image).astype(dtype))
    rebuilt = tokenizer.expand(z, dtype=dtype).final.astype(jnp.float32)
    return {"original": image, "rebuilt": teacher.pixels(rebuilt), "z": z}
