"""What the recipe of a masked autoencoder says to a person."""

from laminate.recipes.costs import vit_flops, vit_parameters
from laminate.recipes.describe import Row, optimizer_text, training_rows, transformer_text, view_rows
from laminate.recipes.family import CardText, Text
from laminate.recipes.freezing import frozen_rows
from laminate.recipes.masked_autoencoder.recipe import MaskedAutoencoderRecipe


def describe(recipe: MaskedAutoencoderRecipe) -> Text:
    """What is said of `recipe`."""
    patches, dim = recipe.grid**2, recipe.encoder.dim
    header = (
        ("features", f"{patches} patches of {dim} numbers, of images of {recipe.image_size}²"),
        (
            "hidden",
            f"{recipe.masked_patches:.0%} of the patches of {recipe.masked_images:.0%} of the images"
            if recipe.masked_images
            else "nothing",
        ),
        (
            "decoder",
            f"windows of {recipe.patch_size + 2 * recipe.overlap} pixels on patches of {recipe.patch_size}",
        ),
        *((("noise", f"up to {recipe.feature_noise:g} on features"),) if recipe.feature_noise else ()),
        *frozen_rows(recipe.freeze),
        *_seen_through(recipe),
    )
    return Text(
        title=f"Masked autoencoder {recipe.name}",
        header=header,
        rows=(
            *header,
            ("encoder", transformer_text(recipe.encoder)),
            ("decoder's", transformer_text(recipe.decoder)),
            ("cost", _cost(recipe)),
            *view_rows(recipe.augment),
            *training_rows(recipe.schedule, recipe.global_batch_size),
            ("optimiser", optimizer_text(recipe.optimizer)),
        ),
        summary=f"{patches} features of {dim} numbers for an image, and a decoder that shows them.",
        card=CardText(
            task="image-feature-extraction",
            tags=("masked-autoencoder", "feature-extraction"),
            use=(
                "A frozen network of the Python library laminate (distribution `laminate-jax`): features of patches, "
                "and a decoder from them to pixels.",
                "## Use",
                "```sh\npython experiments/vae.py --teacher PATH\n```",
                '```python\nimport laminate\n\nteacher = laminate.load_pretrained("PATH OR ORGANISATION/NAME").model\n'
                f"features = teacher(image)  # image [{recipe.image_size}, {recipe.image_size}, 3] in [0, 1], "
                f"features [{patches}, {dim}]\nagain = teacher.pixels(features)\n```",
            ),
        ),
    )


def _seen_through(recipe: MaskedAutoencoderRecipe) -> tuple[Row, ...]:
    if not recipe.tokenizers:
        return ()
    names = ", ".join(one.name for one in recipe.tokenizers)
    noise = f", noise up to {recipe.latent_noise:g} on latents" if recipe.latent_noise else ""
    return (("seen through", f"{names}: {recipe.rebuilt_images:.0%} of the images{noise}"),)


def forward_flops(recipe: MaskedAutoencoderRecipe) -> int:
    """Multiply-adds of one forward pass over one image; only the layers count."""
    return sum(vit_flops(vit, recipe.grid**2) for vit in (recipe.encoder, recipe.decoder))


def _cost(recipe: MaskedAutoencoderRecipe) -> str:
    encoder, decoder, patches = recipe.encoder, recipe.decoder, recipe.grid**2
    numbers = vit_parameters(
        encoder, in_dim=3 * recipe.patch_size**2, out_dim=encoder.dim, tokens=patches, registers=0
    ) + vit_parameters(decoder, in_dim=encoder.dim, out_dim=decoder.dim, tokens=patches, registers=0)
    flops = forward_flops(recipe)
    return f"about {numbers / 1e6:.2f} M parameters in the layers; {flops / 1e9:.3f} GFLOPs forward"
