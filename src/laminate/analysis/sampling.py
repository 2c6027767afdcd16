"""Images from a generator, by number: image i of a seed is the same in any batch and on any mesh."""

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array

from laminate.analysis.generation import FlowConfig
from laminate.data.host_slice import HostShare
from laminate.flow import (
    Interval,
    Solution,
    Solver,
    TimeGrid,
    autoguidance,
    classifier_free_guidance,
    solve,
    solve_adaptive,
)
from laminate.parallel.feeding import feed, parts_of_host
from laminate.tokenizers.latent_decoders import LatentDecoder
from laminate.tokenizers.normalization import Normalization
from laminate.train.step import joined, make_map, map_batches
from laminate.types import Latents, RandomKey, Scalar


class NotFiniteError(ArithmeticError):
    """A sample is not finite."""


class SamplerParams(eqx.Module):
    """What may differ from call to call of one compiled sampler.

    Image i starts from the noise of `fold_in(key, i)`. Guidance acts inside `interval`; `unguided` contains no time.
    """

    key: RandomKey
    grid: TimeGrid
    scale: Scalar
    interval: Interval

    def __init__(self, seed: int, grid: TimeGrid, *, scale: float = 1.0, interval: Interval | None = None):
        """Raises ValueError for a negative seed or scale. Without an interval nothing is guided."""
        if seed < 0:
            raise ValueError(f"A seed is at least 0, got {seed}.")
        if scale < 0.0 or not math.isfinite(scale):
            raise ValueError(f"A guidance scale must not be negative, got {scale}; 1 is no guidance.")
        self.key = jax.random.key(seed)
        self.grid = grid
        self.scale = jnp.asarray(scale, jnp.float32)
        self.interval = Interval(1.0, 1.0) if interval is None else interval


class Samples(NamedTuple):
    """Some of the samples, on the host: their numbers, their latents, and images in [0, 1] if they can be drawn."""

    numbers: np.ndarray
    latents: np.ndarray
    images: np.ndarray | None


@dataclasses.dataclass(frozen=True)
class SamplerConfig:
    """What a sampler is compiled for: a solver (None: adaptive steps), channels that guidance reaches, the share of the
    guided velocity that is brought back to the deviation of the label's.

    `everywhere` guides at all times and compiles no choice, which is for counting and timing.
    """

    solver: Solver | None
    channels: int | None = None
    everywhere: bool = False
    rescale: float = 0.0


def _one(
    flow: FlowConfig,
    config: SamplerConfig,
    network: Any,
    frozen: tuple[LatentDecoder | None, Normalization | None, Any, SamplerParams],
    example: dict[str, Array],
) -> dict[str, Array]:
    """One sample. A weaker network, if there is one, guides in place of the null class."""
    decoder, normalization, weak, params = frozen
    noise = flow.noise(jax.random.fold_in(params.key, example["index"]))
    label = flow.label(example["label"])

    def velocity_of(network: Any) -> Callable[[Latents, Scalar, Array], Latents]:
        return lambda x, t, label: flow.velocity(network, x, t, label)

    if weak is None:
        velocity = classifier_free_guidance(
            velocity_of(network),
            label,
            flow.null_label(),
            scale=params.scale,
            interval=params.interval,
            channels=config.channels,
            rescale=config.rescale,
            everywhere=config.everywhere,
        )
    else:
        strong, poor = velocity_of(network), velocity_of(weak)
        velocity = autoguidance(
            lambda x, t: strong(x, t, label),
            lambda x, t: poor(x, t, label),
            scale=params.scale,
            interval=params.interval,
        )
    if config.solver is None:
        state = solve_adaptive(velocity, noise)
        solution = Solution(state, jnp.where(jnp.all(jnp.isfinite(state)), -1, 0).astype(jnp.int32))
    else:
        solution = solve(velocity, noise, params.grid, config.solver)
    drawn: dict[str, Array] = {"latents": solution.state, "broken_at": solution.broken_at}
    if decoder is not None:
        raw = flow.raw(normalization, solution.state)
        drawn["images"] = decoder(raw, dtype=flow.dtype)
    return drawn


def make_sampler(
    flow: FlowConfig,
    config: SamplerConfig,
    network: Any,
    frozen: tuple[LatentDecoder | None, Normalization | None, Any, SamplerParams],
    *,
    mesh: Mesh,
) -> Callable[[Any, Any, dict[str, Array]], dict[str, Array]]:
    """`draw(network, frozen, batch)`, compiled for the mesh: `latents`, `broken_at` and, if they can be, `images`.

    `frozen` is what decodes raw latents or None, the statistics of the latents, a weaker network or None, and what may
    differ from call to call; a batch has a `label` and an `index` for each sample. The networks here are examples
    (arrays or their shapes).
    """

    def one(network: Any, frozen: Any, example: dict[str, Array]) -> dict[str, Array]:
        return _one(flow, config, network, frozen, example)

    return make_map(one, network, frozen, mesh=mesh, compute_dtype=flow.dtype)


