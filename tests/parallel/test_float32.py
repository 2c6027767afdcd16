"""What a docstring calls float32 is float32 on every mesh, whatever the compute dtype, and in the compiled program."""

import re
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from laminate.flow import HEUN2, RK4, solve, time_grid
from laminate.models.dino_discriminator import DinoDiscriminator
from laminate.models.inception import InceptionV3
from laminate.models.patchgan import PatchGan
from laminate.models.vgg import Lpips
from laminate.models.vit import Trunk, Vit
from laminate.models.vit_distance import VitDistance
from laminate.nn import (
    FourierFeatures,
    LabelEmbed,
    Linear,
    PatchEmbed,
    TimeEmbed,
    WideConv2d,
    WideLinear,
    resize,
)
from laminate.parallel.mesh import MeshShape, build_mesh
from laminate.parallel.sharding import batch_sharding, place
from laminate.planning.chips import parse_topology
from laminate.planning.devices import describe_slice, has_compiler
from laminate.train.step import make_map
from tests.oracles.arrays import filled, normal

BF16 = jnp.dtype(jnp.bfloat16)
ROWS = 8


def vit(key):
    patch = PatchEmbed(8, 4, 16, key=key)
    return Vit(Trunk(dim=16, depth=2, heads=2, hidden=24), patch=patch, positions="sincos", key=key)


def images(side, count=ROWS):
    return jax.nn.sigmoid(normal(7, count, side, side, 3))


def time_of(module, x):
    return module(x[0])


PAIR = lambda module, x: module(x[0], x[1])
OF_STEP = {
    "time": (lambda k: TimeEmbed(FourierFeatures(16, key=k), 16, key=k), normal(1, ROWS, 1), time_of),
    "label": (
        lambda k: LabelEmbed(7, 16, key=k),
        jnp.arange(ROWS, dtype=jnp.int32)[:, None],
        time_of,
    ),
    "last layer": (lambda k: WideLinear(16, 12, key=k), normal(2, ROWS, 5, 16), lambda m, x: m(x)),
    "logits": (lambda k: WideConv2d(8, 8, 3, padding=1, key=k), normal(3, ROWS, 5, 5, 8), lambda m, x: m(x)),
}
FROZEN = {
    "lpips": (lambda k: Lpips((8, 8, 8, 8, 8), key=k), images(16), lambda m, x: m(x, jnp.flip(x, 0))),
    "distance": (
        lambda k: VitDistance(vit(k), 8, mean=(0.5,) * 3, std=(0.2,) * 3),
        images(8),
        lambda m, x: m(x, jnp.flip(x, 0)),
    ),
    "network": (lambda k: Linear(16, 12, key=k), normal(4, ROWS, 16), lambda m, x: m(x)),
}


def mapped(module, x, call, shape, *, frozen):
    """`call(module, row)` for each row of `x` on a mesh that computes in bfloat16."""
    mesh = build_mesh(MeshShape(*shape))
    placed = place(module, mesh)
    model, held = ((), placed) if frozen else (placed, ())
    of = (lambda m, f, e: {"y": call(f, e["x"])}) if frozen else (lambda m, f, e: {"y": call(m, e["x"])})
    apply = make_map(of, model, held, mesh=mesh, compute_dtype=BF16)
    return np.asarray(apply(model, held, jax.device_put({"x": x}, batch_sharding(mesh)))["y"])


@pytest.mark.parametrize("shape", [(1, 4), (2, 4)])
@pytest.mark.parametrize("name", OF_STEP)
def test_modules_of_a_step_in_bfloat16_that_are_float32_are_so_on_every_mesh(name, shape):
    make, x, call = OF_STEP[name]
    module = filled(make)
    one, many = (mapped(module, x, call, s, frozen=False) for s in ((1, 1), shape))
    assert one.dtype == np.float32
    np.testing.assert_allclose(many, one, rtol=1e-6, atol=1e-6 * np.abs(one).max())
    plain = np.asarray(jax.vmap(partial(call, module))(x))
    np.testing.assert_allclose(many, plain, rtol=1e-6, atol=1e-6 * np.abs(plain).max())


@pytest.mark.parametrize("name", FROZEN)
def test_frozen_networks_are_gathered_in_the_dtype_that_they_are_held_in(name):
    make, x, call = FROZEN[name]
    module = filled(make)
    one, many = (mapped(module, x, call, s, frozen=True) for s in ((1, 1), (1, 4)))
    np.testing.assert_allclose(many, one, rtol=2e-6, atol=2e-6 * np.abs(one).max())
    held = jax.tree.map(lambda a: a.astype(BF16) if eqx.is_inexact_array(a) else a, module)
    rough = mapped(held, x, call, (1, 4), frozen=True)
    # That the weights are seen at all in more than bfloat16 holds.
    assert np.abs(rough - one).max() > 1e-5 * np.abs(one).max()


