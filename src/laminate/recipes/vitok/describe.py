"""What the recipe of a ViTok autoencoder says to a person."""

from laminate.recipes.costs import training_flops
from laminate.recipes.describe import optimizer_text, training_rows
from laminate.recipes.family import CardText, Text
from laminate.recipes.freezing import frozen_rows
from laminate.recipes.network import MASKED_AUTOENCODER
from laminate.recipes.vitok.recipe import NaFlexConfig, VitokRecipe


def describe(recipe: VitokRecipe) -> Text:
    """What is said of `recipe`."""
    encoder, decoder = recipe.parameters
    fewer = recipe.patch_dim / recipe.channels
    header = (
        (
            "latent",
            f"{recipe.channels} numbers for each patch of {recipe.patch} x {recipe.patch} pixels, {fewer:.1f}x fewer"
            + (f"; noise of up to {recipe.latent_noise:g} in training" if recipe.latent_noise else ""),
        ),
        ("parameters", f"{encoder:,} + {decoder:,} (encoder + decoder)"),
        ("shapes", _shapes(recipe)),
        ("losses", _losses(recipe)),
        *frozen_rows(recipe.freeze),
    )
    return Text(
        title=f"ViTok {recipe.name}",
        header=header,
        rows=(
            *header,
            ("encoder", _network(recipe.encoder)),
            ("decoder", _network(recipe.decoder)),
            ("sees", _sight(recipe)),
            ("cost", f"{forward_flops(recipe) / 1e9:.2f} GFLOPs forward at {recipe.augment.tokens} patches"),
            ("augmentation", recipe.augment.text),
            ("validation", recipe.augment.still().text),
            *training_rows(recipe.schedule, recipe.global_batch_size),
            ("optimiser", optimizer_text(recipe.optimizer)),
        ),
        summary=f"Images of any size in {recipe.channels} numbers for each patch of {recipe.patch} pixels, "
        f"{fewer:.1f}x fewer.",
        card=CardText(
            task="image-to-image",
            tags=("image-tokenizer", "vitok"),
            use=_use(recipe),
        ),
    )


def forward_flops(recipe: VitokRecipe) -> int:
    """Multiply-adds of one forward pass over an image of the largest budget; only the layers count."""
    tokens = recipe.augment.tokens + recipe.prefix
    return recipe.encoder.flops(tokens) + recipe.decoder.flops(tokens)


def step_flops(recipe: VitokRecipe) -> int:
    """Multiply-adds of an image in training, without the perceptual network."""
    return training_flops(forward_flops(recipe))


def _network(network: NaFlexConfig) -> str:
    return (
        f"{network.dim} wide, {network.depth} layers, {network.heads} heads, SwiGLU of {network.hidden}, layer scale "
        f"{network.layer_scale:g}"
    )


def _shapes(recipe: VitokRecipe) -> str:
    rooms = recipe.augment.rooms
    some = f"{len(rooms)} shape{'s' * (len(rooms) > 1)} of batches, a program for each"
    return f"{some}: {', '.join(map(str, rooms))} patches"


def _sight(recipe: VitokRecipe) -> str:
    before = f", behind {recipe.prefix} tokens of its own" if recipe.prefix else ""
    if recipe.window is None:
        return f"every patch sees all of its image{before}"
    where = "rows and columns" if recipe.window_on == "grid" else "patches along the sequence"
    return f"a patch sees {recipe.window} {where} to each side{before}"


def _losses(recipe: VitokRecipe) -> str:
    losses, teacher = recipe.losses, recipe.teacher
    parts = [f"{losses.charbonnier:g} x Charbonnier"] if losses.charbonnier else []
    if losses.ssim:
        parts.append(f"{losses.ssim:g} x (1 - SSIM)")
    if teacher is not None:
        instead = " (in place of DINOv3)" if teacher.family == MASKED_AUTOENCODER else ""
        parts.append(f"{losses.perceptual:g} x distance in all layers of {teacher.name}{instead}")
    tiles = f"; tiles of {losses.tile}², {losses.tiles} an image"
    return " + ".join(parts) + (tiles if losses.ssim or teacher is not None else "")


def _use(recipe: VitokRecipe) -> tuple[str, ...]:
    return (
        "An image tokenizer of the Python library laminate (distribution `laminate-jax`): an autoencoder of the "
        "patches of images of any size and shape.",
        "## Use",
        "```python\nimport laminate\n\n"
        'tokenizer = laminate.from_pretrained("PATH OR ORGANISATION/NAME")\n'
        f'tokens = tokenizer.encode_image("cat.jpg")  # [rows, columns, {recipe.channels}] numbers; one image or many\n'
        'tokenizer.decode_image(tokens).save("again.png")\n```',
        f"Each token is a patch of {recipe.patch} x {recipe.patch} pixels. Its numbers have mean 0 and variance 1.",
    )
