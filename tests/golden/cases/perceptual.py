"""LPIPS and the Inception network."""

import jax
import jax.numpy as jnp
import numpy as np

from laminate.models.inception import InceptionFeatures, Rule, inception_input
from laminate.models.vgg import WIDTHS, Lpips
from laminate.pretrained.inception import load_inception
from laminate.pretrained.lpips import load_lpips

from ..options import Options
from ..reader import CannotRun, Golden
from .vision import channels_last

_ABOUT_THE_FILE = ("note", "recipe", "seed", "table", "tolerance")
_RULES: dict[str, Rule] = {"tf": "tensorflow", "half_pixel": "half-pixel"}
_RESIZED = "resized_rows_cols_every_13"
_EVERY = 13


def lpips(golden: Golden) -> dict[str, np.ndarray]:
    options = Options("config", golden.config)
    widths = tuple(options.take("widths", WIDTHS))
    if options.take("input_range") != "[-1,1]":
        raise CannotRun("config input_range is not [-1,1]")
    options.ignore(*_ABOUT_THE_FILE, "reference_fp32_vs_fp64_max_abs", "relu1_2_x")
    options.none_left()
    network = load_lpips(golden.weights, widths=widths)
    x, y = (channels_last(golden.input(name)) for name in ("x", "y"))

    @jax.jit
    def run(network: Lpips, x: jax.Array, y: jax.Array) -> tuple[jax.Array, tuple[jax.Array, ...], jax.Array]:
        def distances(x: jax.Array) -> jax.Array:
            return jax.vmap(network.by_stage)((x + 1) / 2, (y + 1) / 2)

        features = jax.vmap(lambda image: network.features((image + 1) / 2))(x)
        return distances(x), features, jax.grad(lambda x: jnp.mean(jnp.sum(distances(x), axis=1)))(x)

    by_stage, features, gradient = run(network, x, y)
    first, last = (np.asarray(features[i]).transpose(0, 3, 1, 2) for i in (0, -1))
    produced = {
        "per_layer": np.asarray(by_stage),
        "per_sample": np.asarray(by_stage).sum(axis=1),
        "relu1_2_x": first[:1, :, ::4, ::4],
        "relu5_3_x": last,
        "grad_x_of_mean": np.asarray(gradient).transpose(0, 3, 1, 2),
    }
    return {name: value for name, value in produced.items() if name in golden.outputs}


def inception(golden: Golden) -> dict[str, np.ndarray]:
    options = Options("config", golden.config)
    options.ignore(*_ABOUT_THE_FILE, "feature_names", "reference_fp32_vs_fp64_pool3_max_rel_to_peak")
    options.ignore("torch_fidelity")
    options.none_left()
    network = load_inception(golden.weights)
    images = channels_last(golden.input("image")).astype(jnp.float32) / 255
    run = jax.jit(lambda network, prepared: jax.vmap(network)(prepared))
    produced: dict[str, np.ndarray] = {}
    for tag, rule in _RULES.items():
        prepared = jax.vmap(lambda image, rule=rule: inception_input(image, rule))(images)
        features: InceptionFeatures = run(network, prepared)
        found = {name.removeprefix("pool"): value for name, value in features._asdict().items()}
        # Of the TensorFlow rule, the file shows the image before it is scaled.
        shown = prepared * 128 + 128 if tag == "tf" else prepared
        found[_RESIZED] = shown.transpose(0, 3, 1, 2)[:, :, ::_EVERY, ::_EVERY]
        produced |= {f"{tag}/{name}": np.asarray(value) for name, value in found.items()}
    return {name: value for name, value in produced.items() if name in golden.outputs}
