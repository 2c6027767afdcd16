"""What a published autoencoder is: its class, its configuration, and the images that it is asked to read."""

from dataclasses import dataclass, field, replace
from typing import get_args

from laminate.pretrained.families.autoencoders import Architecture
from laminate.recipes.augment import CenterCropConfig, ViewConfig
from laminate.recipes.checks import at_least, folder_name, one_of
from laminate.recipes.latent import LatentSpec
from laminate.recipes.serialization import parse_json


@dataclass(frozen=True)
class AutoencoderRecipe:
    """A network that was trained elsewhere, for images of any size."""

    name: str
    """The name that it was asked for by, or that of its folder."""
    architecture: Architecture
    """diffusers' class, or LatentDiffusion for the code that VA-VAE was trained with."""
    config: str
    """Its published configuration, as JSON."""
    patch: int
    """Side of the square of pixels that each of its latents stands for."""
    latent_dim: int
    """Numbers of each."""
    posterior: bool = True
    """Each has a deviation of its own beside its mean."""
    augment: ViewConfig = field(default_factory=CenterCropConfig)
    """How images become squares where squares are wanted, for a generator or a comparison."""

    def __post_init__(self) -> None:
        folder_name("name", self.name)
        one_of("architecture", self.architecture, get_args(Architecture))
        at_least("patch", self.patch, 1)
        at_least("latent_dim", self.latent_dim, 1)
        if not isinstance(parse_json(self.config), dict):
            raise ValueError(f"config must be a JSON object, got {self.config!r}.")

    @property
    def latent(self) -> LatentSpec:
        """The latents of a square."""
        side = -(-self.augment.image_size // self.patch)
        return LatentSpec(
            side**2,
            self.latent_dim,
            self.augment.image_size,
            posterior=self.posterior,
            normalised=False,
            patch=self.patch,
            grid=(side, side),
        )


def at_image_size(recipe: AutoencoderRecipe, side: int) -> AutoencoderRecipe:
    """`recipe` for squares of another side."""
    return replace(recipe, augment=replace(recipe.augment, image_size=side))
