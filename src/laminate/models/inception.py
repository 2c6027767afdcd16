"""Inception-v3 from TensorFlow, as the Fréchet inception distance uses it (Szegedy et al. 2016; Heusel et al. 2017)."""

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from laminate.nn import Conv2d, Linear, average_pool, max_pool, resize
from laminate.types import Buffer, Float32Params, Image, RandomKey, exact

SIZE = 299
CLASSES = 1008
SPATIAL_CHANNELS = 7
Rule = Literal["tensorflow", "half-pixel", "antialias", "antialias-01"]

_NORM_EPS = 1e-3
_Shape = tuple[int, int, int | tuple[int, int], int]  # channels in, channels out, kernel, stride
_Units = Callable[[str, Array], Array]


class InceptionFeatures(NamedTuple):
    """Spatial means by the number of their channels, the logits with and without the bias of the last layer, and what
    the sFID is defined on: seven channels of 17 x 17 pixels (`Mixed_6d.branch1x1`), row by row, channels innermost."""

    pool64: Float[Array, " 64"]
    pool192: Float[Array, " 192"]
    pool768: Float[Array, " 768"]
    pool2048: Float[Array, " 2048"]
    logits_unbiased: Float[Array, " classes"]
    logits: Float[Array, " classes"]
    spatial2023: Float[Array, " spatial"]


class ConvUnit(eqx.Module):
    """Convolution, batch norm with the statistics of training, ReLU."""

    conv: Conv2d
    scale: Float[Array, " channels"]
    bias: Float[Array, " channels"]
    mean: Buffer
    variance: Buffer

    def __init__(self, shape: _Shape, *, same: bool, key: RandomKey):
        ins, outs, kernel, stride = shape
        padding = "same" if same else 0
        self.conv = Conv2d(ins, outs, kernel, stride=stride, padding=padding, bias=False, key=key)
        self.scale = jnp.ones(outs, jnp.float32)
        self.bias = jnp.zeros(outs, jnp.float32)
        self.mean = Buffer(jnp.zeros(outs, jnp.float32))
        self.variance = Buffer(jnp.ones(outs, jnp.float32))

    def __call__(self, x: Float[Array, "height width ins"]) -> Float[Array, "rows columns outs"]:
        y = self.conv(x)
        factor = self.scale.astype(jnp.float32) * jax.lax.rsqrt(
            self.variance.value.astype(jnp.float32) + _NORM_EPS
        )
        offset = self.bias.astype(jnp.float32) - self.mean.value.astype(jnp.float32) * factor
        wide = y.astype(jnp.float32) * jnp.broadcast_to(factor, y.shape) + jnp.broadcast_to(offset, y.shape)
        return jax.nn.relu(wide).astype(x.dtype)


class InceptionV3(Float32Params):
    """The network of the Fréchet inception distance, for images of 299x299 pixels prepared by `inception_input`.

    Products of float32 images are float32 on every device. Average pooling does not count padding, and the last block
    pools by the maximum. `units` are named as in the published file.
    """

    units: dict[str, ConvUnit]
    classifier: Linear

    def __init__(self, *, key: RandomKey):
        shapes = dict(_stem()) | dict(_mixed())
        *keys, k_classifier = jax.random.split(key, len(shapes) + 1)
        self.units = {
            name: ConvUnit(shape, same=_is_same(name, shape), key=k)
            for (name, shape), k in zip(shapes.items(), keys, strict=True)
        }
        self.classifier = Linear(2048, CLASSES, key=k_classifier)

    @exact
    @jax.named_scope("inception")
    def __call__(
        self, x: Float[Array, "height width 3"], *, key: RandomKey | None = None
    ) -> InceptionFeatures:
        def unit(name: str, x: Array) -> Array:
            return self.units[name](x)

        for name in ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3"):
            x = unit(name, x)
        x = pool64 = max_pool(x, 3, stride=2)
        for name in ("Conv2d_3b_1x1", "Conv2d_4a_3x3"):
            x = unit(name, x)
        x = pool192 = max_pool(x, 3, stride=2)
        for name in ("Mixed_5b", "Mixed_5c", "Mixed_5d"):
            x = _block_a(unit, name, x)
        x = _block_b(unit, "Mixed_6a", x)
        for name in ("Mixed_6b", "Mixed_6c"):
            x = _block_c(unit, name, x)
        # The compiler sees that the block computes this too.
        spatial = unit("Mixed_6d.branch1x1", x)[..., :SPATIAL_CHANNELS].astype(jnp.float32)
        for name in ("Mixed_6d", "Mixed_6e"):
            x = _block_c(unit, name, x)
        pool768 = x
        x = _block_d(unit, "Mixed_7a", x)
        x = _block_e(unit, "Mixed_7b", x, average_pool)
        x = _block_e(unit, "Mixed_7c", x, max_pool)
        last = _mean(x)
        unbiased = last @ self.classifier.weight.astype(jnp.float32).T
        return InceptionFeatures(
            _mean(pool64),
            _mean(pool192),
            _mean(pool768),
            last,
            unbiased,
            self.classifier(last),
            spatial.reshape(-1),
        )


