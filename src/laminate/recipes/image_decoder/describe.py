"""What the recipe of an image decoder says to a person."""

from laminate.recipes.adversarial.describe import adversary_text, perceptual_text
from laminate.recipes.describe import optimizer_text, shape_text, training_rows, transformer_text, view_rows
from laminate.recipes.family import CardText, Facts, Text
from laminate.recipes.image_decoder.costs import decoder_flops, decoder_parameters, decoder_sequence
from laminate.recipes.image_decoder.recipe import DecoderRecipe, Pixels, begins_with
from laminate.recipes.network import TeacherConfig

_NOTE = {
    "latents": "Tokens, numbers and the image become those of the tokenizer.",
    "reconstructed": "The teacher and the image become those of the tokenizer.",
}


def describe(recipe: DecoderRecipe) -> Text:
    """What is said of `recipe`."""
    latents = recipe.reads == "latents"
    on = "" if recipe.tokenizer is None else f" on {recipe.tokenizer.name}"
    weights = " --lpips FILE" if recipe.perceptual.kind == "lpips" and not recipe.perceptual.source else ""
    return Text(
        title=f"Image decoder {recipe.name}{on}",
        header=_header(recipe),
        rows=_rows(recipe),
        summary=f"Decodes images of {recipe.image_size} pixels from {recipe.tokens} "
        f"{'latents' if latents else 'features'} of {recipe.latent_dim} numbers.",
        card=CardText(
            task="image-to-image",
            tags=("image-decoder", "flatdino" if latents else "representation-autoencoder"),
            use=_use(recipe),
            teacher=recipe.teacher,
        ),
        notes=() if recipe.reads == "features" else (_NOTE[recipe.reads],),
        arguments=f" {'--teacher NAME' if recipe.reads == 'features' else '--tokenizer RUN'}{weights}",
    )


def _header(recipe: DecoderRecipe) -> Facts:
    return (
        ("reads", _source(recipe)),
        (
            "decodes to",
            f"{recipe.image_size} x {recipe.image_size} pixels, {recipe.grid**2} patches of {recipe.patch_size}",
        ),
        ("losses", f"{_pixels_text(recipe.pixels)} + {perceptual_text(recipe.perceptual)}"),
        ("adversary", adversary_text(recipe.adversary, recipe.schedule.unit)),
    )


def _rows(recipe: DecoderRecipe) -> Facts:
    noise = recipe.noise
    cost = (
        f"{decoder_parameters(recipe):,} parameters; {decoder_flops(recipe) / 1e9:.2f} GFLOPs forward over "
        f"{decoder_sequence(recipe)} tokens (one multiply-add is one FLOP)"
    )
    return (
        *_header(recipe),
        ("transformer", transformer_text(recipe.network)),
        ("cost", cost),
        ("noise", noise.kind if noise.kind == "none" else f"{noise.kind}, {noise.strength:g}"),
        *view_rows(recipe.augment),
        *((("begins with", "the decoder that the teacher was trained with"),) if begins_with(recipe) else ()),
        *(() if recipe.teacher is None else (("teacher sees", _seen(recipe.teacher)),)),
        *training_rows(recipe.schedule, recipe.global_batch_size),
        *_optimizer_rows(recipe),
    )


def _optimizer_rows(recipe: DecoderRecipe) -> Facts:
    own = (("optimiser", optimizer_text(recipe.optimizer)),)
    if recipe.adversary.kind == "none":
        return own
    return (*own, ("discriminator's", optimizer_text(recipe.adversary.optimizer)))


def _pixels_text(pixels: Pixels) -> str:
    return "L1, direction and strength of fine detail" if pixels == "detail" else pixels.upper()


def _source(recipe: DecoderRecipe) -> str:
    sizes = f"{recipe.tokens} tokens of {recipe.latent_dim}"
    tokenizer = recipe.tokenizer
    if recipe.reads == "latents":
        return sizes if tokenizer is None else f"{sizes} of {tokenizer}"
    of = f"{sizes}: the features of {'no teacher' if recipe.teacher is None else recipe.teacher.name}"
    if recipe.reads == "features":
        return of
    return f"{of} as {'a tokenizer' if tokenizer is None else tokenizer} gives them back"


def _seen(teacher: TeacherConfig) -> str:
    return f"images of {teacher.image_size}² ({teacher.resampling})"


def _use(recipe: DecoderRecipe) -> tuple[str, ...]:
    tokenizer, teacher = recipe.tokenizer, recipe.teacher
    if teacher is not None:
        of = f"the features of `{teacher.name}`, and of no other network"
        if tokenizer is not None:
            of = f"{of}; it learned from those that the tokenizer `{tokenizer.name}` gives back"
    elif tokenizer is None:
        of = "the raw latents of a tokenizer"
    else:
        of = (
            f"the raw latents of the tokenizer `{tokenizer.name}` whose weights have the hash `{tokenizer.sha256}`, "
            "and of no other"
        )
    return (
        "An image decoder of the Python library laminate (distribution `laminate-jax`): it decodes images, trained by "
        "reconstruction and against a discriminator.",
        "## Use",
        "```sh\npython experiments/sample.py --decoder PATH\n```",
        "```python\nimport laminate\n\n"
        'tokenizer = laminate.from_pretrained("ITS TOKENIZER", decoder="PATH OR ORGANISATION/NAME")\n'
        'tokenizer.decode_image(tokenizer.encode_image("cat.jpg")).save("again.png")\n\n'
        'decoder = laminate.load_pretrained("PATH OR ORGANISATION/NAME").model\n'
        f"image = decoder(latents)  # latents {shape_text(recipe.tokens, recipe.latent_dim)}, image "
        f"{shape_text(recipe.image_size, recipe.image_size, 3)}, nominally in [0, 1]\n"
        "```",
        f"It reads {of}.",
    )
