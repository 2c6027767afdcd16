"""What the recipe of a stage of DINO-SAE says to a person."""

from laminate.recipes.adversarial.describe import adversary_text, perceptual_text
from laminate.recipes.describe import optimizer_text, shape_text, teacher_text, training_rows, view_rows
from laminate.recipes.dino_sae.costs import decoder_flops, stem_flops
from laminate.recipes.dino_sae.recipe import DinoSaeRecipe, LatentNoise
from laminate.recipes.family import CardText, Facts, Text
from laminate.recipes.network import MASKED_AUTOENCODER

_KINDS = {"residual": "residual", "attention": "linear attention"}


def describe(recipe: DinoSaeRecipe) -> Text:
    """What is said of `recipe`."""
    tokens, dim, side = recipe.teacher.patches, recipe.teacher.dim, recipe.image_size
    lpips = " --lpips FILE" if recipe.perceptual.kind == "lpips" and not recipe.perceptual.source else ""
    former = f" --init-from runs/{recipe.former}" if recipe.former else ""
    return Text(
        title=f"DINO-SAE {recipe.name}",
        header=_header(recipe),
        rows=(
            *_header(recipe),
            ("decoder's stages", _stages(recipe)),
            ("cost", _cost(recipe)),
            ("noise", _noise(recipe.noise, recipe.schedule.unit)),
            *view_rows(recipe.augment),
            *training_rows(recipe.schedule, recipe.global_batch_size),
            ("optimiser", optimizer_text(recipe.optimizer)),
            *(
                ()
                if recipe.adversary.kind == "none"
                else (("discriminator's", optimizer_text(recipe.adversary.optimizer)),)
            ),
        ),
        summary=f"Images of {side} pixels in {tokens} tokens of {dim} numbers, those of a frozen network, and back.",
        card=CardText(
            task="image-feature-extraction",
            tags=("image-tokenizer", "dino-sae", "feature-extraction"),
            use=(
                "An image tokenizer of the Python library laminate (distribution `laminate-jax`): a convolutional stem "
                f"before the frozen network `{recipe.teacher.name}`, and a convolutional decoder of its tokens. The "
                "frozen network is not in the file.",
                "## Use",
                '```python\nimport laminate\n\ntokenizer = laminate.from_pretrained("PATH OR ORGANISATION/NAME")\n'
                f'tokens = tokenizer.encode_image("cat.jpg")  # {shape_text(tokens, dim)}\n'
                'tokenizer.decode_image(tokens).save("again.png")\n```',
            ),
            teacher=recipe.teacher,
        ),
        notes=(f"Begins with the weights of {recipe.former}.",) if recipe.former else (),
        arguments=f"{former}{lpips}",
    )


def _header(recipe: DinoSaeRecipe) -> Facts:
    stands_in = (
        " (in the package, in the place of DINOv3)" if recipe.teacher.family == MASKED_AUTOENCODER else ""
    )
    aligned = f"{recipe.alignment:g} x (1 - cos to the frozen network), " if recipe.alignment else ""
    return (
        ("frozen network", teacher_text(recipe.teacher) + stands_in),
        ("trained", "stem and decoder" if recipe.trains == "stem-and-decoder" else "decoder alone"),
        ("losses", f"{aligned}{recipe.pixels:g} x L1, {perceptual_text(recipe.perceptual)}"),
        ("adversary", adversary_text(recipe.adversary, recipe.schedule.unit)),
        *((("noise", _noise(recipe.noise, recipe.schedule.unit)),) if recipe.noise.acts else ()),
    )


def _noise(noise: LatentNoise, unit: str) -> str:
    if not noise.acts:
        return "none"
    level = (
        f"{noise.start:g}" if not noise.ramp else f"{noise.start:g} to {noise.end:g} in {noise.ramp} {unit}"
    )
    return f"uniform up to {level}, one level for each {noise.per}"


def _stages(recipe: DinoSaeRecipe) -> str:
    decoder = recipe.decoder
    listed = zip(decoder.widths[::-1], decoder.depths[::-1], decoder.blocks[::-1], strict=True)
    return ", ".join(f"{depth} x {width} {_KINDS[kind]}" for width, depth, kind in listed)


def _cost(recipe: DinoSaeRecipe) -> str:
    stem, decoder = stem_flops(recipe) / 1e9, decoder_flops(recipe) / 1e9
    return f"{stem:.2f} GFLOPs of the stem and {decoder:.2f} of the decoder, forward (one multiply-add is one FLOP)"
