"""ViTok's networks of patches: rotation by places, the autoencoder with padding, windows and special tokens."""

import dataclasses
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from laminate.models.latent_shape import GridLatent
from laminate.models.naflex import NaFlexAutoencoder, NaFlexTransformer, Places, Window, naflex_trunk
from laminate.models.shared_dit import SharedDit
from laminate.nn import Band, Rotary, Rotation, SinusoidalFeatures, multiple_of_16, place_angles, zeros
from laminate.pretrained.keymaps.base import load
from laminate.pretrained.keymaps.vitok import autoencoder_slots, dit_slots, renamed
from laminate.recipes.vitok_names import parse
from laminate.types import Buffer

from ..options import Options
from ..reader import CannotRun, Comparison, Golden, compare

_KEY = jax.random.key(0)
_TRAINING_ONLY = (
    "checkpoint",
    "drop_path_rate",
    "float8_mode",
    "float8_scope",
    "layer_scale_init",
    "max_tokens",
    "note",
    "reference_fp32_vs_fp64_max_abs",
    "temporal_stride",
    "tolerance",
    "train_seq_len",
)


def autoencoder(golden: Golden) -> dict[str, np.ndarray]:
    """The cases `14_vitok_ae*`."""
    options = Options("config", golden.config)
    network = autoencoder_of(options)
    options.ignore("grid", *_TRAINING_ONLY)
    options.none_left()
    network = load(network, autoencoder_slots(network), renamed(golden.weights))
    # A decoder alone begins with the latents that an encoder would have given.
    given = jnp.asarray(golden.input("latent" if network.encoder is None else "patches"))
    row, col = (
        jnp.broadcast_to(jnp.asarray(golden.input(name)), given.shape[:2]) for name in ("row_idx", "col_idx")
    )
    mask = golden.inputs.get("patch_mask")
    produced: dict[str, np.ndarray] = {}
    for name, places in {
        "masked": None if mask is None else Places(row, col, jnp.asarray(mask)),
        "no_mask": Places(row, col),
    }.items():
        if places is None:
            continue
        end = f"_{name}" if {f"latent_{name}", f"patches_{name}"} & set(golden.outputs) else ""
        found = _there_and_back(network, given, places)
        produced |= {f"{name}{end}": np.asarray(array) for name, array in found.items()}
    if mask is not None:
        produced["valid"] = mask
    if "window_mask" in golden.outputs:
        half = network.encoder or network.decoder
        assert half is not None
        band = half.sight(Places(row[0], col[0]))
        if not isinstance(band, Band):
            raise CannotRun(f"{golden.path}: a window_mask needs a window")
        produced["window_mask"] = np.asarray(band.pairs())
    return produced


def autoencoder_of(options: Options) -> NaFlexAutoencoder:
    """The network of an `AE` configuration, with weights to be replaced."""
    patch, channels = int(options.take("spatial_stride")), int(options.take("channels_per_token"))
    pixels = int(options.take("pixels_per_token"))
    factor, reach = options.take("mlp_factor", 2.67), options.take("sw")
    # The reference's dense backend knows no window.
    on = options.choose("attn_backend", {"sdpa": None, "flash": "raster", "flex": "grid"}, "sdpa")
    window = Window(int(reach), on) if on and reach and reach > 0 else None
    cls_token, registers = options.take("class_token", False), int(options.take("reg_tokens", 0))
    scale = 1e-4 if options.take("use_layer_scale", True) else None

    def half(name: str, in_dim: int, out_dim: int) -> NaFlexTransformer | None:
        sizes = [int(options.take(f"{name}_{field}")) for field in ("width", "depth", "heads")]
        if not options.take(name, True):
            return None
        trunk = naflex_trunk(*sizes, factor=factor, layer_scale=scale, init=zeros)
        return NaFlexTransformer(
            trunk, in_dim, out_dim, cls_token=cls_token, registers=registers, window=window, key=_KEY
        )

    return NaFlexAutoencoder(
        half("encoder", pixels, channels), half("decoder", channels, pixels), patch=patch
    )


