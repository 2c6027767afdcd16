"""What one recipe says of the latents that another one reads: their shape, and whose they are."""

from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar, runtime_checkable

from laminate.recipes.network import TeacherConfig


@dataclass(frozen=True)
class TokenizerId:
    """Which tokenizer's latents are read."""

    name: str
    """The name of its recipe."""
    sha256: str
    """Of its weights and latent statistics, or the scaling of its latents (`train.export.content_hash`)."""

    def __str__(self) -> str:
        return f"{self.name} ({self.sha256[:12]})"


@dataclass(frozen=True)
class LatentSpec:
    """The latents of a tokenizer, for whoever generates, decodes or stores them."""

    tokens: int
    """Tokens per image."""
    latent_dim: int
    """Numbers per token."""
    image_size: int
    """Side of the images that they stand for, in pixels."""
    codes: int = 0
    """Whole numbers per token, which flow matching cannot draw; 0 where tokens are real numbers."""
    posterior: bool = False
    """Each has a deviation of its own beside its mean."""
    normalised: bool = True
    """Measured statistics bring them to mean 0 and variance 1; False if the tokenizer needs none."""
    patch: int | None = None
    """Side of the patch of pixels that each token stands for, of a tokenizer that reads images of any size: the tokens
    above are those of a square. None for one that reads squares alone."""
    teacher: TeacherConfig | None = None
    """The frozen network whose features they compress; None for those of images themselves."""
    grid: tuple[int, int] | None = None
    """Rows and columns on which the tokens stand, row by row; None for a sequence."""
    token_norm: float | None = None
    """Usual length of a raw token, where that is known without statistics."""

    @property
    def numbers(self) -> int:
        return self.tokens * self.latent_dim

    @property
    def token_shape(self) -> tuple[int, ...]:
        """Of the tokens of an image: `(tokens, latent_dim)`, and of whole numbers `(tokens,)`, or `(tokens, codebooks)`
        where each has several."""
        return (self.tokens,) if self.codes == 1 else (self.tokens, self.codes or self.latent_dim)


@dataclass(frozen=True)
class LoadedTokenizer:
    """A trained tokenizer: the module with its statistics, its recipe, where it lies and what it is."""

    model: Any
    recipe: Any
    latent: LatentSpec
    source: str
    """Where it was found, as it was named."""
    identity: TokenizerId
    data_label: str = ""
    """The name and a short hash of what it was trained on (`run_names.data_label`); nothing for its usual ones."""


@runtime_checkable
class ReadsLatents(Protocol):
    """A recipe whose shapes follow the latents of a tokenizer."""

    @property
    def name(self) -> str: ...
    @property
    def tokens(self) -> int: ...
    @property
    def latent_dim(self) -> int: ...
    @property
    def tokenizer(self) -> TokenizerId | None: ...
    @property
    def augment(self) -> Any: ...


R = TypeVar("R", bound=ReadsLatents)


def for_latents(
    recipe: R, latent: LatentSpec, identity: TokenizerId | None = None, *, what: str = "generator"
) -> R:
    """`recipe` for the latents of a tokenizer; without `identity`, for any tokenizer with latents of that shape.

    Raises ValueError if `recipe`, which is that of a `what`, was trained on the latents of another one, or on latents
    of another shape.
    """
    before, shape = recipe.tokenizer, (latent.tokens, latent.latent_dim)
    if before is not None and (recipe.tokens, recipe.latent_dim) != shape:
        raise ValueError(
            f"The {what} {recipe.name!r} is for {recipe.tokens} tokens of {recipe.latent_dim} numbers, and the "
            f"tokenizer has {latent.tokens} of {latent.latent_dim}: give the tokenizer {before.name}."
        )
    if before is not None and identity is not None and before.sha256 != identity.sha256:
        raise ValueError(
            f"The {what} {recipe.name!r} belongs to the tokenizer {before.name} with the hash {before.sha256[:12]}, "
            f"and this one is {identity.name} with {identity.sha256[:12]}: its latents mean something else. Give that "
            f"tokenizer, or train a {what} on this one."
        )
    changed: dict[str, Any] = {
        "tokens": latent.tokens,
        "latent_dim": latent.latent_dim,
        "augment": replace(recipe.augment, image_size=latent.image_size),
        "tokenizer": before if identity is None else identity,
    }
    return replace(recipe, **changed)  # pyright: ignore[reportCallIssue, reportArgumentType, reportUnknownVariableType]
