"""What an image decoder costs, without building it: parameters, and FLOPs as for the other networks (`costs`)."""

from laminate.recipes.costs import layer_parameters, vit_flops, vit_parameters
from laminate.recipes.image_decoder.recipe import DecoderRecipe


def decoder_sequence(recipe: DecoderRecipe) -> int:
    """Tokens that the transformer works on: latents and patches, or features and a cls token."""
    return recipe.tokens + (recipe.grid**2 if recipe.reads == "latents" else 1)


def decoder_flops(recipe: DecoderRecipe) -> int:
    """Multiply-adds of one forward pass over one image; only the layers count."""
    return vit_flops(recipe.network, decoder_sequence(recipe))


def decoder_parameters(recipe: DecoderRecipe) -> int:
    """All trained numbers of the decoder, the map to pixels among them."""
    vit, patches = recipe.network, recipe.grid**2
    last = (vit.dim + 1) * 3 * (recipe.patch_size + 2 * recipe.overlap) ** 2
    if recipe.reads == "latents":
        sizes = {"in_dim": recipe.latent_dim, "out_dim": vit.dim, "tokens": recipe.tokens}
        return vit_parameters(vit, registers=patches, **sizes) + last
    # The cls token has a position too, and the features are mapped with a bias.
    tokens = (recipe.tokens + 2) * vit.dim
    return (recipe.latent_dim + 1) * vit.dim + tokens + vit.depth * layer_parameters(vit) + 2 * vit.dim + last