# The compiled program: how many passes products take


def products(text):
    """(which product, its precision) of a lowered program, one for each."""
    found = re.findall(r"stablehlo\.(dot_general|convolution)\b(.*)", text)
    return [(kind, "HIGHEST, HIGHEST" in rest or rest.count("HIGHEST>") >= 2) for kind, rest in found]


def lowered(function, *arguments):
    with jax.default_matmul_precision("default"):
        return jax.jit(function).lower(*arguments).as_text()


def sgd(module, x, call):
    """A value and its derivative by the module and its input."""
    params, static = eqx.partition(module, eqx.is_inexact_array)
    total = lambda p, x: jnp.sum(call(eqx.combine(p, static), x).astype(jnp.float32))
    argnums = (0, 1) if jnp.issubdtype(x.dtype, jnp.floating) else 0
    return lambda p, x: jax.value_and_grad(total, argnums=argnums)(p, x), params


def inception(k):
    return eqx.filter_eval_shape(lambda key: InceptionV3(key=key), k)


EXACT = {
    **{name: case for name, case in OF_STEP.items() if name != "label"},
    "lpips": FROZEN["lpips"],
    "patchgan's logits": (
        lambda k: PatchGan(layers=1, width=4, norm="none", key=k),
        normal(5, ROWS, 4, 4, 8).astype(BF16),
        lambda m, x: m._logits(x),
    ),
    "dino's logits": (
        lambda k: DinoDiscriminator(32, 1, kernel=3, key=k).heads[0],
        normal(6, ROWS, 5, 32),
        lambda m, x: m._logits(x),
    ),
    "resize": (lambda k: (), images(8), lambda m, x: resize(x, (5, 6), "bicubic")),
}


@pytest.mark.parametrize("name", EXACT)
def test_products_of_what_is_called_float32_are_so_in_value_and_derivative(name):
    make, x, call = EXACT[name]
    function, params = sgd(make(jax.random.key(0)), x[0], call)
    found = products(lowered(function, params, x[0]))
    assert found and all(exact for _, exact in found), (name, found)


def test_so_are_those_of_inception():
    network = inception(jax.random.key(0))
    arrays, static = eqx.partition(network, lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct))
    call = lambda a, x: eqx.combine(a, static)(x)
    found = products(lowered(call, arrays, jax.ShapeDtypeStruct((299, 299, 3), jnp.float32)))
    assert len(found) >= 94 and all(exact for _, exact in found)


@pytest.mark.parametrize("solver", [HEUN2, RK4])
def test_so_are_the_sums_of_a_sampler_s_slopes(solver):
    found = products(lowered(lambda x: solve(lambda x, t: x, x, time_grid(3), solver).state, normal(0, 4, 3)))
    assert found and all(exact for _, exact in found)


def test_those_of_the_trunk_are_the_device_s_own():
    network = vit(jax.random.key(0))
    function, params = sgd(network, images(8)[0], lambda m, x: m(x))
    found = products(lowered(function, params, images(8)[0]))
    assert found and not any(exact for _, exact in found)


@pytest.mark.skipif(not has_compiler(), reason="the compiler for TPUs is not installed")
def test_a_tpu_takes_six_passes_for_the_one_and_one_for_the_other():
    """Of the program as it is compiled for a v5e that is not there."""
    device = describe_slice(parse_topology("v5e:2x4")).devices[0]
    sharding = jax.sharding.SingleDeviceSharding(device)
    x = jax.ShapeDtypeStruct((128, 128), jnp.float32, sharding=sharding)

    def compiled(make):
        shapes = eqx.filter_eval_shape(lambda key: make(128, 128, key=key), jax.random.key(0))
        arrays, static = eqx.partition(shapes, lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct))
        put = lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding)
        with jax.default_matmul_precision("default"):
            call = jax.jit(lambda a, x: eqx.combine(a, static)(x))
            return call.lower(jax.tree.map(put, arrays), x).compile().as_text()

    wide, plain = compiled(WideLinear), compiled(Linear)
    assert "operand_precision={highest,highest}" in wide
    assert "operand_precision={highest,highest}" not in plain
