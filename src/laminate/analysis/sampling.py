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

from laminate.analysis.generation import Generation
from laminate.data.host_slice import HostShare
from laminate.flow import (
    Interval,
    Solution,
    Tableau,
    TimeGrid,
    autoguidance,
    classifier_free_guidance,
    solve,
    solve_adaptive,
)
from laminate.parallel.feeding import feed, parts_of_host, whole
from laminate.tokenizers.latent_decoders import LatentDecoder
from laminate.tokenizers.normalization import Normalization
from laminate.train.step import make_map
from laminate.types import Latents, RandomKey, Scalar


class NotFiniteError(ArithmeticError):
    """A sample is not finite."""


class Knobs(eqx.Module):
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


class Batch(NamedTuple):
    """Some of the samples, on the host: their numbers, their latents, and images in [0, 1] if they can be drawn."""

    numbers: np.ndarray
    latents: np.ndarray
    images: np.ndarray | None


@dataclasses.dataclass(frozen=True)
class Method:
    """What a sampler is compiled for: a Runge-Kutta method (None: adaptive steps), channels that guidance reaches.

    `everywhere` guides at all times and compiles no choice, which is for counting and timing.
    """

    tableau: Tableau | None
    channels: int | None = None
    everywhere: bool = False


def _one(
    generation: Generation,
    method: Method,
    network: Any,
    frozen: tuple[LatentDecoder | None, Normalization, Any, Knobs],
    example: dict[str, Array],
) -> dict[str, Array]:
    """One sample. A weaker network, if there is one, guides in place of the null class."""
    painter, normalization, weak, knobs = frozen
    key = jax.random.fold_in(knobs.key, example["index"])
    noise = jax.random.normal(key, (generation.tokens, generation.features), jnp.float32)
    label = generation.label(example["label"])

    def velocity_of(network: Any) -> Callable[[Latents, Scalar, Array], Latents]:
        return lambda x, t, label: generation.velocity(network, x, t, label)

    if weak is None:
        velocity = classifier_free_guidance(
            velocity_of(network),
            label,
            generation.null_label(),
            scale=knobs.scale,
            interval=knobs.interval,
            channels=method.channels,
            everywhere=method.everywhere,
        )
    else:
        strong, poor = velocity_of(network), velocity_of(weak)
        velocity = autoguidance(
            lambda x, t: strong(x, t, label),
            lambda x, t: poor(x, t, label),
            scale=knobs.scale,
            interval=knobs.interval,
        )
    if method.tableau is None:
        state = solve_adaptive(velocity, noise)
        solution = Solution(state, jnp.where(jnp.all(jnp.isfinite(state)), -1, 0).astype(jnp.int32))
    else:
        solution = solve(velocity, noise, knobs.grid, method.tableau)
    drawn: dict[str, Array] = {"latents": solution.state, "broken_at": solution.broken_at}
    if painter is not None:
        raw = generation.raw(normalization, solution.state)
        drawn["images"] = painter(raw, dtype=generation.dtype)
    return drawn


def make_sampler(
    generation: Generation,
    method: Method,
    network: Any,
    frozen: tuple[LatentDecoder | None, Normalization, Any, Knobs],
    *,
    mesh: Mesh,
) -> Callable[[Any, Any, dict[str, Array]], dict[str, Array]]:
    """`draw(network, frozen, batch)`, compiled for the mesh: `latents`, `broken_at` and, if they can be, `images`.

    `frozen` is what paints raw latents or None, the statistics of the latents, a weaker network or None, and the knobs;
    a batch has a `label` and an `index` for each sample. The networks here are examples (arrays or their shapes).
    """

    def one(network: Any, frozen: Any, example: dict[str, Array]) -> dict[str, Array]:
        return _one(generation, method, network, frozen, example)

    return make_map(one, network, frozen, mesh=mesh, compute_dtype=generation.dtype)


