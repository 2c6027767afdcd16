"""What every discriminator is: a trained part, over what a frozen part sees of an image."""

import abc
from typing import Any

import equinox as eqx
from jaxtyping import Array, Float, PyTree

from laminate.nn import Average, unaveraged
from laminate.types import Image, RandomKey


class Backbone(eqx.Module):
    """The part that is never trained: an image in [-1, 1] in, features (a pytree of arrays) out.

    It is a module of its own, so that a training step can keep it among the frozen ones, differentiate through it and
    never by its weights, and see every real image once.
    """

    @abc.abstractmethod
    def __call__(self, image: Image, *, key: RandomKey | None = None) -> PyTree:
        raise NotImplementedError


class Pixels(Backbone):
    """The image itself."""

    def __call__(self, image: Image, *, key: RandomKey | None = None) -> Image:
        return image


class Discriminator(eqx.Module):
    """The part that is trained: the features of one image in, logits out, positive for what is taken as real.

    A call is the evaluation mode, and changes nothing. The logits are float32; what is computed before them has the
    dtype of the features.
    """

    @abc.abstractmethod
    def __call__(self, features: Any, *, key: RandomKey | None = None) -> Float[Array, " logits"]:
        raise NotImplementedError

    @abc.abstractmethod
    def training(
        self, features: Any, *, average: Average = unaveraged, parts: int = 1
    ) -> "tuple[Discriminator, Discriminator]":
        """The discriminator as training applies it to a batch, and the one that is kept afterwards.

            now, kept = discriminator.training(features, average=mesh_mean, parts=devices)
            logits = jax.vmap(now)(features)

        `features` have a leading axis of examples. Both results have the same parameters as this one, so gradients
        flow to them; they differ in their buffers: the vectors of a power iteration, the statistics of a batch.
        Those of the second carry no gradient. The batch is one of `parts` equal parts, one on each device, and
        `average` is the mean of an array over them, so that statistics are those of the whole.
        """
        raise NotImplementedError
