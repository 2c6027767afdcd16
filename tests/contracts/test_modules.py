"""What every module of the library promises, whatever it computes.

A new module gets a line in `CASES`; the laws below are then its tests.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from laminate.bottlenecks.fsq import Fsq
from laminate.bottlenecks.gaussian import Gaussian
from laminate.bottlenecks.noisy import Noisy
from laminate.models import Ddt, Dit, FlatLatent, GridLatent, ImageLatent, SharedDit
from laminate.models.attention_pool import AttentionPool
from laminate.models.conv_blocks import (
    Downsample,
    GridAttention,
    LinearAttentionBlock,
    PreNormResBlock,
    ResBlock,
)
from laminate.models.conv_pyramid import Pyramid
from laminate.models.conv_stem import ConvStem, with_stem
from laminate.models.dc_autoencoder import DcAutoencoder
from laminate.models.dc_decoder import DcDecoder
from laminate.models.dc_encoder import DcEncoder
from laminate.models.dino_discriminator import DinoDiscriminator
from laminate.models.dino_sae import DinoSae
from laminate.models.kl_autoencoder import KlAutoencoder
from laminate.models.latent_scaling import LatentScaling, PatchedScaling
from laminate.models.naflex import NaFlexAutoencoder, NaFlexTransformer, Places, Window, naflex_trunk
from laminate.models.patchgan import PatchGan
from laminate.models.pixel_decoder import RegisterDecoder
from laminate.models.rae_decoder import RaeDecoder
from laminate.models.vgg import Lpips
from laminate.models.vit import Trunk, Vit
from laminate.models.vit_distance import VitDistance
from laminate.nn import (
    ActNorm,
    Attention,
    BatchNorm,
    Block,
    ConditionedBlock,
    ConditionedOutput,
    Conv1d,
    Conv2d,
    FourierFeatures,
    GroupNorm,
    JointRMSNorm,
    LabelEmbed,
    LayerNorm,
    Linear,
    LinearAttention,
    Mlp,
    Modulation,
    PatchEmbed,
    RMSNorm,
    Rotary,
    SinusoidalFeatures,
    SpectralNorm,
    Stack,
    SwiGlu,
    TimeEmbed,
    sequence_angles,
    trunc_normal,
)
from laminate.pretrained.patches import IMAGENET_MEAN, IMAGENET_STD
from laminate.pretrained.teachers import VitTeacher
from laminate.tokenizers import FlatDino, NestedLatents, Normalization

INIT = trunc_normal(0.3)
TRUNK = Trunk(dim=12, depth=2, heads=3, hidden=10, init=INIT, drop_path_rate=0.2, mlp_dropout_rate=0.1)
WIDE = Trunk(dim=16, depth=2, heads=2, hidden=6, norm=RMSNorm, init=INIT)


def call(module: Any, x: jax.Array, key: Any) -> jax.Array:
    return module(x, key=key)


class Case(NamedTuple):
    """How a module is made from a key, the shape of one input, and how it is called: `use(module, x, key)`."""

    make: Callable[[jax.Array], Any]
    shape: tuple[int, ...]
    use: Callable[[Any, jax.Array, Any], jax.Array] = call
    trained: bool = True


def block(key: jax.Array) -> Block:
    return TRUNK.block(key)


def parallel_block(key: jax.Array) -> Any:
    return replace(TRUNK, parallel=True, layer_scale=0.7).block(key)


def naflex(key: jax.Array) -> NaFlexAutoencoder:
    half = partial(
        NaFlexTransformer,
        naflex_trunk(8, 2, 2, layer_scale=0.7, drop_path_rate=0.2, init=INIT),
        cls_token=True,
        registers=2,
        window=Window(1),
        key=key,
    )
    return NaFlexAutoencoder(half(12, 5), half(5, 12), patch=2)


def at_places(module: NaFlexAutoencoder, x: jax.Array, key: Any) -> jax.Array:
    row, col = jnp.asarray([0, 0, 1, 1, 0]), jnp.asarray([0, 1, 0, 1, 0])
    return module(x, Places(row, col, jnp.arange(5) < 4), key=key)


def flatdino(key: jax.Array) -> FlatDino:
    k_encoder, k_decoder, k_nested = jax.random.split(key, 3)
    build = partial(Vit, TRUNK, init=INIT)
    return FlatDino(
        build(tokens=9, in_dim=5, out_dim=6, registers=4, positions="sincos", key=k_encoder),
        Gaussian(3, tanh=True),
        build(tokens=3, in_dim=8, out_dim=10, registers=11, key=k_decoder),
        encoder_disposable=1,
        decoder_disposable=2,
        intermediate=True,
        nested=NestedLatents(3, 8, init=INIT, key=k_nested),
    )


def register_decoder(key: jax.Array) -> RegisterDecoder:
    vit = Vit(TRUNK, tokens=3, in_dim=5, registers=4, init=INIT, key=key)
    return RegisterDecoder(vit, patch=2, mean=IMAGENET_MEAN, std=IMAGENET_STD, key=key)


def vit_distance(key: jax.Array) -> VitDistance:
    vit = Vit(TRUNK, patch=PatchEmbed(6, 2, 12, init=INIT, key=key), cls_token=True, init=INIT, key=key)
    return VitDistance(vit, 6, mean=IMAGENET_MEAN, std=IMAGENET_STD)


def teacher(key: jax.Array) -> VitTeacher:
    vit = Vit(TRUNK, patch=PatchEmbed(6, 2, 12, init=INIT, key=key), cls_token=True, init=INIT, key=key)
    return VitTeacher(vit, 6, mean=IMAGENET_MEAN, std=IMAGENET_STD)


def dino_sae(key: jax.Array) -> DinoSae:
    vit = Vit(
        TRUNK, patch=PatchEmbed(8, 4, 12, init=INIT, key=key), cls_token=True, positions="rotary", key=key
    )
    attended = partial(LinearAttentionBlock, head_dim=4)
    decoder = DcDecoder(12, (6, 12, 24), (1, 1, 1), (ResBlock, ResBlock, attended), key=key)
    return DinoSae(with_stem(vit, ConvStem(12, (5,), key=key)), decoder, mean=IMAGENET_MEAN, std=IMAGENET_STD)


def kl_autoencoder(key: jax.Array) -> KlAutoencoder:
    pyramid = Pyramid((4, 6), 1, partial(GroupNorm, groups=2))
    return KlAutoencoder(pyramid, pyramid, 5, key=key)


def dc_autoencoder(key: jax.Array) -> DcAutoencoder:
    """Both kinds of blocks, each norm, and a first stage of no blocks."""
    norm = partial(RMSNorm, bias=True)
    attended = partial(LinearAttentionBlock, head_dim=3, heads=1, kernels=(3,), norm=norm, local_norm=norm)
    stages = (4, 4, 8), (0, 1, 1), (ResBlock, partial(ResBlock, norm=BatchNorm), attended)
    encoder = DcEncoder(2, *stages, down="unshuffle", key=key)
    return DcAutoencoder(encoder, DcDecoder(2, *stages, up="shuffle", out_norm=norm, key=key))


def rebuild(model: DinoSae, x: jax.Array, key: Any) -> jax.Array:
    """The image, and the cls token beside it, which does not become one."""
    encoded = model.encode(x)
    assert encoded.cls_token is not None
    return model.decode(encoded.patch_tokens, encoded.grid) + jnp.sum(encoded.cls_token.astype(jnp.float32))


def autoencode(model: FlatDino, x: jax.Array, key: Any) -> jax.Array:
    final, intermediate = model.decode_raw(model.encode_raw(x, key=key)[0], keep=2)
    return jnp.concatenate([final, intermediate])


def conditioned_block(key: jax.Array) -> ConditionedBlock:
    k_block, k_modulation = jax.random.split(key)
    made = block(k_block)
    modulation = Modulation(12, 6, key=k_modulation)
    return ConditionedBlock(made.attention_norm, made.attention, made.mlp_norm, made.mlp, modulation)


def jointly(module: Dit | Ddt, x: jax.Array, key: Any) -> jax.Array:
    """With a class token made of the latent's first token."""
    velocity, of_cls = module.joint(x, jnp.concatenate([x[0], x[1]]), TIME, jnp.asarray(1), key=key)
    return jnp.concatenate([velocity.reshape(-1), of_cls])


