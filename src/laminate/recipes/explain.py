"""What the name of an experiment means, as rows of text."""

from typing import Literal

from laminate.recipes import costs, fsq_names, vae_names
from laminate.recipes.bottleneck import FsqBottleneck, GaussianBottleneck
from laminate.recipes.experiments import (
    DECAY_EPOCHS,
    DECODER_STATICS,
    FSQ_STATICS,
    GENERATOR_STATICS,
    VAE_STATICS,
    flatdino_fsq,
    flatdino_vae,
)
from laminate.recipes.flatdino import FlatDinoRecipe, Variant
from laminate.recipes.grammar import EPOCHS, Grammar, match_option, split
from laminate.recipes.network import Vit
from laminate.recipes.sizes import SIZES

Family = Literal["vae", "fsq"]
Row = tuple[str, ...]

IMAGENET_IMAGES = 1_281_167


def is_generator(name: str) -> bool:
    """Whether `name` is, or begins as, that of a generator."""
    return name in GENERATOR_STATICS or name.startswith("dit")


def is_decoder(name: str) -> bool:
    """Whether `name` is, or begins as, that of an image decoder."""
    return name in DECODER_STATICS or name.startswith(("vit-", "rae-"))


def find_family(name: str) -> Family:
    """The family that `name` belongs to; a name of both is a VAE's. Raises `ValueError` if it is of none."""
    if name in VAE_STATICS:
        return "vae"
    if name in FSQ_STATICS:
        return "fsq"
    try:
        vae_names.parse(name)
    except ValueError as error:
        if _reads_as_fsq(name) or (name.split("-")[3:4] and name.split("-")[3].startswith("L")):
            return "fsq"
        raise ValueError(str(error)) from error
    return "vae"


def _reads_as_fsq(name: str) -> bool:
    try:
        fsq_names.parse(name)
    except ValueError:
        return False
    return True


def is_ambiguous(name: str) -> bool:
    """`fast-32-bb-8555` is 8555 features of a VAE and four channels of an FSQ; `baseline` exists twice."""
    fixed = name in VAE_STATICS and name in FSQ_STATICS
    return fixed or (name not in VAE_STATICS and find_family(name) == "vae" and _reads_as_fsq(name))


def find_recipe(name: str, family: Family, *, variant: Variant = "paper") -> FlatDinoRecipe:
    """The recipe of `name` in `family`."""
    from_name = flatdino_vae if family == "vae" else flatdino_fsq
    return from_name(name, variant=variant)


def name_rows(name: str, family: Family) -> list[Row]:
    """(part of the name, meaning, value) from left to right; none for a fixed name."""
    if name in (VAE_STATICS if family == "vae" else FSQ_STATICS):
        return [(name, "a fixed name", "all values are below")]
    grammar = vae_names.GRAMMAR if family == "vae" else fsq_names.GRAMMAR
    parts = split(name, grammar)
    encoder, decoder = SIZES[parts.encoder], SIZES[parts.decoder]
    epochs = f"{EPOCHS[parts.variant]} epochs, the last {DECAY_EPOCHS[parts.variant]} of them decay"
    tail = ("latent numbers per token", parts.tail)
    if family == "fsq":
        tail = ("values per channel of a token", ", ".join(parts.tail.removeprefix("L")))
    return [
        (parts.variant, "length of the training", epochs),
        (name.split("-")[1], "latent tokens per image", str(parts.tokens)),
        (parts.encoder + parts.decoder, "size of encoder and decoder", f"{encoder.label}, {decoder.label}"),
        (parts.tail, *tail),
        *_option_rows(name.split("-")[4:], grammar, _option_values(name, family)),
    ]


def _option_rows(words: list[str], grammar: Grammar, values: dict[str, str]) -> list[Row]:
    meanings = {option.key: option.meaning for option in grammar.options}
    keys = [found[0] for word in words if (found := match_option(word, grammar))]
    return [(word, meanings[key], values[key]) for word, key in zip(words, keys, strict=True)]


