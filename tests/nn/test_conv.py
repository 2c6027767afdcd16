"""Convolution and pooling against loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from laminate.nn import Conv1d, Conv2d, DepthwiseConv2d, average_pool, max_pool
from tests.oracles.arrays import filled, normal


@pytest.mark.parametrize(
    ("kernel", "options"),
    [(3, {}), ((1, 5), {"padding": "same"}), ((3, 2), {"stride": 2, "padding": (2, 1), "groups": 2})],
)
def test_a_convolution_is_its_loop(kernel, options):
    conv = filled(lambda key: Conv2d(4, 6, kernel, key=key, **options))
    x = normal(0, 7, 9, 4)
    rows, columns = conv.padding
    padded = np.pad(x, ((rows, rows), (columns, columns), (0, 0)))
    height, width = conv.weight.shape[2:]
    out = [
        (side - size) // conv.stride + 1 for side, size in zip(padded.shape, (height, width), strict=False)
    ]
    wanted = np.zeros((*out, 6))
    for o in range(6):
        first = (o * conv.groups // 6) * conv.weight.shape[1]
        kernel = np.asarray(conv.weight[o]).transpose(1, 2, 0)
        for i in range(out[0]):
            for j in range(out[1]):
                top, left = i * conv.stride, j * conv.stride
                window = padded[top : top + height, left : left + width, first : first + kernel.shape[2]]
                wanted[i, j, o] = (window * kernel).sum() + conv.bias[o]
    np.testing.assert_allclose(jax.jit(Conv2d.__call__)(conv, x), wanted, atol=1e-5)


def test_a_depthwise_convolution_is_that_of_as_many_groups_as_channels():
    alone = filled(lambda key: DepthwiseConv2d(6, 3, key=key))
    grouped = filled(lambda key: Conv2d(6, 6, 3, padding="same", groups=6, key=key))
    x = normal(0, 7, 5, 6)
    np.testing.assert_allclose(alone(x), jax.jit(Conv2d.__call__)(grouped, x), atol=1e-5)


@pytest.mark.parametrize("circular", [False, True])
@pytest.mark.parametrize(("kernel", "tokens"), [(1, 4), (5, 7), (9, 3)])
def test_a_convolution_of_a_sequence_is_its_loop(kernel, tokens, circular):
    conv = filled(lambda key: Conv1d(4, 6, kernel, circular=circular, key=key))
    x = normal(0, tokens, 4)
    wanted = np.tile(np.asarray(conv.bias), (tokens, 1))
    for i in range(tokens):
        for tap in range(kernel):
            at = i + tap - kernel // 2
            if circular or 0 <= at < tokens:
                wanted[i] += np.asarray(conv.weight[:, :, tap]) @ np.asarray(x[at % tokens])
    np.testing.assert_allclose(jax.jit(Conv1d.__call__)(conv, x), wanted, atol=1e-5)


def _windows(x: np.ndarray, window: int, stride: int, padding: int) -> list[list[np.ndarray]]:
    starts = [range(-padding, side + padding - window + 1, stride) for side in x.shape[:2]]
    return [
        [x[max(i, 0) : i + window, max(j, 0) : j + window].reshape(-1, x.shape[2]) for j in starts[1]]
        for i in starts[0]
    ]


@pytest.mark.parametrize(("window", "stride", "padding"), [(3, 1, 1), (2, 2, 0), (3, 2, 0)])
def test_pooling_takes_only_pixels_of_the_image(window, stride, padding):
    x = normal(1, 7, 8, 2) - 3
    options = {"stride": stride, "padding": padding}
    for pool, fold in ((max_pool, np.max), (average_pool, np.mean)):
        wanted = [[fold(w, axis=0) for w in row] for row in _windows(np.asarray(x), window, stride, padding)]
        run = jax.jit(lambda x, pool=pool: pool(x, window, **options))
        np.testing.assert_allclose(run(x), wanted, atol=1e-6)
        gradient = jax.jit(jax.grad(lambda x, run=run: jnp.sum(run(x))))(x)
        np.testing.assert_allclose(jnp.sum(gradient), np.size(wanted), rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda key: Conv2d(4, 6, 3, groups=3, key=key), "groups=3 must divide in_channels=4"),
        (lambda key: Conv1d(4, 6, 4, key=key), "odd kernel, got kernel=4"),
        (lambda key: Conv2d(4, 6, (3, 2), padding="same", key=key), "odd sizes, got 3x2"),
    ],
)
def test_impossible_convolutions_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make(jax.random.key(0))