def inception_input(image: Image, rule: Rule) -> Float[Array, "299 299 3"]:
    """An image in [0, 1] as the network wants it.

    `tensorflow` is the resize and scaling of the original FID: output `i` reads position `i * size / 299`, values are
    `(255 x - 128) / 128`. `half-pixel` aligns pixel centres and has `2 x - 1`. `antialias` is bicubic with
    antialiasing, clipped, and `2 x - 1`; ViTok's `antialias-01` leaves out the latter, so that the network sees half of
    the range that it was trained on.
    """
    wide = image.astype(jnp.float32)
    if rule == "tensorflow":
        return (255 * resize(wide, (SIZE, SIZE), "bilinear-corner") - 128) / 128
    if rule == "half-pixel":
        return 2 * resize(wide, (SIZE, SIZE), "bilinear") - 1
    seen = jnp.clip(resize(wide, (SIZE, SIZE), "bicubic-antialias"), 0, 1)
    return seen if rule == "antialias-01" else 2 * seen - 1


def _block_a(unit: _Units, name: str, x: Array) -> Array:
    pooled = average_pool(x, 3, stride=1, padding=1)
    return jnp.concatenate(
        [
            unit(f"{name}.branch1x1", x),
            _chain(unit, name, x, "branch5x5_1", "branch5x5_2"),
            _chain(unit, name, x, "branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"),
            unit(f"{name}.branch_pool", pooled),
        ],
        axis=-1,
    )


def _block_b(unit: _Units, name: str, x: Array) -> Array:
    double = _chain(unit, name, x, "branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3")
    return jnp.concatenate([unit(f"{name}.branch3x3", x), double, max_pool(x, 3, stride=2)], axis=-1)


def _block_c(unit: _Units, name: str, x: Array) -> Array:
    pooled = average_pool(x, 3, stride=1, padding=1)
    return jnp.concatenate(
        [
            unit(f"{name}.branch1x1", x),
            _chain(unit, name, x, *(f"branch7x7_{i}" for i in range(1, 4))),
            _chain(unit, name, x, *(f"branch7x7dbl_{i}" for i in range(1, 6))),
            unit(f"{name}.branch_pool", pooled),
        ],
        axis=-1,
    )


def _block_d(unit: _Units, name: str, x: Array) -> Array:
    wide = _chain(unit, name, x, *(f"branch7x7x3_{i}" for i in range(1, 5)))
    narrow = _chain(unit, name, x, "branch3x3_1", "branch3x3_2")
    return jnp.concatenate([narrow, wide, max_pool(x, 3, stride=2)], axis=-1)