def denoise(module: Dit | Ddt, x: jax.Array, key: Any) -> jax.Array:
    return module(x, TIME, jnp.asarray(1), key=key)


def embed(x: jax.Array) -> jax.Array:
    """A time out of an input, in its dtype."""
    return jnp.abs(x[0])


TIME = jnp.asarray(0.3)
CASES = {
    "Linear": Case(lambda key: Linear(5, 7, key=key), (3, 5)),
    "Linear without bias": Case(lambda key: Linear(5, 7, bias=False, key=key), (3, 5)),
    "LayerNorm": Case(lambda key: LayerNorm(5), (3, 5)),
    "RMSNorm": Case(lambda key: RMSNorm(5), (3, 5)),
    "RMSNorm with bias": Case(lambda key: RMSNorm(5, bias=True), (3, 5)),
    "Mlp": Case(lambda key: Mlp(5, 7, dropout_rate=0.3, init=INIT, key=key), (3, 5)),
    "SwiGlu": Case(lambda key: SwiGlu(5, 7, dropout_rate=0.3, init=INIT, key=key), (3, 5)),
    "Attention": Case(
        lambda key: Attention(5, 2, head_dim=3, qk_norm=RMSNorm, dropout_rate=0.3, init=INIT, key=key), (7, 5)
    ),
    "Block": Case(block, (7, 12)),
    "ParallelBlock": Case(parallel_block, (7, 12)),
    "NaFlexAutoencoder": Case(naflex, (5, 12), at_places),
    "Stack": Case(lambda key: Stack(block, 2, drop_path_rate=0.3, remat="block", key=key), (7, 12)),
    "PatchEmbed": Case(lambda key: PatchEmbed(6, 2, 5, init=INIT, key=key), (4, 6, 3)),
    "Vit of images": Case(
        lambda key: Vit(
            TRUNK,
            patch=PatchEmbed(6, 2, 12, init=INIT, key=key),
            registers=2,
            cls_token=True,
            out_dim=7,
            init=INIT,
            key=key,
        ),
        (6, 6, 3),
    ),
    "Vit of tokens": Case(
        lambda key: Vit(TRUNK, tokens=5, in_dim=4, registers=2, init=INIT, key=key), (5, 4)
    ),
    "Vit with rotary positions": Case(
        lambda key: Vit(
            replace(TRUNK, layer_scale=0.5, attention_bias=(True, False, True), mlp=Mlp),
            patch=PatchEmbed(6, 2, 12, crop=True, init=INIT, key=key),
            cls_token=True,
            positions="rotary",
            key=key,
        ),
        (6, 5, 3),
    ),
    "Conv2d": Case(lambda key: Conv2d(4, 6, 3, groups=2, padding="same", key=key), (5, 7, 4)),
    "Conv1d": Case(lambda key: Conv1d(4, 6, 3, circular=True, key=key), (5, 4)),
    "ConvStem": Case(lambda key: ConvStem(5, (3, 4), key=key), (9, 17, 3)),
    "LinearAttention": Case(lambda key: LinearAttention(12, head_dim=4, key=key), (7, 12)),
    "LinearAttention of several scales": Case(
        lambda key: LinearAttention(7, head_dim=3, heads=2, kernels=(3, 5), key=key), (3, 4, 7)
    ),
    "DcDecoder of shuffled channels": Case(
        lambda key: DcDecoder(
            3,
            (4, 8, 8),
            (0, 1, 1),
            up="shuffle",
            up_shortcut="nearest",
            in_shortcut="none",
            out_activation=jax.nn.silu,
            key=key,
        ),
        (3, 2, 3),
    ),
    "PreNormResBlock": Case(
        lambda key: PreNormResBlock(4, 6, norm=partial(GroupNorm, groups=2), key=key), (3, 5, 4)
    ),
    "GridAttention": Case(
        lambda key: GridAttention(4, norm=partial(GroupNorm, groups=2), key=key), (3, 2, 4)
    ),
    "Downsample": Case(lambda key: Downsample(3, 5, key=key), (6, 4, 3)),
    "LatentScaling": Case(
        lambda key: LatentScaling((0.3,), (2.0, 0.5, 1.1)),
        (4, 5, 3),
        lambda module, x, key: module(x),
        trained=False,
    ),
    "PatchedScaling": Case(
        lambda key: PatchedScaling(3), (4, 6, 3), lambda module, x, key: module(x), trained=False
    ),
    "Downsample with a shortcut": Case(
        lambda key: Downsample(3, 4, down="unshuffle", shortcut="average", key=key), (6, 4, 3)
    ),
    "DcAutoencoder": Case(dc_autoencoder, (8, 12, 3)),
    "KlAutoencoder": Case(kl_autoencoder, (4, 6, 3)),
    "DinoSae": Case(dino_sae, (8, 12, 3), rebuild),
    "JointRMSNorm": Case(lambda key: JointRMSNorm(6), (5, 4, 6)),
    "GroupNorm": Case(lambda key: GroupNorm(6, 3), (5, 6)),
    "BatchNorm": Case(lambda key: BatchNorm(5), (3, 5)),
    "ActNorm": Case(lambda key: ActNorm(5), (3, 5)),
    "SpectralNorm": Case(lambda key: SpectralNorm(Linear(5, 7, key=key), key=key), (3, 5)),
    "PatchGan": Case(lambda key: PatchGan(layers=1, width=3, key=key), (7, 8, 3)),
    "DinoDiscriminator": Case(
        lambda key: DinoDiscriminator(4, 2, kernel=3, key=key),
        (2, 5, 4),
        lambda module, x, key: module((x[0], x[1]), key=key),
    ),
    "AttentionPool": Case(lambda key: AttentionPool(6, 2, 5, key=key), (7, 6)),
    "RaeDecoder": Case(
        lambda key: RaeDecoder(
            TRUNK, tokens=9, in_dim=5, patch=2, mean=IMAGENET_MEAN, std=IMAGENET_STD, key=key
        ),
        (4, 5),
    ),
    "RegisterDecoder": Case(register_decoder, (3, 5)),
    "Lpips": Case(
        lambda key: Lpips((3, 4, 5, 4, 3), key=key),
        (2, 16, 16, 3),
        lambda module, x, key: module(x[0], x[1], key=key),
    ),
    "Lpips with AlexNet": Case(
        lambda key: Lpips((3, 4, 5, 4, 3), network="alex", key=key),
        (2, 35, 36, 3),
        lambda module, x, key: module(
            x[0] + 1, x[1] + 1, key=key
        ),  # bright: of dark ones nothing passes a ReLU
    ),
    "VitDistance": Case(vit_distance, (2, 8, 6, 3), lambda module, x, key: module(x[0], x[1], key=key)),
    "VitTeacher": Case(teacher, (7, 5, 3)),
    "Noisy": Case(lambda key: Noisy(6), (4, 6), lambda module, x, key: module(x, key=key)[0], trained=False),
    "Rotary": Case(lambda key: Rotary(sequence_angles(4, 3)), (2, 5, 4), lambda module, x, key: module(x)),
    "Modulation": Case(
        lambda key: Modulation(4, 2, key=key), (3, 4), lambda module, x, key: jnp.stack(module(x))
    ),
    "ConditionedBlock": Case(
        conditioned_block, (7, 12), lambda module, x, key: module(x, x[:1] + 1.0, key=key)
    ),
    "ConditionedOutput": Case(
        lambda key: ConditionedOutput(RMSNorm(4), 4, 3, key=key), (5, 4), lambda module, x, key: module(x, x)
    ),
    "TimeEmbed of random frequencies": Case(
        lambda key: TimeEmbed(FourierFeatures(3, key=key), 4, backwards=True, init=INIT, key=key),
        (2,),
        lambda module, x, key: module(embed(x)).astype(x.dtype),
    ),
    "TimeEmbed of geometric frequencies": Case(
        lambda key: TimeEmbed(SinusoidalFeatures(6), 4, init=INIT, key=key),
        (2,),
        lambda module, x, key: module(embed(x)).astype(x.dtype),
    ),
    "LabelEmbed": Case(
        lambda key: LabelEmbed(3, 4, init=INIT, key=key),
        (4,),
        lambda module, x, key: x * module(jnp.asarray(2)).astype(x.dtype),
    ),
    "Dit of tokens": Case(
        lambda key: Dit(TRUNK, FlatLatent(5, 2), classes=3, cls_dim=4, init=INIT, key=key), (5, 2), jointly
    ),
    "Dit of images": Case(
        lambda key: Dit(
            TRUNK, ImageLatent(4, 3, 2), classes=3, positions="learned", rotary=False, init=INIT, key=key
        ),
        (4, 4, 3),
        denoise,
    ),
    "SharedDit": Case(
        lambda key: SharedDit(
            naflex_trunk(8, 2, 2, layer_scale=0.7, init=INIT),
            GridLatent(2, 3, 4),
            classes=3,
            cls_token=True,
            registers=2,
            window=Window(1),
            init=INIT,
            key=key,
        ),
        (6, 4),
        denoise,
    ),
    "Ddt": Case(
        lambda key: Ddt(
            TRUNK, WIDE, FlatLatent(5, 2), classes=3, cls_dim=4, embed_init=INIT, init=INIT, key=key
        ),
        (5, 2),
        jointly,
    ),
    "Gaussian": Case(
        lambda key: Gaussian(3), (4, 6), lambda module, x, key: module(x, key=key)[0], trained=False
    ),
    "Fsq": Case(lambda key: Fsq((5, 3)), (4, 2), lambda module, x, key: module(x, key=key)[0], trained=False),
    "NestedLatents": Case(
        lambda key: NestedLatents(3, 8, init=INIT, key=key), (4, 3), lambda module, z, key: module(z, 2)
    ),
    "Normalization": Case(
        lambda key: Normalization(4, 3),
        (4, 3),
        lambda module, z, key: module.inverse(module(z)),
        trained=False,
    ),
    "FlatDino": Case(flatdino, (9, 5), autoencode),
}

