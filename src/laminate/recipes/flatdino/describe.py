"""What a FlatDINO recipe, and the parts of its name, say to a person."""

from laminate.recipes.bottleneck import FsqBottleneck, GaussianBottleneck
from laminate.recipes.describe import (
    optimizer_text,
    shape_text,
    teacher_text,
    training_rows,
    transformer_text,
    view_rows,
)
from laminate.recipes.family import CardText, Facts, Rows, Text
from laminate.recipes.flatdino import fsq_names, vae_names
from laminate.recipes.flatdino.costs import decoder_cost, encoder_cost, parameters
from laminate.recipes.flatdino.grammar import EPOCHS, Grammar, match_option, split
from laminate.recipes.flatdino.presets import DECAY_EPOCHS
from laminate.recipes.flatdino.recipe import FlatDinoRecipe
from laminate.recipes.sizes import SIZES


def describe(recipe: FlatDinoRecipe) -> Text:
    """What is said of `recipe`."""
    encoder, decoder, bottleneck = encoder_cost(recipe), decoder_cost(recipe), recipe.bottleneck
    kind = "FSQ" if isinstance(bottleneck, FsqBottleneck) else "β-VAE"
    return Text(
        title=f"FlatDINO {kind} {recipe.name}",
        header=(
            ("teacher", teacher_text(recipe.teacher)),
            (
                "latent",
                f"{recipe.tokens} tokens of {bottleneck.width}: {recipe.compression:.1f}x fewer numbers",
            ),
            ("parameters", f"{encoder.parameters:,} + {decoder.parameters:,} (encoder + decoder)"),
        ),
        rows=_rows(recipe),
        summary=f"{recipe.compression:.1f}x fewer numbers than the teacher's features, in {recipe.tokens} tokens.",
        card=CardText(
            task="image-feature-extraction",
            tags=("image-tokenizer", "flatdino", kind.lower().replace("β", "beta")),
            use=_use(recipe),
            teacher=recipe.teacher,
        ),
    )


def _rows(recipe: FlatDinoRecipe) -> Facts:
    teacher = recipe.teacher
    encoder, decoder = encoder_cost(recipe), decoder_cost(recipe)
    return (
        ("teacher", f"{teacher_text(teacher)}, of a {teacher.image_size}² image ({teacher.resampling})"),
        ("encoder", transformer_text(recipe.encoder)),
        ("", str(encoder)),
        ("decoder", transformer_text(recipe.decoder)),
        ("", str(decoder)),
        *_bottleneck_rows(recipe),
        ("latent", f"{recipe.tokens} tokens x {recipe.bottleneck.width} = {recipe.latent_numbers:,} numbers"),
        ("compression", f"{recipe.compression:.1f}x fewer numbers than the teacher's {teacher.numbers:,}"),
        ("reconstruction", recipe.reconstruction + _intermediate_text(recipe)),
        *training_rows(recipe.schedule, recipe.global_batch_size),
        ("optimiser", optimizer_text(recipe.optimizer)),
        *view_rows(recipe.augment),
        ("statistics", f"of latents: {recipe.statistics_view.text}"),
        (
            "training cost",
            f"{3 * (encoder.flops + decoder.flops) / 1e9:.1f} GFLOPs per image, without the teacher",
        ),
        ("parameters", f"{parameters(recipe):,} in all"),
    )


def _bottleneck_rows(recipe: FlatDinoRecipe) -> Facts:
    bottleneck = recipe.bottleneck
    if isinstance(bottleneck, FsqBottleneck):
        dropout = ", nested dropout" if bottleneck.nested_dropout else ""
        return (
            ("bottleneck", f"FSQ, levels {', '.join(map(str, bottleneck.levels))}{dropout}"),
            (
                "codebook" if bottleneck.codebooks == 1 else f"{bottleneck.codebooks} codebooks",
                f"{bottleneck.codebook_size:,} codes, {bottleneck.bits(recipe.tokens):.1f} bits per image",
            ),
        )
    return (("bottleneck", _gaussian_text(bottleneck)), ("β", _beta_text(bottleneck, recipe.tokens)))


def _gaussian_text(bottleneck: GaussianBottleneck) -> str:
    texts = ["Gaussian", "the mean alone, no sampling" if bottleneck.deterministic else "sampled in training"]
    if bottleneck.tanh:
        texts.append("tanh")
    if bottleneck.free_bits is not None:
        texts.append(f"free bits {bottleneck.free_bits:g}")
    if bottleneck.kl_variance_weight is not None:
        texts.append(f"KL variance {bottleneck.kl_variance_weight:g} β")
    return ", ".join(texts)


