"""Image losses and measures: Charbonnier, SSIM, PSNR, the distance in a vision transformer, the Fréchet distance."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from laminate.evals.fid import fid
from laminate.evals.psnr import psnr
from laminate.losses.reconstruction import charbonnier_loss
from laminate.losses.structural import ssim
from laminate.models.vit_distance import VitDistance
from laminate.pretrained.patches import IMAGENET_MEAN, IMAGENET_STD

from ..options import Options
from ..reader import Golden
from .set_measures import moments
from .vision import channels_last, family_of

_SMALL = "ssim_small_"


def vitok(golden: Golden) -> dict[str, np.ndarray]:
    options = Options("config", golden.config)
    eps = options.take("charbonnier_eps", 1e-3)
    dino, longest = options.take("dino"), options.take("dino_target_size")
    options.ignore("note", "tolerance", "transformers", "torchmetrics", "reference_fp32_vs_fp64_max_abs")
    options.none_left()
    produced = _charbonnier(golden, eps) | _similarity(golden)
    if dino is not None:
        weights = {name.removeprefix("dino/"): a for name, a in golden.weights.items()}
        vit = family_of("dino", dino).load(dino, weights)
        produced |= _distance(golden, VitDistance(vit, longest, mean=IMAGENET_MEAN, std=IMAGENET_STD))
    if "frechet/features_1" in golden.inputs:
        produced["frechet/value"] = np.asarray(
            fid(*(moments(golden, f"frechet/features_{i}") for i in (1, 2)))
        )
    return {name: np.asarray(value) for name, value in produced.items() if name in golden.outputs}


def _charbonnier(golden: Golden, eps: float) -> dict[str, jax.Array]:
    if "charbonnier/pred" not in golden.inputs:
        return {}
    prediction, target, mask = (
        jnp.asarray(golden.input(f"charbonnier/{name}")) for name in ("pred", "target", "mask")
    )

    @jax.jit
    @jax.value_and_grad
    def loss(prediction: jax.Array) -> jax.Array:
        each = lambda x, y, m: charbonnier_loss(x, y, eps=eps, mask=m)
        return jnp.mean(jax.vmap(each)(prediction, target, mask))

    value, gradient = loss(prediction)
    return {"charbonnier/loss": value, "charbonnier/grad_pred": gradient}


def _similarity(golden: Golden) -> dict[str, jax.Array]:
    """The file's images are in [-1, 1], as SSIM sees them there."""
    prediction, target = (channels_last(golden.input(name)) for name in ("pred", "target"))
    each = jax.jit(jax.vmap(lambda x, y: ssim(x, y, data_range=2.0)))
    similar = each(prediction, target)
    gradient = _gradient_of_mean(each, prediction, target)
    produced = {"ssim_per_image": similar, "ssim_batch": jnp.mean(similar), "ssim_grad_pred": gradient}
    produced["psnr_per_image"] = jax.vmap(psnr)((prediction + 1) / 2, (target + 1) / 2)
    for name in golden.outputs:
        if name.startswith(_SMALL):
            rows, columns = (int(side) for side in name.removeprefix(_SMALL).split("x"))
            produced[name] = jnp.mean(each(prediction[:, :rows, :columns], target[:, :rows, :columns]))
    return produced


def _distance(golden: Golden, distance: VitDistance) -> dict[str, jax.Array]:
    prediction, target = (channels_last(golden.input(name)) for name in ("pred", "target"))
    unit = lambda x: (x + 1) / 2

    @jax.jit
    def run(distance: VitDistance, x: jax.Array, y: jax.Array) -> tuple[jax.Array, ...]:
        by_layer = jax.vmap(lambda x, y: distance.by_layer(unit(x), unit(y)))(x, y)
        seen = jax.vmap(lambda x: distance.seen(unit(x)))(x)
        cls = jax.vmap(lambda x: distance.features(unit(x))[-1, 0])(x)
        return by_layer, seen, cls, _gradient_of_mean(jax.vmap(lambda x, y: distance(unit(x), unit(y))), x, y)

    by_layer, seen, cls, gradient = run(distance, prediction, target)
    produced = {f"dino/per_image_layer{i + 1}": by_layer[:, i] for i in range(by_layer.shape[1])}
    return produced | {
        "dino/per_image": jnp.mean(by_layer, axis=1),
        "dino/preprocessed": seen.transpose(0, 3, 1, 2),
        "dino/cls_feature": cls,
        "dino/grad_pred_of_mean": gradient,
    }


def _gradient_of_mean(
    each: Callable[[jax.Array, jax.Array], jax.Array], prediction: jax.Array, target: jax.Array
) -> jax.Array:
    """Channels first."""
    return jax.grad(lambda x: jnp.mean(each(x, target)))(prediction).transpose(0, 3, 1, 2)
