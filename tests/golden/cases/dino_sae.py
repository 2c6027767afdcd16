"""DINO-SAE: the stem, decoders in the words of DC-AE, and both around a DINOv3."""

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from laminate.losses.alignment import cosine_alignment_loss
from laminate.models.conv_blocks import LinearAttentionBlock, ResBlock
from laminate.models.conv_stem import ConvStem, with_stem
from laminate.models.dc_decoder import DcDecoder
from laminate.models.dino_sae import DinoSae, encoded
from laminate.nn import JointRMSNorm, gelu_tanh
from laminate.pretrained.dinov3 import DINOV3_ORIGINAL
from laminate.pretrained.keymaps.base import export, load
from laminate.pretrained.keymaps.convolutions import decoder_slots, stem_slots
from laminate.pretrained.keymaps.dino_sae import autoencoder_slots

from ..options import Options
from ..reader import Golden
from .vision import by_model, channels_last

_ABOUT_THE_FILE = ("note", "reference_fp32_vs_fp64_max_abs", "tolerance", "recipe", "seed", "table")
_BLOCKS = {"ResBlock": False, "EViT_GLU": True}
_UPS = {"InterpolateConv": "nearest", "ConvPixelShuffle": "shuffle"}
_UP_SHORTCUTS = {"duplicating": "duplicate", "InterpolateConv": "nearest", None: "none"}
_NORMS = {"trms2d": JointRMSNorm, None: None}
_ACTIVATIONS = {
    "silu": jax.nn.silu,
    "relu": jax.nn.relu,
    "relu6": jax.nn.relu6,
    "hswish": jax.nn.hard_swish,
    "gelu": gelu_tanh,
}
_STEP = 4  # of the rows and columns that a file of the stem keeps after its first layer


def stem(golden: Golden) -> dict[str, np.ndarray]:
    """The cases `13_dinosae_stem*`."""
    options = Options("config", golden.config)
    dim = int(options.take("embed_dim"))
    norms = [f"cnn.{i}.norm.weight" for i in range(len(golden.weights))]
    widths = tuple(options.take("widths", [golden.weights[n].size for n in norms if n in golden.weights]))
    every = _STEP if options.take("after_layer0") else 1
    options.ignore(*_ABOUT_THE_FILE)
    options.none_left()
    made = _shapes(lambda key: ConvStem(dim, widths, key=key))
    made = load(made, stem_slots(made, "", lambda m: m), golden.weights)
    produced: dict[str, Any] = {}
    for name in golden.inputs:
        if name.startswith("image"):
            images = channels_last(golden.input(name))
            rows, columns = made.grid_of(*images.shape[1:3])
            tokens = _mapped(made, images)
            produced["patches" + name.removeprefix("image")] = tokens.reshape(len(images), rows, columns, dim)
    x = channels_last(golden.input("image"))
    for i, stage in enumerate(made.stages):
        x = _mapped(stage, x)
        first = _channels_first(x)
        produced[f"after_layer{i}"] = first[:, :, ::every, ::every] if i == 0 else first
    if "rmsnorm2d/x" in golden.inputs:
        scale = jnp.asarray(golden.input("rmsnorm2d/weight").reshape(-1))
        norm = eqx.tree_at(lambda n: n.scale, JointRMSNorm(len(scale)), scale)
        produced["rmsnorm2d/y"] = _channels_first(_mapped(norm, channels_last(golden.input("rmsnorm2d/x"))))
    return {name: np.asarray(value) for name, value in produced.items()}


def decoders(golden: Golden) -> dict[str, np.ndarray]:
    """The case `16_dinosae_dcae_decoder`: a decoder for each tag, and gradients of its mean square."""
    produced: dict[str, np.ndarray] = {}
    for tag, one in by_model(golden).items():
        options = Options(f"models.{tag}", one.config)
        network = _shapes(lambda key, options=options: decoder_of(options, key))
        options.ignore("latent_hw", *_ABOUT_THE_FILE)
        options.none_left()
        slots = decoder_slots(network, "", lambda m: m)
        network = load(network, slots, one.weights)
        latents = channels_last(one.input("latent"))
        found = dict(zip(("project_in", "after_stage0", "image"), _by_part(network, latents), strict=True))
        found = {name: _channels_first(value) for name, value in found.items()}
        found["mean_square"], (at_network, at_latents) = _mean_square(network, latents)
        found["grad_latent"] = _channels_first(at_latents)
        gradients = export(at_network, slots)
        found |= {f"grad/{name}": value for name, value in gradients.items()}
        first = min(name for name in gradients if name.startswith("project_out."))
        found["grad/project_out_first"] = gradients[first]
        produced |= {tag + name: np.asarray(value) for name, value in found.items()}
    return {name: value for name, value in produced.items() if name in golden.outputs}


