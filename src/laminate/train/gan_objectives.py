"""What the step of two players is told: a network that makes images, and a discriminator that judges them."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

from jaxtyping import Array, PyTree

from laminate.types import Image, Metrics, Scalar


class DecoderExample(NamedTuple):
    """One example, after what is frozen: what the generating network is trained to read, and the image it should make.

    `inputs` and `clean` are pytrees of arrays, such as the latents of a tokenizer, or an image beside the features that
    it should have. `clean` is what is read when the discriminator is trained; `target` is an image in [0, 1].
    """

    inputs: PyTree
    clean: PyTree
    target: Image


class DiscriminatorInputs(NamedTuple):
    """A discriminator, as it is trained on this batch, and what it sees of one image: the augmented view first."""

    discriminator: Any
    views: tuple[PyTree, ...]


@dataclasses.dataclass(frozen=True)
class GanObjectives:
    """The two objectives and what they share, each on one example. `model` is what the `GanState` generates with.

    `prepare(frozen, example, step=, key=)` is a `DecoderExample`; no gradient passes through it.
    `hidden(model, frozen, inputs, key=)` is a pytree of all that is computed in front of the last layer, and
    `image(model, hidden)` is that layer. `last(model)` is the layer's weight: at it the two terms are compared, so
    nothing in front of it need be differentiated for that.
    `reconstruct(image, hidden, example, frozen, step=)` is the loss without an adversary, and its terms; `example` is
    what `prepare` gave.
    `views(image, frozen, key=)` is what the discriminator sees of an image: augmented, through its backbone. A second
    view, if there is one, is for penalties of `discriminator_loss`.
    `generator_loss(logits)` is the adversarial loss of the image, `discriminator_loss(real, fake)` that of the
    discriminator, and its terms.
    `quantize(image)` is what a generated image is when the discriminator is trained on it.
    `balance(norm, adversarial_norm)` is the weight of `generator_loss` before the constant `weight`; the norms are
    those of both gradients of the global batch at `last`, whether this is trained or not.
    The adversary acts on the image from step `adversarial_start` on; the discriminator trains from
    `discriminator_start` on.
    """

    prepare: Callable[..., DecoderExample]
    hidden: Callable[..., PyTree]
    image: Callable[[Any, PyTree], Image]
    last: Callable[[Any], Any]
    reconstruct: Callable[..., tuple[Scalar, Metrics]]
    views: Callable[..., tuple[PyTree, ...]]
    generator_loss: Callable[[Array], Scalar]
    discriminator_loss: Callable[[DiscriminatorInputs, DiscriminatorInputs], tuple[Scalar, Metrics]]
    quantize: Callable[[Image], Image]
    balance: Callable[[Scalar, Scalar], Scalar]
    weight: float
    adversarial_start: int
    discriminator_start: int
