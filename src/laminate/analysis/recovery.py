"""What a generator makes of latents that noise has covered in part (FlatDINO's noise recovery)."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from laminate.analysis.generation import FlowConfig
from laminate.analysis.sampling import parts_of_rows
from laminate.flow import Solver, TimeGrid, solve
from laminate.parallel.feeding import feed
from laminate.train.step import joined, make_map, map_batches


class Recovered(NamedTuple):
    """Of each image and token, the mean squared error of the noisy latent and of what was made of it; the images that
    the latter stand for."""

    noisy: Float[np.ndarray, "images tokens"]
    error: Float[np.ndarray, "images tokens"]
    images: Float[np.ndarray, "images height width 3"]


class Recovery:
    """Latents on the path at any time of a grid, carried on from there without guidance; compiled once for all times.

    `frozen` is what decodes raw latents, and the statistics that make them raw. Image i has the noise that sample i of
    the same seed would begin with.
    """

    def __init__(
        self,
        flow: FlowConfig,
        network: Any,
        frozen: tuple[Any, Any],
        solver: Solver,
        *,
        mesh: Mesh,
        device_batch_size: int,
    ):
        self._flow, self._solver = flow, solver
        self._network, self._frozen = network, frozen
        self._mesh, self._device = mesh, device_batch_size
        self._apply: Any = None

    def __call__(
        self,
        latents: Float[np.ndarray, "images tokens dim"],
        labels: Int[np.ndarray, " images"],
        grid: TimeGrid,
        *,
        seed: int,
    ) -> Recovered:
        """What is made of `latents` (as the generator speaks them) from the first time of `grid` on."""
        frozen = (*self._frozen, jax.random.key(seed), grid)
        if self._apply is None:
            self._apply = make_map(
                self._one, self._network, frozen, mesh=self._mesh, compute_dtype=self._flow.dtype
            )
        batches = (
            {
                "latents": latents[rows].astype(np.float32),
                "label": labels[rows].astype(np.int32),
                "index": rows.astype(np.uint32),
                "valid": valid,
            }
            for rows, valid in parts_of_rows(len(latents), self._mesh, self._device)
        )
        found = joined(map_batches(self._apply, self._network, frozen, feed(batches, self._mesh)))
        return Recovered(found["noisy"], found["error"], found["images"])

    def _one(self, network: Any, frozen: tuple[Any, ...], example: dict[str, Array]) -> dict[str, Array]:
        flow, (decoder, normalization, key, grid) = self._flow, frozen
        z = flow.path.project(example["latents"])
        noise = flow.noise(jax.random.fold_in(key, example["index"]))
        noisy = flow.path.point(z, noise, grid.times[0])
        label = flow.label(example["label"])
        velocity = lambda x, t: flow.velocity(network, x, t, label)
        found = solve(velocity, noisy, grid, self._solver).state
        return {
            "noisy": jnp.mean(jnp.square(noisy - z), axis=-1),
            "error": jnp.mean(jnp.square(found - z), axis=-1),
            "images": decoder(flow.raw(normalization, found), dtype=flow.dtype),
        }


def guess_error(times: Float[np.ndarray, " times"]) -> Float[np.ndarray, " times"]:
    """The least mean squared error of any guess of standard normal latents at times of the straight path:
    `(1 - t)^2 / ((1 - t)^2 + t^2)`."""
    noise, data = np.square(1.0 - times), np.square(times)
    return noise / (noise + data)
