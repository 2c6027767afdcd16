"""What the step of two players is told: a decoder that paints images, and a discriminator that judges them."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Array, Float, PyTree

from laminate.types import Image, Metrics, RandomKey, Scalar

Features = PyTree


class Prepared(NamedTuple):
    """One example, after the frozen networks: what the decoder is trained to read and what it should paint.

    `clean` is what it reads when the discriminator is trained; `target` is an image in [0, 1].
    """

    latents: Float[Array, "tokens features"]
    clean: Float[Array, "tokens features"]
    target: Image


class Seen(NamedTuple):
    """A discriminator, as it is trained on this batch, and what it sees of one image: the augmented view first."""

    discriminator: Any
    views: tuple[Features, ...]


@runtime_checkable
class Decoder(Protocol):
    """What is trained to paint. `last` is the linear layer whose gradients balance the two terms."""

    @property
    def last(self) -> Any: ...
    def hidden(self, latents: Array, *, key: RandomKey | None = None) -> Array: ...
    def paint(self, hidden: Array) -> Image: ...


@dataclasses.dataclass(frozen=True)
class Players:
    """The two objectives and what they share, each on one example.

    `prepare(frozen, example, key=)` is a `Prepared`; no gradient passes through it.
    `reconstruct(image, prepared, frozen, step=)` is the decoder's loss without an adversary, and its terms.
    `views(image, frozen, key=)` is what the discriminator sees of an image: augmented, through its backbone. A second
    view, if there is one, is for penalties of `discriminate`.
    `fool(logits)` is the decoder's adversarial loss, `discriminate(real, fake)` the discriminator's loss and its terms.
    `stored(image)` is what a painted image is when the discriminator is trained on it.
    `balance(norm, adversarial_norm)` is the weight of `fool` before the constant `weight`; the norms are those of both
    gradients of the global batch at the weight of the decoder's last layer.
    The adversary acts on the decoder from step `adversarial_start` on; the discriminator trains from
    `discriminator_start` on.
    """

    prepare: Callable[..., Prepared]
    reconstruct: Callable[..., tuple[Scalar, Metrics]]
    views: Callable[..., tuple[Features, ...]]
    fool: Callable[[Array], Scalar]
    discriminate: Callable[[Seen, Seen], tuple[Scalar, Metrics]]
    stored: Callable[[Image], Image]
    balance: Callable[[Scalar, Scalar], Scalar]
    weight: float
    adversarial_start: int
    discriminator_start: int
