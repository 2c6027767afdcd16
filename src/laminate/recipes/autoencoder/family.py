"""The family of published autoencoders, which no experiment here trains."""

from laminate.recipes.autoencoder.recipe import AutoencoderRecipe, at_image_size
from laminate.recipes.family import CardText, Family, Modules, Names, Text


def _modules() -> Modules:
    from laminate.recipes.autoencoder.modules import MODULES

    return MODULES


def describe(recipe: AutoencoderRecipe) -> Text:
    """What is said of `recipe`."""
    fewer = 3 * recipe.patch**2 / recipe.latent_dim
    latent = f"{recipe.latent_dim} numbers for each patch of {recipe.patch} x {recipe.patch} pixels, {fewer:.1f}x fewer"
    header = (("architecture", recipe.architecture), ("latent", latent), ("squares", recipe.augment.text))
    return Text(
        title=f"{recipe.architecture} {recipe.name}",
        header=header,
        rows=(*header, ("configuration", recipe.config)),
        summary=f"Images of any size in {latent}.",
        card=CardText(
            task="image-to-image",
            tags=("image-tokenizer", "autoencoder"),
            use=(
                "Published weights of an autoencoder of images, converted for the Python library laminate "
                "(distribution `laminate-jax`); their licence is that of the weights that were converted.",
                "## Use",
                "```python\nimport laminate\n\n"
                'tokenizer = laminate.from_pretrained("PATH OR ORGANISATION/NAME")\n'
                f'tokens = tokenizer.encode_image("cat.jpg")  # [rows, columns, {recipe.latent_dim}] numbers\n'
                'tokenizer.decode_image(tokens).save("again.png")\n```',
            ),
        ),
    )


AUTOENCODER = Family(
    name="autoencoder",
    tag="autoencoder",
    script="",
    kind="tokenizer",
    recipe=AutoencoderRecipe,
    names=Names[AutoencoderRecipe](presets={}, default=""),
    text=describe,
    modules=_modules,
    at_image_size=at_image_size,
    latent=lambda recipe: recipe.latent,
)
