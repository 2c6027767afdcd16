"""The modules that a recipe describes. This is the one module of the recipes that needs JAX."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp

from laminate.bottlenecks.fsq import Fsq
from laminate.bottlenecks.gaussian import Gaussian
from laminate.models import Ddt, Dit, FlatLatent
from laminate.models import vit as models
from laminate.models.pixel_decoder import PixelDecoder, RegisterDecoder
from laminate.models.rae_decoder import RaeDecoder
from laminate.nn import LayerNorm, Mlp, RMSNorm, SwiGlu, trunc_normal, xavier_uniform
from laminate.nn.mlp import gelu_exact
from laminate.pretrained import hub
from laminate.pretrained.patches import IMAGENET_MEAN, IMAGENET_STD, Patches
from laminate.pretrained.published import READERS
from laminate.pretrained.rae import read_decoder
from laminate.pretrained.teachers import VitTeacher, load_teacher, teacher_identity, teacher_shapes
from laminate.recipes.bottleneck import FsqBottleneck, GaussianBottleneck
from laminate.recipes.decoder import DecoderRecipe
from laminate.recipes.families import Recipe
from laminate.recipes.flags import AttentionKernel, Remat
from laminate.recipes.flatdino import FlatDinoRecipe
from laminate.recipes.generator import GeneratorRecipe
from laminate.recipes.network import Teacher, Vit
from laminate.tokenizers.flatdino import FlatDino, NestedLatents
from laminate.tokenizers.latent_decoders import FeatureDecoder
from laminate.tokenizers.rae import RaePixels
from laminate.types import RandomKey


def flatdino(
    recipe: FlatDinoRecipe, *, kernel: AttentionKernel = "xla", remat: Remat = "none", key: RandomKey
) -> FlatDino:
    """The tokenizer of `recipe` with freshly drawn float32 parameters.

    `kernel` and `remat` say how attention and the backward pass are computed, which changes no result beyond
    round-off. Under `equinox.filter_eval_shape` nothing is allocated.
    """
    k_encoder, k_decoder, k_nested = jax.random.split(key, 3)
    encoder = models.Vit(
        trunk(recipe.encoder, kernel=kernel, remat=remat),
        tokens=recipe.teacher.patches,
        in_dim=recipe.teacher.dim,
        out_dim=recipe.encoder_out_dim,
        registers=recipe.encoder_registers,
        positions=recipe.encoder.positions,
        table_init=trunc_normal(recipe.encoder.table_std),
        key=k_encoder,
    )
    decoder = models.Vit(
        trunk(recipe.decoder, kernel=kernel, remat=remat),
        tokens=recipe.tokens,
        in_dim=recipe.decoder_in_dim,
        out_dim=recipe.decoder_out_dim,
        registers=recipe.decoder_registers,
        positions=recipe.decoder.positions,
        table_init=trunc_normal(recipe.decoder.table_std),
        key=k_decoder,
    )
    return FlatDino(
        encoder,
        bottleneck(recipe.bottleneck),
        decoder,
        encoder_disposable=recipe.encoder_disposable,
        decoder_disposable=recipe.decoder_disposable,
        intermediate=recipe.intermediate_layer is not None,
        nested=_nested(recipe, key=k_nested),
    )


def model(
    recipe: Recipe, *, kernel: AttentionKernel = "xla", remat: Remat = "none", key: RandomKey
) -> FlatDino | Dit | Ddt | PixelDecoder:
    """What `recipe` trains: a tokenizer, a generator or an image decoder."""
    if isinstance(recipe, DecoderRecipe):
        return image_decoder(recipe, kernel=kernel, remat=remat, key=key)
    if isinstance(recipe, GeneratorRecipe):
        return generator(recipe, kernel=kernel, remat=remat, key=key)
    return flatdino(recipe, kernel=kernel, remat=remat, key=key)


def generator(
    recipe: GeneratorRecipe, *, kernel: AttentionKernel = "xla", remat: Remat = "none", key: RandomKey
) -> Dit | Ddt:
    """The generator of `recipe` with freshly drawn float32 parameters; `kernel` and `remat` as for `flatdino`."""
    network = trunk(recipe.network, kernel=kernel, remat=remat)
    shape, null_class = FlatLatent(recipe.tokens, recipe.features), recipe.class_dropout > 0
    if recipe.head is None:
        return Dit(
            network,
            shape,
            classes=recipe.classes,
            null_class=null_class,
            positions=recipe.network.positions,
            rotary=recipe.rotary,
            key=key,
        )
    head = trunk(recipe.head, kernel=kernel, remat=remat)
    return Ddt(
        dataclasses.replace(network, init=xavier_uniform),
        dataclasses.replace(head, init=xavier_uniform),
        shape,
        classes=recipe.classes,
        null_class=null_class,
        positions=recipe.network.positions,
        rotary=recipe.rotary,
        key=key,
    )


def image_decoder(
    recipe: DecoderRecipe, *, kernel: AttentionKernel = "xla", remat: Remat = "none", key: RandomKey
) -> PixelDecoder:
    """The image decoder of `recipe` with freshly drawn float32 parameters; `kernel` and `remat` as for `flatdino`."""
    network, mean, std = recipe.network, IMAGENET_MEAN, IMAGENET_STD
    layers = trunk(network, kernel=kernel, remat=remat)
    if recipe.reads == "features":
        assert recipe.teacher is not None
        if recipe.teacher.family in READERS:
            mean, std = READERS[recipe.teacher.family].mean, READERS[recipe.teacher.family].std
        return RaeDecoder(
            layers,
            tokens=recipe.tokens,
            in_dim=recipe.features,
            patch=recipe.patch_size,
            mean=mean,
            std=std,
            key=key,
        )
    k_vit, k_last = jax.random.split(key)
    vit = models.Vit(
        layers,
        tokens=recipe.tokens,
        in_dim=recipe.features,
        registers=recipe.grid**2,
        positions=network.positions,
        table_init=trunc_normal(network.table_std),
        key=k_vit,
    )
    return RegisterDecoder(vit, patch=recipe.patch_size, mean=mean, std=std, key=k_last)


def teacher(recipe: Teacher, *, weights: bool = True) -> Patches | VitTeacher:
    """The frozen network of `recipe`, its weights in NumPy arrays for `parallel.sharding.place`; without `weights`,
    their shapes, for which a known name needs no file.

    Raises ValueError for weights that are damaged, of another network, or others than the recipe was made with, and
    OSError if they are not there.
    """
    if recipe.name == "patches":
        return Patches(recipe.image_size, recipe.patch_size)
    dtype = jnp.dtype(recipe.dtype)
    if not weights:
        return teacher_shapes(recipe.name, image_size=recipe.image_size, dtype=dtype)
    found = load_teacher(recipe.name, image_size=recipe.image_size, dtype=dtype, on_host=True)
    if (found.tokens, found.dim) != (recipe.patches, recipe.dim):
        raise ValueError(
            f"The teacher {recipe.name!r} gives {found.tokens} features of {found.dim} numbers, and the recipe was "
            f"made for {recipe.patches} of {recipe.dim}: give it the weights that it was made for."
        )
    return found


def identified(stated: Teacher) -> Teacher:
    """A teacher with the hash of its weights. Raises ValueError if it states another one already."""
    if stated.name == "patches":
        return stated
    found = teacher_identity(stated.name)
    if stated.weights not in ("", found):
        raise ValueError(
            f"The weights of the teacher {stated.name!r} have changed: their hash is {found[:12]}, and the recipe was "
            f"made with {stated.weights[:12]}. Bring the old ones back, or start from the name of the experiment."
        )
    return dataclasses.replace(stated, weights=found)


def require_teacher(recipe: FlatDinoRecipe, teacher: Teacher) -> None:
    """Raises ValueError unless a tokenizer of `recipe` reads the features of `teacher`: same sizes, same weights."""
    wanted = dataclasses.replace(recipe.teacher, name=teacher.name, dtype=teacher.dtype)
    if dataclasses.replace(wanted, weights=wanted.weights or teacher.weights) != teacher:
        known, given = (
            f"{one.name!r} ({one.patches} features of {one.dim} numbers, weights {one.weights[:12] or 'none'})"
            for one in (recipe.teacher, teacher)
        )
        raise ValueError(
            f"The tokenizer {recipe.name!r} was trained on the teacher {known}, and this is {given}: give it the "
            "features that it knows."
        )


def painter(teacher: Teacher, decoder: str | None) -> FeatureDecoder | None:
    """What shows the features of `teacher` as pixels: themselves, or the `decoder` of a published autoencoder.

    Its weights are NumPy arrays. None if there is nothing. Raises as `pixel_decoder`.
    """
    if decoder is not None:
        return pixel_decoder(decoder, teacher)
    return Patches(teacher.image_size, teacher.patch_size) if teacher.name == "patches" else None


def pixel_decoder(source: str, teacher: Teacher, *, flag: str = "--pixel-decoder") -> RaePixels:
    """The decoder of a published autoencoder, to look at the features of `teacher`; weights in NumPy arrays.

    Raises ValueError, naming the `flag`, if it takes other features, or cannot be read, and OSError if it is not there.
    """
    if teacher.family not in READERS:
        raise ValueError(f"{flag}: the features of `{teacher.name}` are pixels already, leave it out.")
    family = READERS[teacher.family]
    decoder = read_decoder(*hub.load(source), mean=family.mean, std=family.std, on_host=True)
    if decoder.vit.in_dim != teacher.dim:
        raise ValueError(
            f"{flag} {source} takes features of {decoder.vit.in_dim} numbers, and {teacher.name} gives "
            f"{teacher.dim}: use one that was trained on this teacher."
        )
    return RaePixels(decoder)


_MLPS = {"swiglu": SwiGlu, "gelu": Mlp, "gelu-exact": partial(Mlp, activation=gelu_exact)}


def trunk(vit: Vit, *, kernel: AttentionKernel = "xla", remat: Remat = "none") -> models.Trunk:
    """The layers of `vit`."""
    return models.Trunk(
        dim=vit.dim,
        depth=vit.depth,
        heads=vit.heads,
        hidden=vit.hidden,
        mlp=_MLPS[vit.mlp],
        norm=LayerNorm if vit.norm == "layer" else RMSNorm,
        norm_eps=vit.norm_eps,
        qk_norm=vit.qk_norm,
        attention_bias=vit.bias,
        mlp_bias=vit.bias,
        drop_path_rate=vit.drop_path_rate,
        kernel=kernel,
        remat=remat,
    )


def bottleneck(recipe: GaussianBottleneck | FsqBottleneck) -> Gaussian | Fsq:
    """The bottleneck of `recipe`; it has no parameters."""
    if isinstance(recipe, FsqBottleneck):
        return Fsq(recipe.levels)
    return Gaussian(
        recipe.features,
        tanh=recipe.tanh,
        deterministic=recipe.deterministic,
        initial_logvar=recipe.initial_logvar,
    )


def _nested(recipe: FlatDinoRecipe, *, key: RandomKey) -> NestedLatents | None:
    if isinstance(recipe.bottleneck, FsqBottleneck) and recipe.bottleneck.nested_dropout:
        return NestedLatents(len(recipe.bottleneck.levels), recipe.decoder.dim, key=key)
    return None