every_module = pytest.mark.parametrize("name", CASES)


@cache
def real(name: str) -> Any:
    # This generator compiles many times faster than the default one.
    return jax.jit(CASES[name].make)(jax.random.key(0, impl="unsafe_rbg"))


@cache
def compiled(name: str) -> Any:
    """One program that uses a module under `vmap`, and as the carry of a `scan`."""
    use = CASES[name].use

    @jax.jit
    def run(module: Any, xs: jax.Array, key: Any) -> tuple[jax.Array, jax.Array]:
        scanned = jax.lax.scan(lambda carry, x: (carry, use(carry, x, key)), module, xs)[1]
        return scanned, jax.vmap(lambda x: use(module, x, key))(xs)

    return run


def inputs(name: str, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=(2, *CASES[name].shape)), jnp.float32)


@every_module
def test_every_leaf_is_an_array(name: str) -> None:
    module = CASES[name].make(jax.random.key(0)) if not CASES[name].trained else real(name)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(module))
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(module))


@every_module
def test_the_abstract_module_is_the_real_one_without_its_values(name: str) -> None:
    abstract = eqx.filter_eval_shape(CASES[name].make, jax.random.key(0))
    assert jax.tree.structure(abstract) == jax.tree.structure(real(name))
    for shape, leaf in zip(jax.tree.leaves(abstract), jax.tree.leaves(real(name)), strict=True):
        assert (shape.shape, shape.dtype) == (leaf.shape, leaf.dtype)


