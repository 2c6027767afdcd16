"""What a generator recipe says, as rows of text."""

from laminate.recipes.generator import GeneratorRecipe
from laminate.recipes.generator_costs import generator_flops, generator_parameters
from laminate.recipes.network import Vit

Rows = tuple[tuple[str, str], ...]


def header_rows(recipe: GeneratorRecipe) -> Rows:
    """(what, value) of the model: the first lines of a run."""
    tokenizer = recipe.tokenizer
    source = "" if tokenizer is None else f" of {tokenizer.name} ({tokenizer.sha256[:12]})"
    normalised = "normalised" if recipe.normalize else "not normalised"
    classes = f"{recipe.classes} classes, dropped at {recipe.class_dropout:g}"
    return (
        ("latent", f"{recipe.tokens} tokens of {recipe.features}{source}, {normalised}"),
        ("classes", classes if recipe.classes else "none: unconditional"),
        ("predicts", f"{recipe.prediction}; {recipe.times} times, shifted by {recipe.shift:g}"),
        ("parameters", f"{generator_parameters(recipe):,}"),
    )


def generator_rows(recipe: GeneratorRecipe) -> Rows:
    """(what, value) of everything that the recipe resolves to."""
    optimizer, schedule, guidance = recipe.optimizer, recipe.schedule, recipe.guidance
    return (
        *header_rows(recipe),
        ("transformer", _vit(recipe.network)),
        *((("head", _vit(recipe.head)),) if recipe.head is not None else ()),
        ("cost", f"{generator_flops(recipe) / 1e9:.3g} GFLOPs forward (one multiply-add is one FLOP)"),
        ("schedule", f"{schedule.kind}, {schedule.length} {schedule.unit}, peak {schedule.peak:g}"),
        (
            "optimiser",
            f"{optimizer.kind}, betas {optimizer.betas}, weight decay {optimizer.weight_decay}, "
            f"clip {optimizer.clip_norm}, EMA {optimizer.ema_decay}",
        ),
        ("augmentation", recipe.augment.text),
        ("global batch", f"{recipe.global_batch_size} images"),
        ("sampling", f"{recipe.steps} steps; guidance {guidance.scale:g} in {guidance.interval}"),
    )


def _vit(vit: Vit) -> str:
    return (
        f"{vit.dim} wide, {vit.depth} layers, {vit.heads} heads, {vit.mlp} MLP of {vit.hidden}, "
        f"positions {vit.positions}"
    )
