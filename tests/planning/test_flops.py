"""Operations counted from compiled programs are those of the arithmetic that was written down."""

import itertools

import jax
import jax.numpy as jnp
import pytest

from laminate.planning.flops import count_flops, flops_by_opcode, flops_by_scope
from laminate.planning.hlo import parse_hlo

DEPTH, ROWS, DIM, HIDDEN = 5, 6, 8, 12
W1, W2 = (
    jax.ShapeDtypeStruct((DEPTH, DIM, HIDDEN), jnp.float32),
    jax.ShapeDtypeStruct((DEPTH, HIDDEN, DIM), jnp.float32),
)
X = jax.ShapeDtypeStruct((ROWS, DIM), jnp.float32)
FORWARD = DEPTH * 2 * (2 * ROWS * DIM * HIDDEN)


def layers(x, weights, *, remat=False):
    def body(x, w):
        return jnp.tanh(x @ w[0]) @ w[1], None

    return jax.lax.scan(jax.checkpoint(body, prevent_cse=False) if remat else body, x, weights)[0]


def flops_of(function, *shapes):
    return count_flops(parse_hlo(jax.jit(function).lower(*shapes).compile().as_text()))


def test_a_scan_of_products_counts_every_layer():
    assert flops_of(layers, X, (W1, W2)).total == FORWARD


def test_what_the_backward_pass_computes_again_is_told_apart():
    gradient = lambda remat: jax.grad(lambda x, w: jnp.sum(layers(x, w, remat=remat)), argnums=(0, 1))
    kept, again = (flops_of(gradient(remat), X, (W1, W2)) for remat in (False, True))
    assert (kept.total, kept.recomputed) == (3 * FORWARD, 0)
    assert (
        again.recomputed == again.total - kept.total == FORWARD // 2
    )  # the second product is not needed again


def test_products_over_a_batch_count_each():
    batched = lambda a, b: jnp.einsum("bhqd,bhkd->bhqk", a, b)
    a, b = jax.ShapeDtypeStruct((2, 3, 4, 5), jnp.float32), jax.ShapeDtypeStruct((2, 3, 7, 5), jnp.float32)
    assert flops_of(batched, a, b).total == 2 * 2 * 3 * 4 * 7 * 5


def product_as_convolution(left, right, out, window, labels):
    operands = f"  %l = {left} parameter(0)\n  %r = {right} parameter(1)\n"
    result = f"  ROOT %c = {out} convolution(%l, %r), window={{{window}}}, dim_labels={labels}"
    return count_flops(
        parse_hlo(f"HloModule m\n\nENTRY %main () -> f32[] {{\n{operands}{result}\n}}\n")
    ).total


def test_a_convolution_that_is_a_batched_product_counts_as_one():
    """As TPU compilers write attention: the batch axes are spatial, and dilation leaves one tap for each place."""
    logits = product_as_convolution(
        "bf16[16,12,288,64]{3,2,1,0}",
        "bf16[16,12,288,64]{3,2,1,0}",
        "f32[16,12,288,288]{2,3,1,0:T(8,128)}",
        "size=16x12 stride=15x11 lhs_dilate=16x12",
        "01bf_01oi->01bf",
    )
    mixed = product_as_convolution(
        "bf16[16,12,64,288]{3,2,1,0}",
        "bf16[16,12,64,288]{3,2,1,0}",
        "bf16[16,12,288,288]{2,3,1,0:T(8,128)}",
        "size=16x12 stride=16x12 pad=15_15x11_11 lhs_dilate=15x11 rhs_reversal=1x1",
        "01fb_01io->01fb",
    )
    assert logits == mixed == 2 * 16 * 12 * 288 * 288 * 64


@pytest.mark.parametrize(("stride", "padding", "groups"), [(1, 0, 1), (2, 1, 1), (3, 2, 2)])
def test_a_convolution_counts_the_taps_that_meet_the_image(stride, padding, groups):
    height, width, kernel, in_channels, out_channels = 7, 6, 3, 4, 6
    x = jax.ShapeDtypeStruct((2, height, width, in_channels), jnp.float32)
    w = jax.ShapeDtypeStruct((kernel, kernel, in_channels // groups, out_channels), jnp.float32)
    conv = lambda x, w: jax.lax.conv_general_dilated(
        x,
        w,
        (stride, stride),
        [(padding, padding)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )
    inside = lambda size: sum(
        0 <= place + tap - padding < size
        for place, tap in itertools.product(range(0, size + 2 * padding - kernel + 1, stride), range(kernel))
    )
    taps = inside(height) * inside(width)
    lowered = jax.jit(conv).lower(x, w).compiler_ir("hlo").as_hlo_module().to_string()
    assert count_flops(parse_hlo(lowered)).total == 2 * 2 * taps * (in_channels // groups) * out_channels


def test_operations_are_told_apart_by_scope_forward_and_backward():
    first, second = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((DIM, HIDDEN), (HIDDEN, DIM)))

    def loss(weights, x):
        with jax.named_scope("inner"):
            hidden = jnp.tanh(x @ weights[0])
        return jnp.sum(jnp.tanh(jax.named_scope("outer")(lambda h: h @ weights[1])(hidden)))

    step = jax.jit(lambda weights, x: (jax.grad(loss)(weights, x), x @ x.T))
    program = parse_hlo(step.lower((first, second), X).compile().as_text())
    product = 2 * ROWS * DIM * HIDDEN
    # The data have no gradient: the first map is passed twice, the second three times.
    expected = {"inner": 2 * product, "outer": 3 * product, "": 2 * ROWS * DIM * ROWS}
    assert flops_by_scope(program, ("outer", "inner")) == expected
    assert sum(expected.values()) == count_flops(program).total


def test_products_and_convolutions_are_told_apart():
    def both(x, kernel, w):
        y = jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return y @ w

    image = jax.ShapeDtypeStruct((2, 9, 8, 3), jnp.float32)
    kernel, matrix = (
        jax.ShapeDtypeStruct((3, 3, 3, 5), jnp.float32),
        jax.ShapeDtypeStruct((5, 7), jnp.float32),
    )
    program = parse_hlo(jax.jit(both).lower(image, kernel, matrix).compile().as_text())
    places = 2 * 7 * 6
    assert flops_by_opcode(program) == {"dot": 2 * places * 5 * 7, "convolution": 2 * places * 27 * 5}
