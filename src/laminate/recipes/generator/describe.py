"""What a generator's recipe says to a person."""

from laminate.recipes.describe import optimizer_text, shape_text, training_rows, transformer_text, view_rows
from laminate.recipes.family import CardText, Facts, Text
from laminate.recipes.generator.costs import generator_flops, generator_parameters
from laminate.recipes.generator.recipe import GeneratorRecipe


def describe(recipe: GeneratorRecipe) -> Text:
    """What is said of `recipe`."""
    what = f"images of {recipe.classes} classes" if recipe.classes else "images"
    conditioned = "class-conditional" if recipe.classes else "unconditional"
    on = "" if recipe.tokenizer is None else f" on {recipe.tokenizer.name}"
    return Text(
        title=f"Generator {recipe.name}{on}",
        header=_header(recipe),
        rows=_rows(recipe),
        summary=f"Draws {what} as {recipe.tokens} tokens of {recipe.latent_dim} numbers.",
        card=CardText(
            # The hub knows no task for images of given classes.
            task=None if recipe.classes else "unconditional-image-generation",
            tags=(f"{conditioned}-image-generation", "flow-matching", "diffusion-transformer"),
            use=_use(recipe),
        ),
        notes=("Tokens, numbers and classes become those of the tokenizer and the data.",),
        arguments=" --tokenizer RUN",
    )


def _header(recipe: GeneratorRecipe) -> Facts:
    source = "" if recipe.tokenizer is None else f" of {recipe.tokenizer}"
    grid = "" if recipe.grid is None else f" on a grid of {recipe.grid[0]} x {recipe.grid[1]}"
    normalised = "normalised" if recipe.normalize else "not normalised"
    classes = f"{recipe.classes} classes, dropped at {recipe.class_dropout:g}"
    return (
        ("latent", f"{recipe.tokens} tokens of {recipe.latent_dim}{grid}{source}, {normalised}"),
        ("classes", classes if recipe.classes else "none: unconditional"),
        ("predicts", f"{recipe.prediction}; {recipe.times} times, shifted by {recipe.resolved_time_shift:g}"),
        *_path_rows(recipe),
        *_shared_rows(recipe),
        ("parameters", f"{generator_parameters(recipe):,}"),
    )


def _rows(recipe: GeneratorRecipe) -> Facts:
    guidance = recipe.guidance
    solver = "" if recipe.solver is None else f" of {recipe.solver}"
    rescaled = f", rescaled by {guidance.rescale:g}" if guidance.rescale else ""
    return (
        *_header(recipe),
        ("transformer", transformer_text(recipe.network)),
        *((("head", transformer_text(recipe.head)),) if recipe.head is not None else ()),
        ("cost", f"{generator_flops(recipe) / 1e9:.3g} GFLOPs forward (one multiply-add is one FLOP)"),
        *training_rows(recipe.schedule, recipe.global_batch_size),
        ("optimiser", optimizer_text(recipe.optimizer)),
        *view_rows(recipe.augment),
        (
            "sampling",
            f"{recipe.steps} steps{solver}; guidance {guidance.scale:g} in {guidance.interval}{rescaled}",
        ),
    )


def _path_rows(recipe: GeneratorRecipe) -> Facts:
    if recipe.radius is None:
        return ()
    decoded = "" if recipe.decode_radius is None else f", decoded at a length of {recipe.decode_radius:g}"
    return (
        (
            "path",
            f"arcs on a sphere of radius {recipe.radius:g}{decoded}; what leaves it weighs {recipe.radial_weight:g}",
        ),
    )


def _shared_rows(recipe: GeneratorRecipe) -> Facts:
    shared = recipe.shared
    if shared is None:
        return ()
    window = "" if shared.window is None else f", every second layer sees {shared.window} places far"
    return (("modulation", f"one for all layers, {shared.prefix} tokens in front{window}"),)


def _use(recipe: GeneratorRecipe) -> tuple[str, ...]:
    tokenizer = recipe.tokenizer
    of = "" if tokenizer is None else f" `{tokenizer.name}` whose weights have the hash `{tokenizer.sha256}`"
    return (
        "A generator of the Python library laminate (distribution `laminate-jax`): a diffusion transformer that draws "
        "latents of an image tokenizer by flow matching.",
        "## Use",
        "```sh\npython experiments/sample.py --generator PATH --tokenizer PATH\n```",
        "```python\nimport laminate\n\n"
        'generator = laminate.load_pretrained("PATH OR ORGANISATION/NAME").model\n'
        f"output = generator(x, t, label)  # x {shape_text(recipe.tokens, recipe.latent_dim)}, "
        "t from 0 (noise) to 1 (data)\n"
        "```",
        f"It speaks the latents of the tokenizer{of}, and of no other.",
    )