def _beta_text(bottleneck: GaussianBottleneck, tokens: int) -> str:
    origin = "normalised: 1e-6 x 512 / latent numbers" if bottleneck.kl_weight is None else "given"
    annealing = f", from 0 over {bottleneck.anneal_steps:,} steps" if bottleneck.anneal_steps else ""
    return f"{bottleneck.resolved_kl_weight(tokens):.4g} ({origin}){annealing}"


def _intermediate_text(recipe: FlatDinoRecipe) -> str:
    if recipe.intermediate_layer is None:
        return ""
    return f", and layer {recipe.intermediate_layer} with weight {recipe.intermediate_weight:g}"


def _use(recipe: FlatDinoRecipe) -> tuple[str, ...]:
    return (
        "An image tokenizer of the Python library laminate (distribution `laminate-jax`): it compresses the patch "
        "features of a frozen network into a few tokens.",
        "## Use",
        "```python\nimport laminate\n\n"
        'tokenizer = laminate.from_pretrained("PATH OR ORGANISATION/NAME")\n'
        f'tokens = tokenizer.encode_image("cat.jpg")  # {_tokens(recipe)}; any size, one or many\n'
        'tokenizer.decode_image(tokens).save("again.png")\n\n'
        f"latents = tokenizer.encode(features)  # features {shape_text(recipe.teacher.patches, recipe.teacher.dim)}, "
        f"latents {shape_text(recipe.tokens, recipe.bottleneck.width)}\n"
        "features = tokenizer.decode(latents)\n```",
        f"The features are those of the teacher `{recipe.teacher.name}`, of one image of "
        f"{recipe.teacher.image_size} x {recipe.teacher.image_size} pixels. The mean and variance of the latents over "
        "the training data are part of the weights: latents have mean 0 and variance 1.",
    )


def _tokens(recipe: FlatDinoRecipe) -> str:
    """The tokens of an image, in words."""
    bottleneck = recipe.bottleneck
    if isinstance(bottleneck, FsqBottleneck):
        shape = (recipe.tokens,) if bottleneck.codebooks == 1 else (recipe.tokens, bottleneck.codebooks)
        return f"{shape_text(*shape)} whole numbers below {bottleneck.codebook_size:,}"
    return f"{shape_text(recipe.tokens, bottleneck.width)} numbers"


def vae_name_rows(name: str) -> Rows:
    """(part of the name, meaning, value) of a β-VAE's, from left to right."""
    return _name_rows(name, vae_names.GRAMMAR, _vae_option_values(name), "latent numbers per token")


def fsq_name_rows(name: str) -> Rows:
    """(part of the name, meaning, value) of an FSQ tokenizer's, from left to right."""
    return _name_rows(name, fsq_names.GRAMMAR, _fsq_option_values(name), "values per channel of a token")


def _name_rows(name: str, grammar: Grammar, options: dict[str, str], tail: str) -> Rows:
    parts = split(name, grammar)
    encoder, decoder = SIZES[parts.encoder], SIZES[parts.decoder]
    epochs = f"{EPOCHS[parts.variant]} epochs, the last {DECAY_EPOCHS[parts.variant]} of them decay"
    values = ", ".join(parts.tail[1:]) if parts.tail.startswith("L") else parts.tail
    return (
        (parts.variant, "length of the training", epochs),
        (name.split("-")[1], "latent tokens per image", str(parts.tokens)),
        (parts.encoder + parts.decoder, "size of encoder and decoder", f"{encoder.label}, {decoder.label}"),
        (parts.tail, tail, values),
        *_option_rows(name.split("-")[4:], grammar, options),
    )


def _option_rows(words: list[str], grammar: Grammar, values: dict[str, str]) -> list[tuple[str, str, str]]:
    meanings = {option.key: option.meaning for option in grammar.options}
    keys = [found[0] for word in words if (found := match_option(word, grammar))]
    return [(word, meanings[key], values[key]) for word, key in zip(words, keys, strict=True)]


def _fsq_option_values(name: str) -> dict[str, str]:
    """What each option of an FSQ name resolves to."""
    fsq = fsq_names.parse(name)
    return {"hl": "yes", "nd": "yes", "er": str(fsq.encoder_disposable), "dr": str(fsq.decoder_disposable)}


def _vae_option_values(name: str) -> dict[str, str]:
    """What each option of a β-VAE's name resolves to."""
    vae = vae_names.parse(name)
    overruled = " (overruled by nokl)" if vae.no_kl else ""
    return {
        "hl": "yes",
        "nokl": "yes",
        "kl": f"{vae.kl_weight:g}{overruled}" if vae.kl_weight is not None else "",
        "an": f"{vae.anneal_steps} steps",
        "fb": f"{vae.free_bits} nats",
        "klvar": f"{vae.kl_variance_weight}",
        "er": str(vae.encoder_disposable),
        "dr": str(vae.decoder_disposable),
        "tanh": "yes",
        "il": str(vae.intermediate_layer),
        "iw": str(vae.intermediate_weight),
    }