def _option_values(name: str, family: Family) -> dict[str, str]:
    """What each option of `name` resolves to."""
    if family == "fsq":
        fsq = fsq_names.parse(name)
        return {
            "hl": "yes",
            "nd": "yes",
            "er": str(fsq.encoder_disposable),
            "dr": str(fsq.decoder_disposable),
        }
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


def recipe_rows(recipe: FlatDinoRecipe) -> list[Row]:
    """(what, value) of everything that the recipe resolves to."""
    teacher, optimizer = recipe.teacher, recipe.optimizer
    encoder, decoder = costs.encoder_cost(recipe), costs.decoder_cost(recipe)
    return [
        (
            "teacher",
            f"{teacher.name}: {teacher.patches} patches x {teacher.dim} of a {teacher.image_size}² image",
        ),
        ("encoder", _vit_text(recipe.encoder)),
        ("", _cost_text(encoder)),
        ("decoder", _vit_text(recipe.decoder)),
        ("", _cost_text(decoder)),
        *_bottleneck_rows(recipe),
        ("latent", f"{recipe.tokens} tokens x {recipe.bottleneck.width} = {recipe.latent_numbers:,} numbers"),
        ("compression", f"{recipe.compression:.1f}x fewer numbers than the teacher's {teacher.numbers:,}"),
        ("reconstruction", recipe.reconstruction + _intermediate_text(recipe)),
        *_schedule_rows(recipe),
        (
            "optimiser",
            f"AdamW, betas {optimizer.betas}, weight decay {optimizer.weight_decay}, "
            f"clip {optimizer.clip_norm}, EMA {optimizer.ema_decay}",
        ),
        ("augmentation", recipe.augment.text),
        (
            "training cost",
            f"{3 * (encoder.flops + decoder.flops) / 1e9:.1f} GFLOPs per image, without the teacher",
        ),
    ]


def _vit_text(vit: Vit) -> str:
    return (
        f"{vit.dim} wide, {vit.depth} layers, {vit.heads} heads, {vit.mlp} MLP of {vit.hidden}, "
        f"positions {vit.positions}"
    )


def _cost_text(cost: costs.Cost) -> str:
    return (
        f"{cost.parameters:,} parameters; {cost.flops / 1e9:.2f} GFLOPs forward over {cost.sequence} tokens "
        "(one multiply-add is one FLOP)"
    )


def _bottleneck_rows(recipe: FlatDinoRecipe) -> list[Row]:
    bottleneck = recipe.bottleneck
    if isinstance(bottleneck, FsqBottleneck):
        dropout = ", nested dropout" if bottleneck.nested_dropout else ""
        return [
            ("bottleneck", f"FSQ, levels {', '.join(map(str, bottleneck.levels))}{dropout}"),
            (
                "codebook",
                f"{bottleneck.codebook_size:,} codes, {bottleneck.bits(recipe.tokens):.1f} bits per image",
            ),
        ]
    return [("bottleneck", _gaussian_text(bottleneck)), ("β", _beta_text(bottleneck, recipe.tokens))]


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


def _schedule_rows(recipe: FlatDinoRecipe) -> list[Row]:
    schedule = recipe.schedule
    shape = f" ({schedule.decay_shape} decay)" if schedule.kind == "wsd" else ""
    phases = f"{schedule.length} {schedule.unit}: warm-up {schedule.warmup}, decay {schedule.decay}"
    counts = schedule.counts(examples=IMAGENET_IMAGES, global_batch_size=recipe.global_batch_size)
    rows: list[Row] = [
        ("schedule", f"{schedule.kind}{shape}, {phases}"),
        ("learning rate", f"{schedule.start:g} to {schedule.peak:g} to {schedule.final:g}"),
        ("global batch", f"{recipe.global_batch_size} images"),
    ]
    if schedule.unit == "epochs":
        steps = f"{counts.total:,} on ImageNet, warm-up {counts.warmup:,}, decay from {counts.decay_start:,}"
        rows.append(("steps", steps))
    return rows
