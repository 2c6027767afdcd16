"""What a DINO-SAE costs, without building it: multiply-adds of one forward pass over one image."""

from laminate.recipes.costs import frozen_flops
from laminate.recipes.dino_sae.recipe import DinoSaeRecipe

_FIRST_KERNEL, _KERNEL = 7 * 7, 3 * 3
_EXPANSION = 4


def stem_flops(recipe: DinoSaeRecipe) -> int:
    """Of the stem's convolutions."""
    places, before, total = recipe.image_size**2, 3, 0
    for number, width in enumerate((*recipe.stem, recipe.teacher.dim)):
        places //= 4
        total += places * before * width * (_KERNEL if number else _FIRST_KERNEL)
        before = width
    return total


def decoder_flops(recipe: DinoSaeRecipe) -> int:
    """Of the decoder's convolutions and of its linear attention, whose cost grows with the places."""
    decoder, places = recipe.decoder, recipe.teacher.patches
    before = decoder.widths[-1]
    total = places * _KERNEL * recipe.teacher.dim * before
    for number, (width, depth, kind) in enumerate(
        zip(decoder.widths[::-1], decoder.depths[::-1], decoder.blocks[::-1], strict=True)
    ):
        if number and decoder.up == "shuffle":
            total += places * _KERNEL * before * 4 * width
        places *= 4 if number else 1
        if number and decoder.up == "nearest":
            total += places * _KERNEL * before * width
        total += (
            depth * places * (2 * _KERNEL * width**2 if kind == "residual" else _attention(recipe, width))
        )
        before = width
    return total + places * _KERNEL * before * 3


def _attention(recipe: DinoSaeRecipe, width: int) -> int:
    """Of one place in a block of linear attention."""
    attention = 4 * width**2 + 2 * width * recipe.decoder.head_dim
    return attention + 3 * _EXPANSION * width**2 + 2 * _EXPANSION * width * _KERNEL


def training_flops(recipe: DinoSaeRecipe) -> int:
    """Of one image in training. The stem's gradient goes through the frozen blocks, whose own weights have none; the
    aligned stage asks the whole frozen network too."""
    frozen, trained = frozen_flops(recipe.teacher), 3 * decoder_flops(recipe)
    if recipe.trains == "decoder":
        return trained + stem_flops(recipe) + frozen
    return trained + 3 * stem_flops(recipe) + (2 + bool(recipe.alignment)) * frozen