class Sampler:
    """A compiled sampler: one for all numbers of steps, shifts, scales, intervals and seeds.

    `painter` makes images of raw latents, if anything does; `normalization` makes latents raw. `weak` is a network for
    autoguidance. `device_batch_size` samples are drawn at a time on each device: with equal ones, every mesh computes
    the same numbers.
    """

    def __init__(
        self,
        generation: Generation,
        network: Any,
        painter: LatentDecoder | None,
        normalization: Normalization,
        *,
        mesh: Mesh,
        method: Method,
        device_batch_size: int,
        weak: Any = None,
    ):
        self.generation = generation
        self.draws_images = painter is not None
        self._network, self._frozen = network, (painter, normalization, weak)
        self._mesh = mesh
        self._global = device_batch_size * mesh.devices.size
        self._method, self._apply = method, None

    @property
    def global_batch_size(self) -> int:
        return self._global

    def draw(
        self, labels: np.ndarray, knobs: Knobs, *, first: int = 0, network: Any = None
    ) -> Iterator[Batch]:
        """Samples number `first`, `first + 1`, ... of these labels (-1: no class), in order, on every host.

        `network` takes the place of the one that the sampler was made with, as training goes on.

        Raises NotFiniteError with the first sample that is not finite, and the step at which it happened.
        """
        network = self._network if network is None else network
        frozen = (*self._frozen, knobs)
        if self._apply is None:
            self._apply = make_sampler(self.generation, self._method, network, frozen, mesh=self._mesh)
        for start, batch in zip(
            range(0, len(labels), self._global), feed(self._rows(labels, first), self._mesh), strict=True
        ):
            drawn = whole(self._apply(network, frozen, batch))
            rows = min(self._global, len(labels) - start)
            index = np.arange(first + start, first + start + rows)
            self._require_finite(drawn["broken_at"][:rows], index, knobs)
            images = drawn["images"][:rows] if "images" in drawn else None
            _require_painted(images, index)
            yield Batch(index, drawn["latents"][:rows], images)

    def decode(self, latents: np.ndarray) -> np.ndarray:
        """Images in [0, 1] of other latents, such as those between two samples."""
        generation, frozen = self.generation, self._frozen[:2]

        def one(network: Any, frozen: Any, example: dict[str, Array]) -> dict[str, Array]:
            painter, normalization = frozen
            raw = generation.raw(normalization, example["latents"])
            return {"images": painter(raw, dtype=generation.dtype)}

        apply = make_map(one, (), frozen, mesh=self._mesh, compute_dtype=generation.dtype)
        images: list[np.ndarray] = []
        for start in range(0, len(latents), self._global):
            part = latents[start : start + self._global]
            filled = np.concatenate([part, np.repeat(part[-1:], self._global - len(part), axis=0)])
            batch = next(feed([{"latents": filled[self._places()]}], self._mesh))
            images.append(whole(apply((), frozen, batch))["images"][: len(part)])
        return np.concatenate(images)

    def _places(self) -> np.ndarray:
        """The rows of a global batch that this host holds, in order."""
        return HostShare(*parts_of_host(self._mesh)).places(self._global)

    def _rows(self, labels: np.ndarray, first: int) -> Iterator[dict[str, np.ndarray]]:
        """The rows of this host, batch by batch; the last batch is filled up with samples that are thrown away."""
        places = self._places()
        for start in range(0, len(labels), self._global):
            rows = start + places
            yield {
                "label": np.where(rows < len(labels), labels[np.minimum(rows, len(labels) - 1)], -1).astype(
                    np.int32
                ),
                "index": (first + rows).astype(np.uint32),
            }

    def _require_finite(self, broken_at: np.ndarray, index: np.ndarray, knobs: Knobs) -> None:
        bad = np.flatnonzero(broken_at >= 0)
        if not len(bad):
            return
        image, step = index[bad[0]], int(broken_at[bad[0]]) + 1
        steps = "adaptive" if self._method.tableau is None else f"{int(knobs.grid.intervals)}"
        where = "in its" if self._method.tableau is None else f"at step {step} of"
        more = f", and {len(bad) - 1} more of its batch" if len(bad) > 1 else ""
        raise NotFiniteError(
            f"image {image} is not finite {where} {steps} steps{more}: the weights are broken, or the guidance is "
            "too strong. Lower --scale, or take an earlier checkpoint."
        )


def _require_painted(images: np.ndarray | None, index: np.ndarray) -> None:
    if images is None:
        return
    bad = np.flatnonzero(~np.isfinite(images).all(axis=(1, 2, 3)))
    if len(bad):
        raise NotFiniteError(
            f"image {index[bad[0]]} is painted with pixels that are not finite, and {len(bad) - 1} more of its batch: "
            "its latent is finite. Take another --decoder, or --precision float32."
        )
