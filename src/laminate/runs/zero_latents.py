"""Which image has a token of zeros, when a training on a sphere breaks on it: such a token has no direction."""

import contextlib
from collections.abc import Generator

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from laminate.analysis.generation import FlowConfig
from laminate.flow import AffinePath
from laminate.parallel.feeding import whole
from laminate.runs.setup import Run
from laminate.tokenizers.base import ImageTokenizer
from laminate.train.loop import DivergedError
from laminate.train.step import make_map


@contextlib.contextmanager
def zero_latents_named(run: Run, flow: FlowConfig) -> Generator[None]:
    """A loss that is no number because of a token without a place on the path names the image; any other stays.

    Raises `DivergedError` in either case. Every host comes here, since every host has the same loss.
    """
    try:
        yield
    except DivergedError as error:
        found = None if isinstance(flow.path, AffinePath) else first_without_place(run, flow)
        if found is None:
            raise
        key, tokens = found
        listed = f"token {tokens[0]} of its latent is" if len(tokens) == 1 else "tokens of its latent are"
        cause = f"{key}: {listed} all zeros, which has no direction, and the recipe generates directions"
        advice = "Leave the image out, or train with --path straight."
        raise DivergedError(f"{cause}: {error.found}", advice) from error


def first_without_place(run: Run, flow: FlowConfig) -> tuple[str, list[int]] | None:
    """The key of the first training image with a token that the path of `flow` has no place for, and which tokens.

    Images are seen as validation sees them.
    """

    def placeless(network: None, tokenizer: ImageTokenizer, example: dict[str, Array]) -> dict[str, Array]:
        return {"placeless": ~jnp.all(jnp.isfinite(flow.latents(tokenizer, example)), axis=-1)}

    apply = make_map(placeless, None, run.frozen, mesh=run.mesh, compute_dtype=flow.dtype)
    first = 0
    for batch in run.evaluation_batches(run.training):
        found, valid = whole((apply(None, run.frozen, batch), batch["valid"]))
        tokens = found["placeless"] & np.asarray(valid)[:, None]
        for row in np.flatnonzero(tokens.any(axis=1))[:1]:
            return run.training[first + int(row)].key, np.flatnonzero(tokens[row]).tolist()
        first += len(valid)
    return None
