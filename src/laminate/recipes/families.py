"""Everything that can be trained: the union of all recipes, and what is said of each.

A recipe has `name`, `schedule`, `optimizer`, `augment` and `global_batch_size`; data, devices, loop, checkpoints and
run folder need no more. A new one joins `Recipe` and `SCRIPTS` here, `FAMILIES` in `json_text`, and `build.model`.
"""

from laminate.recipes.bottleneck import FsqBottleneck
from laminate.recipes.costs import decoder_cost, encoder_cost
from laminate.recipes.decoder import DecoderRecipe
from laminate.recipes.decoder_rows import decoder_header_rows, decoder_summary
from laminate.recipes.flatdino import FlatDinoRecipe
from laminate.recipes.generator import GeneratorRecipe
from laminate.recipes.generator_rows import Rows, header_rows

Recipe = FlatDinoRecipe | GeneratorRecipe | DecoderRecipe


def script(recipe: Recipe) -> str:
    """The file in `experiments` that trains `recipe`."""
    if isinstance(recipe, GeneratorRecipe):
        return "generator.py"
    if isinstance(recipe, DecoderRecipe):
        return "decoder.py"
    return "fsq.py" if isinstance(recipe.bottleneck, FsqBottleneck) else "vae.py"


def require_script(recipe: Recipe, wanted: str) -> None:
    """Raises ValueError if another experiment than `wanted` trains `recipe`."""
    found = script(recipe)
    if found != wanted:
        raise ValueError(
            f"The recipe {recipe.name!r} is of another experiment than {wanted}: experiments/{found} trains it."
        )


def described(recipe: Recipe) -> Rows:
    """(what, value) of the model: the first lines of a run."""
    if isinstance(recipe, GeneratorRecipe):
        return header_rows(recipe)
    if isinstance(recipe, DecoderRecipe):
        return decoder_header_rows(recipe)
    parts = (encoder_cost(recipe), decoder_cost(recipe))
    parameters = " + ".join(f"{part.parameters:,}" for part in parts)
    return (
        (
            "teacher",
            f"{recipe.teacher.name}: {recipe.teacher.patches} patches of {recipe.teacher.dim} numbers",
        ),
        (
            "latent",
            f"{recipe.tokens} tokens of {recipe.bottleneck.width}: {recipe.compression:.1f}x fewer numbers",
        ),
        ("parameters", f"{parameters} (encoder + decoder)"),
    )


def summary(recipe: Recipe) -> str:
    """One sentence under the title of a report."""
    if isinstance(recipe, GeneratorRecipe):
        what = f"images of {recipe.classes} classes" if recipe.classes else "images"
        return f"Draws {what} as {recipe.tokens} tokens of {recipe.features} numbers."
    if isinstance(recipe, DecoderRecipe):
        return decoder_summary(recipe)
    return f"{recipe.compression:.1f}x fewer numbers than the teacher's features, in {recipe.tokens} tokens."
