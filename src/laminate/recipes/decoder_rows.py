"""What the recipe of an image decoder says, as rows of text."""

from laminate.recipes.decoder import Adversary, DecoderRecipe

Rows = tuple[tuple[str, str], ...]

_KINDS = {
    "dino": "heads on frozen features of",
    "windows": "heads on windows of pixels, which need no weights",
    "patchgan": "PatchGAN",
    "details": "PatchGAN on the fine detail of images, which needs no weights",
    "none": "none",
}


def decoder_header_rows(recipe: DecoderRecipe) -> Rows:
    """(what, value) of the model: the first lines of a run."""
    return (
        ("reads", _source(recipe)),
        (
            "paints",
            f"{recipe.image_size} x {recipe.image_size} pixels, {recipe.grid**2} patches of {recipe.patch_size}",
        ),
        ("losses", f"{recipe.pixels.upper()} + {_perceptual(recipe)}"),
        ("adversary", _adversary(recipe.adversary, recipe.schedule.unit)),
    )


def decoder_rows(recipe: DecoderRecipe) -> Rows:
    """(what, value) of everything that the recipe resolves to."""
    vit, schedule, noise = recipe.network, recipe.schedule, recipe.noise
    return (
        *decoder_header_rows(recipe),
        (
            "transformer",
            f"{vit.dim} wide, {vit.depth} layers, {vit.heads} heads, {vit.mlp} MLP of {vit.hidden}, "
            f"positions {vit.positions}",
        ),
        ("noise", noise.kind if noise.kind == "none" else f"{noise.kind}, {noise.strength:g}"),
        ("schedule", f"{schedule.kind}, {schedule.length} {schedule.unit}, peak {schedule.peak:g}"),
        ("optimiser", _optimizer(recipe)),
        ("augmentation", recipe.augment.text),
        ("global batch", f"{recipe.global_batch_size} images"),
    )


def decoder_summary(recipe: DecoderRecipe) -> str:
    """One sentence under the title of a report."""
    what = "latents" if recipe.reads == "latents" else "features"
    return f"Paints images of {recipe.image_size} pixels from {recipe.tokens} {what} of {recipe.features} numbers."


def _source(recipe: DecoderRecipe) -> str:
    sizes = f"{recipe.tokens} tokens of {recipe.features}"
    if recipe.reads == "features":
        return f"{sizes}: the features of {'no teacher' if recipe.teacher is None else recipe.teacher.name}"
    tokenizer = recipe.tokenizer
    return sizes if tokenizer is None else f"{sizes} of {tokenizer.name} ({tokenizer.sha256[:12]})"


def _perceptual(recipe: DecoderRecipe) -> str:
    perceptual = recipe.perceptual
    names = {
        "lpips": "LPIPS",
        "pyramid": "Laplacian pyramids (in place of LPIPS, which needs weights)",
        "none": "no perceptual loss",
    }
    weight = "" if perceptual.kind == "none" else f"{perceptual.weight:g} x "
    return weight + names[perceptual.kind]


def _adversary(adversary: Adversary, unit: str) -> str:
    what = _KINDS[adversary.kind]
    if adversary.kind == "none":
        return what
    source = f" {adversary.source}" if adversary.kind == "dino" else ""
    starts = f"from {adversary.discriminator_start} {unit}, on the decoder from {adversary.adversarial_start}"
    return f"{what}{source}; {adversary.discriminator_loss} loss {starts}, weight {adversary.weight:g}"


def _optimizer(recipe: DecoderRecipe) -> str:
    each = [
        f"{o.kind}, betas {o.betas}, weight decay {o.weight_decay}, clip {o.clip_norm}, EMA {o.ema_decay}"
        for o in (recipe.optimizer, recipe.adversary.optimizer)
    ]
    return each[0] if recipe.adversary.kind == "none" else f"{each[0]}; discriminator: {each[1]}"