def generator(golden: Golden) -> dict[str, np.ndarray]:
    """The case `14_vitok_dit`; velocities are noise - data there."""
    options = Options("config", golden.config)
    models = options.take("models")
    options.ignore("variants", *_TRAINING_ONLY)
    options.none_left()
    produced: dict[str, np.ndarray] = {}
    for tag, values in models.items():
        network = generator_of(Options(f"models.{tag}", values), under(f"{tag}/", golden.weights))
        z, t, label = (jnp.asarray(golden.input(f"{tag}/{name}")) for name in ("z", "t", "context"))
        places = None
        if f"{tag}/row_idx" in golden.inputs:
            row, col = (
                jnp.broadcast_to(jnp.asarray(golden.input(f"{tag}/{name}")), z.shape[:2])
                for name in ("row_idx", "col_idx")
            )
            places = Places(row, col)
        if places is not None and len(z) == network.stack.layers.attention.heads:
            network = _of_other_images(network)
            places = jax.tree.map(lambda a: jnp.broadcast_to(a[None], (a.shape[0], *a.shape)), places)
        produced[f"{tag}/out"] = -np.asarray(at_its_time(network, z, t, label, places))
    if "timestep_embedding_256" in golden.outputs:
        tag = "plain" if "plain" in models else next(iter(models))
        t = jnp.asarray(golden.input(f"{tag}/t"), jnp.float32)
        produced["timestep_embedding_256"] = np.asarray(jax.vmap(_released_features())(t))
    return produced


def generator_of(options: Options, weights: dict[str, np.ndarray]) -> SharedDit:
    """The network of a `DiT` configuration, with its weights."""
    tokens = int(options.take("num_tokens", 256))
    side = math.isqrt(tokens)
    # Only a square has places of its own; any other grid comes with them.
    grid = (side, side) if side * side == tokens else (1, tokens)
    reach = options.take("sw")
    network = SharedDit(
        naflex_trunk(
            *(int(options.take(field)) for field in ("width", "depth", "num_heads")),
            layer_scale=1e-4 if options.take("use_layer_scale", True) else None,
            init=zeros,
        ),
        GridLatent(*grid, int(options.take("code_width", 16))),
        classes=int(options.take("text_dim", 1000)),
        cls_token=options.take("class_token", False),
        registers=int(options.take("reg_tokens", 0)),
        theta=options.take("rope_theta", 10000.0),
        window=Window(int(reach)) if reach and reach > 0 else None,
        init=zeros,
        key=_KEY,
    )
    options.ignore(*_TRAINING_ONLY)
    options.none_left()
    return load(network, dit_slots(network), weights)


def _released_features() -> SinusoidalFeatures:
    """Features with the frequencies in the rounding of the released code.

    At times of a thousand a last bit of a frequency is three times the tolerance. The exponential that it used is
    half a bit and a hair from the true one: a quarter power of two in two parts, times a polynomial of degree five.
    """
    step = np.float32(-math.log(10000.0))
    x = step * np.arange(128, dtype=np.float32) / np.float32(128)
    fused = lambda a, b, c: (a.astype(np.float64) * b + c).astype(np.float32)
    quarters = np.rint(x * np.float32(4 / math.log(2)))
    high = np.float32(math.log(2) / 4)
    rest = fused(
        quarters, -float(np.float32(math.log(2) / 4 - float(high))), fused(quarters, -float(high), x)
    )
    series = np.full_like(rest, np.float32(1 / 120))
    for term in (24, 6, 2):
        series = fused(series, rest, np.float32(1 / term))
    series = fused(rest * rest, series, rest)
    whole, quarter = np.divmod(quarters.astype(int), 4)
    power = 2.0 ** (quarter / 4)
    first = power.astype(np.float32)
    value = first + ((power - first).astype(np.float32) + first * series)
    frequencies = Buffer(jnp.asarray(np.ldexp(value, whole), jnp.float32))
    return eqx.tree_at(lambda f: f.frequencies, SinusoidalFeatures(256), frequencies)


