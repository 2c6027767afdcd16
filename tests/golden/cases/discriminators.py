"""Discriminators: what their backbone sees, logits, gradients, and what a forward pass in training changes."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from laminate.losses.adversarial import generator_loss, hinge_loss
from laminate.models.dino_discriminator import DinoDiscriminator
from laminate.models.discriminator import Discriminator
from laminate.models.patchgan import PatchGan
from laminate.nn import ActNorm, SpectralNorm
from laminate.pretrained.discriminators import VitBackbone, load_heads, load_patchgan
from laminate.pretrained.keymaps.base import export
from laminate.pretrained.keymaps.discriminator import flatdino_head_slots, patchgan_slots, rae_head_slots
from laminate.pretrained.plain import DINO, DINO_ORIGINAL
from laminate.pretrained.teachers import VitTeacher

from ..options import Options
from ..reader import CannotRun, Golden
from .vision import channels_last

_ABOUT_THE_FILE = ("note", "reference_fp32_vs_fp64_max_abs", "tolerance", "transformers")


def flatdino(golden: Golden) -> dict[str, np.ndarray]:
    options = Options("config", golden.config)
    size = options.take("resolution")
    config = options.take("vit")
    inside = Options("config.vit", config)
    inside.ignore(*DINO.defaults, *DINO.inert)
    inside.none_left()
    network = VitTeacher(DINO.load(config, under(golden, "dino/")), size, mean=DINO.mean, std=DINO.std)
    backbone, heads = visible_parts(network, under(golden, "disc/"), options)
    images, fakes = (jnp.asarray(golden.input(name)) for name in ("image", "fake"))
    features, of_fake = _features(backbone, images), _features(backbone, fakes)
    last, tap = _streams(backbone, images)
    produced: dict[str, Any] = {"backbone_final_prenorm": last, "backbone_tap0": tap}
    produced["logits_eval"] = _logits(heads, features)
    # The reference's first forward pass in training makes the step that its evaluation makes, and keeps it.
    produced["train1/logits"] = produced["logits_eval"]
    # It stores every weight divided by its sigma after each call, of which ours is a function that stays the same.
    stored = _divided(heads)
    produced |= _states("train1", stored)
    loss, gradient, second, third = _hinge(stored, features, of_fake)
    produced["train23/hinge_loss"] = loss
    produced |= {
        f"train23/grad/{name}": a for name, a in export(gradient, flatdino_head_slots(heads)).items()
    }
    produced |= _states("train3", _divided(third, by=second))
    return {name: np.asarray(value) for name, value in produced.items() if name in golden.outputs}


def rae(golden: Golden) -> dict[str, np.ndarray]:
    options = Options("config", golden.config)
    size = options.take("image_size_inside")
    config = dict(options.take("backbone"))
    config.pop("key_depths", None)
    inside = Options("config.backbone", config)
    inside.ignore(*DINO_ORIGINAL.defaults, *DINO_ORIGINAL.inert)
    inside.none_left()
    vit = DINO_ORIGINAL.load(
        {**config, "image_size": size, "hidden_act": "gelu_pytorch_tanh"}, under(golden, "dino/")
    )
    family = DINO_ORIGINAL
    network = VitTeacher(vit, size, mean=family.mean, std=family.std, resampling="bilinear")
    backbone, heads = visible_parts(network, under(golden, "heads_state/"), options)
    images, fakes = (channels_last(golden.input(name)) for name in ("image", "fake"))
    features, of_fake = _features(backbone, images), _features(backbone, fakes)
    produced: dict[str, Any] = {f"activation{i}": a.transpose(0, 2, 1) for i, a in enumerate(features)}
    produced["logits_eval"] = _logits(heads, features)
    loss, gradient, logits, first, of_images = _generator(heads, backbone, images)
    produced |= {"train1/generator_loss": loss, "train1/logits": logits}
    produced["train1/grad_image"] = of_images.transpose(0, 3, 1, 2)
    produced |= _named("train1/grad", gradient, heads)
    loss, gradient, second, third = _hinge(first, features, of_fake)
    produced |= {"train2/logits_real": _logits(second, features), "train23/hinge_loss": loss}
    produced["train3/logits_fake"] = _logits(third, of_fake)
    produced |= _named("train23/grad", gradient, heads)
    of_before = _states_of_before(golden)
    produced |= _named("train1/state", heads if of_before else first, heads)
    produced |= _named("train3/state", heads if of_before else third, heads)
    return {name: np.asarray(value) for name, value in produced.items() if name in golden.outputs}


def rae_note(golden: Golden) -> str:
    """What a reader of the comparison has to know."""
    return (
        f"{golden.path.name}: the states said to be those after training passes are the stored vectors, bit for bit, "
        "while the logits beside them are those of iterated ones: the file does not hold what the passes left. "
        "They are compared with the vectors that loading keeps, and pin no iteration."
        if _states_of_before(golden)
        else ""
    )


def patchgan(golden: Golden) -> dict[str, np.ndarray]:
    options = Options("config", golden.config)
    models = options.take("models")
    options.ignore(*_ABOUT_THE_FILE)
    options.none_left()
    produced: dict[str, np.ndarray] = {}
    for tag, values in models.items():
        network = load_patchgan(under(golden, f"{tag}/"))
        require_described(tag, network, Options(f"config.models.{tag}", values))
        images = channels_last(golden.input(f"{tag}/x"))
        logits, kept, gradient, of_images = _patches(network, images)
        rows, columns = _grid(network, images.shape[1:3])
        as_image = lambda a, rows=rows, columns=columns: np.asarray(a).reshape(-1, 1, rows, columns)
        slots = patchgan_slots(network)
        produced |= {
            f"{tag}/logits_eval": as_image(_logits(network, images)),
            f"{tag}/logits_train": as_image(logits),
            f"{tag}/grad_x_of_minus_mean": np.asarray(of_images).transpose(0, 3, 1, 2),
        }
        produced |= {f"{tag}/grad/{name}": a for name, a in export(gradient, slots).items()}
        produced |= {f"{tag}/state_after/{name}": a for name, a in export(kept, slots).items()}
    return {name: value for name, value in produced.items() if name in golden.outputs}


def _states_of_before(golden: Golden) -> bool:
    """Whether every state after a training pass is the one before it, which no step of a power iteration leaves."""
    states = {
        name.split("/state/")[1]: a for name, a in golden.outputs.items() if "/state/" in name and a.size > 1
    }
    stored = under(golden, "heads_state/")
    return bool(states) and all(np.array_equal(a, stored[name]) for name, a in states.items())


def under(golden: Golden, prefix: str) -> dict[str, np.ndarray]:
    return {k.removeprefix(prefix): a for k, a in golden.weights.items() if k.startswith(prefix)}


def visible_parts(
    network: VitTeacher, weights: dict[str, np.ndarray], options: Options
) -> tuple[VitBackbone, DinoDiscriminator]:
    """The backbone and the heads over it, once every option is known to be theirs."""
    backbone = VitBackbone(network, tuple(options.take("key_depths")))
    heads = load_heads(weights, norm=options.take("norm_type", "bn"))
    kernel, stored = options.take("kernel_size"), heads.heads[0].residual.conv.layer.weight.shape[-1]
    if (kernel, backbone.taps) != (stored, len(heads.heads)):
        raise CannotRun(
            f"config has kernel_size={kernel} and {backbone.taps} taps, the weights {stored} and {len(heads.heads)}"
        )
    options.ignore(*_ABOUT_THE_FILE)
    options.none_left()
    return backbone, heads


@jax.jit
def _features(backbone: VitBackbone, images: jax.Array) -> tuple[jax.Array, ...]:
    return jax.vmap(backbone)(images)


@jax.jit
def _streams(backbone: VitBackbone, images: jax.Array) -> tuple[jax.Array, jax.Array]:
    """All tokens that leave the last block, and the first of the tapped ones."""
    teacher = backbone.network
    seen = jax.vmap(lambda image: teacher.seen((image + 1) / 2))(images)
    taps = jax.vmap(lambda image: teacher.vit.taps(image, (-1, backbone.depths[0]))[1])(seen)
    return taps[:, 0], taps[:, 1]


@jax.jit
def _logits(discriminator: Discriminator, features: Any) -> jax.Array:
    return jax.vmap(discriminator)(features)


@jax.jit
def _hinge(heads: DinoDiscriminator, real: Any, fake: Any) -> Any:
    """The loss of a forward pass over true images and then one over generated ones, its gradient, and both states."""

    def loss(heads: DinoDiscriminator) -> tuple[jax.Array, tuple[DinoDiscriminator, DinoDiscriminator]]:
        of_real, kept = heads.training(real)
        of_fake, _ = kept.training(fake)
        losses = jax.vmap(hinge_loss)(jax.vmap(of_real)(real), jax.vmap(of_fake)(fake))
        return jnp.mean(losses), (of_real, of_fake)

    (value, states), gradient = jax.value_and_grad(loss, has_aux=True)(heads)
    return value, gradient, *states


@jax.jit
def _generator(heads: DinoDiscriminator, backbone: VitBackbone, images: jax.Array) -> Any:
    def loss(heads: DinoDiscriminator, images: jax.Array) -> tuple[jax.Array, Any]:
        features = jax.vmap(backbone)(images)
        now, kept = heads.training(features)
        logits = jax.vmap(now)(features)
        return jnp.mean(jax.vmap(generator_loss)(logits)), (logits, kept)

    (value, (logits, kept)), (gradient, of_images) = jax.value_and_grad(loss, (0, 1), has_aux=True)(
        heads, images
    )
    return value, gradient, logits, kept, of_images


@jax.jit
def _patches(network: PatchGan, images: jax.Array) -> Any:
    def loss(network: PatchGan, images: jax.Array) -> tuple[jax.Array, Any]:
        now, kept = network.training(images)
        logits = jax.vmap(now)(images)
        return -jnp.mean(logits), (logits, kept)

    (_, (logits, kept)), (gradient, of_images) = jax.value_and_grad(loss, (0, 1), has_aux=True)(
        network, images
    )
    return logits, kept, gradient, of_images


def _is_spectral(node: Any) -> bool:
    return isinstance(node, SpectralNorm)


@jax.jit
def _divided(heads: DinoDiscriminator, by: DinoDiscriminator | None = None) -> DinoDiscriminator:
    """Every weight divided by its sigma, or by that of the same layer in `by`."""

    def divide(layer: Any, other: Any) -> Any:
        if not _is_spectral(layer):
            return layer
        return eqx.tree_at(lambda m: m.layer.weight, layer, layer.layer.weight / other.sigma())

    return jax.tree.map(divide, heads, heads if by is None else by, is_leaf=_is_spectral)


def _states(at: str, heads: DinoDiscriminator) -> dict[str, np.ndarray]:
    """`u` and sigma of every layer, under FlatDINO's names."""
    vectors = {
        name: a for name, a in export(heads, flatdino_head_slots(heads)).items() if name.endswith("'u')")
    }
    sigmas = {
        name.replace("'u'", "'sigma'"): layer.sigma()
        for name, layer in zip(vectors, _layers(heads), strict=True)
    }
    return {f"{at}/state/{name}": np.asarray(a) for name, a in (vectors | sigmas).items()}


def _layers(heads: DinoDiscriminator) -> list[SpectralNorm]:
    """In the order of the slots."""
    return [layer for h in heads.heads for layer in (h.first.conv, h.residual.conv, h.output)]


def _named(at: str, tree: Any, heads: DinoDiscriminator) -> dict[str, np.ndarray]:
    return {f"{at}/{name}": a for name, a in export(tree, rae_head_slots(heads)).items()}


def require_described(tag: str, network: PatchGan, options: Options) -> None:
    channels, layers, width = (options.take(field) for field in ("input_nc", "n_layers", "ndf"))
    act = options.take("use_actnorm")
    options.none_left()
    found = (network.channels, len(network.stages) - 1, network.stages[0].conv.weight.shape[0])
    if found != (channels, layers, width) or act != isinstance(network.stages[1].norm, ActNorm):
        raise CannotRun(f"{tag}: the weights are of (input_nc, n_layers, ndf) = {found}, or of another norm")


def _grid(network: PatchGan, size: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of the logits."""
    rows, columns = (side // 2 ** (len(network.stages) - 1) - 2 for side in size)
    return rows, columns