def autoencoder(golden: Golden) -> dict[str, np.ndarray]:
    """The cases `13_dinosae_autoencoder*`."""
    options = Options("config", golden.config)
    config, inside = options.take("vit"), Options("config.decoder", options.take("decoder"))
    widths = tuple(options.take("stem_widths"))
    options.ignore(*_ABOUT_THE_FILE)
    options.none_left()
    of_vit = Options("config.vit", config)
    of_vit.ignore(*DINOV3_ORIGINAL.defaults, *DINOV3_ORIGINAL.inert)
    of_vit.none_left()

    def make(key: jax.Array) -> DinoSae:
        vit = DINOV3_ORIGINAL.make(config, key=key)
        decoder = decoder_of(inside, key)
        made = with_stem(vit, ConvStem(vit.norm.dim, widths, key=key))
        return DinoSae(made, decoder, mean=DINOV3_ORIGINAL.mean, std=DINOV3_ORIGINAL.std)

    network = _shapes(make)
    inside.none_left()
    weights = {name: a for name, a in golden.weights.items() if name != "dino_model.mask_token"}
    network = load(network, autoencoder_slots(network), weights)
    images, teacher = channels_last(golden.input("image")), jnp.asarray(golden.input("teacher_tokens"))
    tokens, cls, rebuilt, cosines, losses = _there_and_back(network, images, teacher)
    gradients = export(_through_blocks(network, images), autoencoder_slots(network))
    return {
        "patch_tokens": np.asarray(tokens),
        "cls_token": np.asarray(cls),
        "reconstruction": np.asarray(_channels_first(rebuilt)),
        "alignment_cos": np.asarray(cosines),
        "alignment_loss_mean_1_minus_cos": np.asarray(jnp.mean(losses)),
        **{f"grad_of_mean_square/{name}": value for name, value in gradients.items()},
    }


def decoder_of(options: Options, key: jax.Array) -> DcDecoder:
    """The network of a decoder's configuration; its lists run from the finest stage to the coarsest."""
    widths, depths = (tuple(options.take(field)) for field in ("width_list", "depth_list"))
    kinds = options.take("block_type", "ResBlock")
    kinds = [kinds] * len(widths) if isinstance(kinds, str) else kinds
    each = Options("block_type", dict(enumerate(kinds)))
    choose = lambda field, choices, default: options.choose(field, choices, default)
    norm, activation = choose("norm", _NORMS, "trms2d"), choose("act", _ACTIVATIONS, "silu")
    residual = partial(ResBlock, norm=norm, activation=activation)
    attended = partial(LinearAttentionBlock, activation=activation)
    return DcDecoder(
        int(options.take("latent_channels")),
        widths,
        depths,
        [attended if each.choose(place, _BLOCKS, "") else residual for place in range(len(kinds))],
        channels=int(options.take("in_channels", 3)),
        up=choose("upsample_block_type", _UPS, "ConvPixelShuffle"),
        up_shortcut=choose("upsample_shortcut", _UP_SHORTCUTS, "duplicating"),
        match_channels=options.take("upsample_match_channel", True),
        in_shortcut=choose("in_shortcut", {"duplicating": "duplicate", None: "none"}, "duplicating"),
        out_norm=choose("out_norm", _NORMS, "trms2d"),
        out_activation=choose("out_act", {**_ACTIVATIONS, None: None}, "relu"),
        key=key,
    )


def _shapes(make: Any) -> Any:
    return eqx.filter_eval_shape(make, jax.random.key(0))


def _channels_first(x: jax.Array) -> jax.Array:
    return jnp.moveaxis(x, -1, 1)


@eqx.filter_jit
def _mapped(module: Any, batch: jax.Array) -> jax.Array:
    return jax.vmap(module)(batch)


@eqx.filter_jit
def _by_part(network: DcDecoder, latents: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    begun = jax.vmap(network.begin)(latents)
    coarsest = network.stages[0]
    return begun, begun if coarsest is None else jax.vmap(coarsest)(begun), jax.vmap(network)(latents)


@eqx.filter_jit
def _mean_square(network: DcDecoder, latents: jax.Array) -> tuple[jax.Array, Any]:
    def loss(both: Any) -> jax.Array:
        return jnp.mean(jnp.square(jax.vmap(both[0])(both[1])))

    return eqx.filter_value_and_grad(loss)((network, latents))


@eqx.filter_jit
def _there_and_back(network: DinoSae, images: jax.Array, teacher: jax.Array) -> tuple[jax.Array, ...]:
    # The images of a file are normalised already.
    found = jax.vmap(lambda image: encoded(network.encoder, image)[:2])(images)
    grid = (images.shape[1] // network.decoder.patch, images.shape[2] // network.decoder.patch)
    rebuilt = jax.vmap(lambda tokens: network.decode(tokens, grid))(found[0])
    each = jax.vmap(jax.vmap(lambda a, b: cosine_alignment_loss(a[None], b[None])))
    losses = jax.vmap(cosine_alignment_loss)(found[0], teacher)
    return *found, rebuilt, 1.0 - each(found[0], teacher), losses


@eqx.filter_jit
def _through_blocks(network: DinoSae, images: jax.Array) -> Any:
    def loss(network: DinoSae) -> jax.Array:
        def one(image: jax.Array) -> jax.Array:
            found = encoded(network.encoder, image)
            return network.decode(found.patch_tokens, found.grid)

        return jnp.mean(jnp.square(jax.vmap(one)(images)))

    return eqx.filter_grad(loss)(network)