class _AnglesOfOtherImages(SharedDit):
    """The released code finds the axis of its angles by their number, and confuses images and heads of equal number.

    Head `h` then turns by the places of image `h`, whatever the image; `places` hold those of all images.
    """

    def rotation(self, places: Places) -> Rotation:
        head_dim = self.stack.layers.attention.head_dim
        angles = [
            place_angles(row, col, head_dim, theta=self.theta)
            for row, col in zip(places.row, places.col, strict=True)
        ]
        return lambda x: jnp.concatenate([Rotary(a)(x[h : h + 1]) for h, a in enumerate(angles)])


def _of_other_images(network: SharedDit) -> SharedDit:
    confused = object.__new__(_AnglesOfOtherImages)
    for field in dataclasses.fields(network):
        object.__setattr__(confused, field.name, getattr(network, field.name))
    return confused


def under(prefix: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}


@eqx.filter_jit
def at_its_time(network: SharedDit, z: Array, t: Array, label: Array, places: Places | None) -> Array:
    """The velocity of a batch, in the sense of this library, at times from 0 to 1000."""
    return jax.vmap(lambda z, t, label, places: network.at(z, t, label, places=places))(z, t, label, places)


def rope(golden: Golden) -> dict[str, np.ndarray]:
    """The case `14_vitok_rope2d`; its tables hold every angle once, ours once for either member of a pair."""
    options = Options("config", golden.config)
    head_dim, theta = int(options.take("dim")), options.take("theta", 10000.0)
    options.ignore("B", "H", "N", "note", "tolerance")
    options.none_left()
    row, col = (jnp.asarray(golden.input(name)) for name in ("row", "col"))

    @jax.jit
    @jax.vmap
    def turned(row: Array, col: Array, q: Array, k: Array) -> tuple[Array, ...]:
        rotary = Rotary(place_angles(row, col, head_dim, theta=theta))
        turn = lambda x: jnp.moveaxis(rotary(jnp.moveaxis(x, 1, 0)), 0, 1)
        return rotary.cos.value[:, ::2], rotary.sin.value[:, ::2], turn(q), turn(k)

    both = (jnp.asarray(golden.input(name)) for name in ("q", "k"))
    names = ("cos", "sin", "q_rotated", "k_rotated")
    return {name: np.asarray(a) for name, a in zip(names, turned(row, col, *both), strict=True)}


def judge_variants(golden: Golden) -> tuple[list[Comparison], str]:
    """The case `14_vitok_variants`: the rule of hidden widths, and every name."""
    widths = golden.input("swiglu_width_factor_x100").tolist()
    # Factors are given in hundredths, since 2.67 is no binary number.
    hidden = np.asarray([multiple_of_16(int(w * (f / 100))) for w, f in widths], np.int32)
    comparisons = compare(golden, {"swiglu_hidden": hidden})
    return comparisons + [_variant(*named) for named in golden.config["parsed"].items()], ""


def _variant(name: str, reference: dict[str, Any]) -> Comparison:
    try:
        variant = parse(name)
    except ValueError:
        faults = [] if "error" in reference else ["refused"]
        return Comparison(f"parsed/{name}", float(len(faults)), 0.0, not faults, "refused")
    ours: dict[str, Any] = {
        "channels_per_token": variant.channels,
        "mlp_factor": variant.mlp_factor,
        "pixels_per_token": variant.patch_dim,
        "spatial_stride": variant.patch,
        "temporal_stride": variant.temporal,
    }
    for half, sizes in (("encoder", variant.encoder), ("decoder", variant.decoder)):
        ours |= {f"{half}_{field}": value for field, value in sizes._asdict().items()}
    faults = [
        f"{field} {ours.get(field)}, not {reference.get(field)}"
        for field in sorted(ours.keys() | reference.keys())
        if ours.get(field) != reference.get(field)
    ]
    return Comparison(f"parsed/{name}", float(len(faults)), 0.0, not faults, "; ".join(faults))


@eqx.filter_jit
def _there_and_back(network: NaFlexAutoencoder, given: Array, places: Places) -> dict[str, Array]:
    """What each half that is there makes, the decoder of the encoder's latents."""
    found: dict[str, Array] = {}
    if network.encoder is not None:
        found["latent"] = given = jax.vmap(network.encode)(given, places)
    if network.decoder is not None:
        found["patches"] = jax.vmap(network.decode)(given, places)
    return found