@every_module
def test_jit_vmap_and_scan_take_it_directly_and_without_a_key_it_is_a_function(name: str) -> None:
    run, xs = compiled(name), inputs(name)
    scanned, mapped = run(real(name), xs, None)
    assert np.isfinite(scanned).all()
    if name != "Fsq":  # rounding may fall on the other side of a tie
        np.testing.assert_allclose(scanned, mapped, atol=2e-5)
    np.testing.assert_array_equal(run(real(name), xs, None)[0], scanned)


@every_module
def test_other_weights_and_inputs_do_not_recompile_it(name: str) -> None:
    run = compiled(name)
    run(real(name), inputs(name), None)
    before = run._cache_size()
    run(jax.tree.map(lambda leaf: leaf * 2, real(name)), inputs(name, 1), None)
    assert run._cache_size() == before


@every_module
def test_the_gradient_reaches_every_leaf_and_the_input_and_is_finite(name: str) -> None:
    case, x = CASES[name], inputs(name)[0]

    @jax.jit
    @partial(jax.grad, argnums=(0, 1))
    def gradient(module: Any, x: jax.Array) -> jax.Array:
        y = case.use(module, x, jax.random.key(3))
        return jnp.sum(y * jnp.cos(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape))

    # Initial biases and norms are special points: move off them.
    module = jax.tree.map(lambda leaf: leaf + 0.1, real(name)) if case.trained else real(name)
    of_module, of_input = gradient(module, x)
    assert np.isfinite(of_input).all() and np.any(np.asarray(of_input) != 0)
    for path, leaf in jax.tree_util.tree_leaves_with_path(of_module):
        where = jax.tree_util.keystr(path)
        assert np.isfinite(leaf).all(), where
        # A buffer is no parameter; some take part in a gradient, and some must not.
        statistic = "normalization" in where or where.endswith(".value") or not case.trained
        assert statistic or np.any(np.asarray(leaf) != 0), f"{where} is not used"


@every_module
def test_the_input_decides_the_dtype_of_all_but_latents(name: str) -> None:
    case = CASES[name]
    shape = jax.eval_shape(
        lambda module, x: case.use(module, x, None),
        real(name),
        jax.ShapeDtypeStruct(case.shape, jnp.bfloat16),
    )
    # Latents, logits, losses and decoded images are float32.
    wide = {"Gaussian", "Fsq", "Normalization", "FlatDino", "Noisy", "PatchGan", "DinoDiscriminator"}
    wide |= {"Lpips", "Lpips with AlexNet", "VitDistance", "RaeDecoder", "RegisterDecoder", "DinoSae"}
    wide |= {"DcDecoder of shuffled channels", "KlAutoencoder", "DcAutoencoder", "LatentScaling"}
    wide |= {"PatchedScaling"}
    assert shape.dtype == (jnp.float32 if name in wide else jnp.bfloat16)