def _block_e(unit: _Units, name: str, x: Array, pool: Callable[..., Array]) -> Array:
    once = unit(f"{name}.branch3x3_1", x)
    twice = _chain(unit, name, x, "branch3x3dbl_1", "branch3x3dbl_2")
    return jnp.concatenate(
        [
            unit(f"{name}.branch1x1", x),
            *(unit(f"{name}.branch3x3_2{side}", once) for side in "ab"),
            *(unit(f"{name}.branch3x3dbl_3{side}", twice) for side in "ab"),
            unit(f"{name}.branch_pool", pool(x, 3, stride=1, padding=1)),
        ],
        axis=-1,
    )


def _chain(unit: _Units, block: str, x: Array, *names: str) -> Array:
    for name in names:
        x = unit(f"{block}.{name}", x)
    return x


def _mean(x: Array) -> Array:
    return jnp.mean(x.astype(jnp.float32), axis=(0, 1))


def _is_same(name: str, shape: _Shape) -> bool:
    """Within blocks, stride 1 keeps the size; of the stem, one layer does."""
    return shape[3] == 1 and (name.startswith("Mixed") or name == "Conv2d_2b_3x3")


def _stem() -> Iterator[tuple[str, _Shape]]:
    yield "Conv2d_1a_3x3", (3, 32, 3, 2)
    yield "Conv2d_2a_3x3", (32, 32, 3, 1)
    yield "Conv2d_2b_3x3", (32, 64, 3, 1)
    yield "Conv2d_3b_1x1", (64, 80, 1, 1)
    yield "Conv2d_4a_3x3", (80, 192, 3, 1)


def _mixed() -> Iterator[tuple[str, _Shape]]:
    wide, tall = (1, 7), (7, 1)
    for block, ins, pool in (("Mixed_5b", 192, 32), ("Mixed_5c", 256, 64), ("Mixed_5d", 288, 64)):
        yield f"{block}.branch1x1", (ins, 64, 1, 1)
        yield from _row(block, "branch5x5_", ins, (48, 1), (64, 5))
        yield from _row(block, "branch3x3dbl_", ins, (64, 1), (96, 3), (96, 3))
        yield f"{block}.branch_pool", (ins, pool, 1, 1)
    yield "Mixed_6a.branch3x3", (288, 384, 3, 2)
    yield from _row("Mixed_6a", "branch3x3dbl_", 288, (64, 1), (96, 3), (96, 3), last_stride=2)
    for block, width in (("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192)):
        yield f"{block}.branch1x1", (768, 192, 1, 1)
        yield from _row(block, "branch7x7_", 768, (width, 1), (width, wide), (192, tall))
        steps = [(width, 1), (width, tall), (width, wide), (width, tall), (192, wide)]
        yield from _row(block, "branch7x7dbl_", 768, *steps)
        yield f"{block}.branch_pool", (768, 192, 1, 1)
    yield from _row("Mixed_7a", "branch3x3_", 768, (192, 1), (320, 3), last_stride=2)
    yield from _row(
        "Mixed_7a", "branch7x7x3_", 768, (192, 1), (192, wide), (192, tall), (192, 3), last_stride=2
    )
    for block, ins in (("Mixed_7b", 1280), ("Mixed_7c", 2048)):
        yield f"{block}.branch1x1", (ins, 320, 1, 1)
        yield f"{block}.branch3x3_1", (ins, 384, 1, 1)
        yield from _row(block, "branch3x3dbl_", ins, (448, 1), (384, 3))
        for stem in ("branch3x3_2", "branch3x3dbl_3"):
            yield f"{block}.{stem}a", (384, 384, (1, 3), 1)
            yield f"{block}.{stem}b", (384, 384, (3, 1), 1)
        yield f"{block}.branch_pool", (ins, 192, 1, 1)


def _row(
    block: str, name: str, ins: int, *steps: tuple[int, int | tuple[int, int]], last_stride: int = 1
) -> Iterator[tuple[str, _Shape]]:
    """Units `name1`, `name2`, ... one after the other, given their (channels, kernel)."""
    for number, (outs, kernel) in enumerate(steps, 1):
        yield f"{block}.{name}{number}", (ins, outs, kernel, last_stride if number == len(steps) else 1)
        ins = outs
