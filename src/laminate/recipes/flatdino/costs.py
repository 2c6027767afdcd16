"""What a FlatDINO tokenizer costs, without building it."""

from laminate.recipes.bottleneck import FsqBottleneck
from laminate.recipes.costs import Cost, frozen_flops, training_flops, vit_flops, vit_parameters
from laminate.recipes.flatdino.recipe import FlatDinoRecipe


def encoder_cost(recipe: FlatDinoRecipe) -> Cost:
    """Cost of the encoder: teacher patches and registers in, latent out."""
    sequence = recipe.teacher.patches + recipe.encoder_registers
    parameters = vit_parameters(
        recipe.encoder,
        in_dim=recipe.teacher.dim,
        out_dim=recipe.encoder_out_dim,
        tokens=recipe.teacher.patches,
        registers=recipe.encoder_registers,
    )
    return Cost(parameters, sequence, vit_flops(recipe.encoder, sequence))


def decoder_cost(recipe: FlatDinoRecipe) -> Cost:
    """Cost of the decoder: latent and one query per patch in, features out."""
    sequence = recipe.tokens + recipe.decoder_registers
    parameters = vit_parameters(
        recipe.decoder,
        in_dim=recipe.decoder_in_dim,
        out_dim=recipe.decoder_out_dim,
        tokens=recipe.tokens,
        registers=recipe.decoder_registers,
    )
    return Cost(parameters, sequence, vit_flops(recipe.decoder, sequence))


def bottleneck_parameters(recipe: FlatDinoRecipe) -> int:
    """Nested dropout has a projection of the codes and a token for those left out; others have none."""
    bottleneck = recipe.bottleneck
    if isinstance(bottleneck, FsqBottleneck) and bottleneck.nested_dropout:
        return (bottleneck.width + 1) * recipe.decoder.dim
    return 0


def parameters(recipe: FlatDinoRecipe) -> int:
    """All trained numbers of the tokenizer."""
    return encoder_cost(recipe).parameters + decoder_cost(recipe).parameters + bottleneck_parameters(recipe)


def flops(recipe: FlatDinoRecipe) -> int:
    """Multiply-adds of one image in training, with those of the teacher."""
    trained = encoder_cost(recipe).flops + decoder_cost(recipe).flops
    return training_flops(trained, frozen_flops(recipe.teacher))