class Sampler:
    """A compiled sampler: one for all numbers of steps, shifts, scales, intervals and seeds.

    `decoder` makes images of raw latents, if anything does; `normalization` makes latents raw. `weak` is a network for
    autoguidance. `device_batch_size` samples are drawn at a time on each device: with equal ones, every mesh computes
    the same numbers.
    """

    def __init__(
        self,
        flow: FlowConfig,
        network: Any,
        decoder: LatentDecoder | None,
        normalization: Normalization | None,
        *,
        mesh: Mesh,
        config: SamplerConfig,
        device_batch_size: int,
        weak: Any = None,
    ):
        self.flow, self.decoder = flow, decoder
        self._network, self._frozen = network, (decoder, normalization, weak)
        self.mesh = mesh
        self._device = device_batch_size
        self._config, self._apply = config, None

    @property
    def draws_images(self) -> bool:
        return self.decoder is not None

    @property
    def global_batch_size(self) -> int:
        return self._device * self.mesh.devices.size

    def draw(
        self, labels: np.ndarray, params: SamplerParams, *, first: int = 0, network: Any = None
    ) -> Iterator[Samples]:
        """Samples number `first`, `first + 1`, ... of these labels (-1: no class), in order, on every host.

        `network` takes the place of the one that the sampler was made with, as training goes on.

        Raises NotFiniteError with the first sample that is not finite, and the step at which it happened.
        """
        network = self._network if network is None else network
        frozen = (*self._frozen, params)
        if self._apply is None:
            self._apply = make_sampler(self.flow, self._config, network, frozen, mesh=self.mesh)
        at = first
        batches = feed(self._rows(labels, first), self.mesh)
        for drawn in map_batches(self._apply, network, frozen, batches):
            index = np.arange(at, at + len(drawn["latents"]))
            at += len(index)
            self._require_finite(drawn["broken_at"], index, params)
            images = drawn.get("images")
            _require_images(images, index)
            yield Samples(index, drawn["latents"], images)

    def decode(self, latents: np.ndarray) -> np.ndarray:
        """Images in [0, 1] of other latents, such as those between two samples."""
        flow, frozen = self.flow, self._frozen[:2]

        def one(network: Any, frozen: Any, example: dict[str, Array]) -> dict[str, Array]:
            decoder, normalization = frozen
            raw = flow.raw(normalization, example["latents"])
            return {"images": decoder(raw, dtype=flow.dtype)}

        apply = make_map(one, (), frozen, mesh=self.mesh, compute_dtype=flow.dtype)
        parts = parts_of_rows(len(latents), self.mesh, self._device)
        batches = ({"latents": latents[rows], "valid": valid} for rows, valid in parts)
        return joined(map_batches(apply, (), frozen, feed(batches, self.mesh)))["images"]

    def _rows(self, labels: np.ndarray, first: int) -> Iterator[dict[str, np.ndarray]]:
        """The rows of this host, batch by batch."""
        for rows, valid in parts_of_rows(len(labels), self.mesh, self._device):
            yield {
                "label": labels[rows].astype(np.int32),
                "index": (first + rows).astype(np.uint32),
                "valid": valid,
            }

    def _require_finite(self, broken_at: np.ndarray, index: np.ndarray, params: SamplerParams) -> None:
        bad = np.flatnonzero(broken_at >= 0)
        if not len(bad):
            return
        image, step = index[bad[0]], int(broken_at[bad[0]]) + 1
        steps = "adaptive" if self._config.solver is None else f"{int(params.grid.intervals)}"
        where = "in its" if self._config.solver is None else f"at step {step} of"
        more = f", and {len(bad) - 1} more of its batch" if len(bad) > 1 else ""
        raise NotFiniteError(
            f"image {image} is not finite {where} {steps} steps{more}: the weights are broken, or the guidance is "
            "too strong. Lower --scale, or take an earlier checkpoint."
        )


def parts_of_rows(count: int, mesh: Mesh, device_batch_size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Which of `count` rows this host holds of each global batch, and whether they are more than padding.

    Padding repeats the last row.
    """
    size = device_batch_size * mesh.devices.size
    places = HostShare(*parts_of_host(mesh)).places(size)
    for start in range(0, count, size):
        rows = start + places
        yield np.minimum(rows, count - 1), rows < count


def _require_images(images: np.ndarray | None, index: np.ndarray) -> None:
    if images is None:
        return
    bad = np.flatnonzero(~np.isfinite(images).all(axis=(1, 2, 3)))
    if len(bad):
        raise NotFiniteError(
            f"image {index[bad[0]]} is decoded to pixels that are not finite, and {len(bad) - 1} more of its batch: "
            "its latent is finite. Take another --decoder, or --precision float32."
        )
