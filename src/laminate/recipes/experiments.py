"""From the name of an experiment to its recipe."""

from collections.abc import Callable
from dataclasses import replace

from laminate.recipes import fsq_names, vae_names
from laminate.recipes.bottleneck import Bottleneck, FsqBottleneck, GaussianBottleneck
from laminate.recipes.decoder import DecoderRecipe, decoder
from laminate.recipes.embedded import embedded_decoder, embedded_dit, embedded_fsq, embedded_vae
from laminate.recipes.flatdino import FlatDinoRecipe, Variant, as_variant
from laminate.recipes.generator import GeneratorRecipe, generator
from laminate.recipes.grammar import EPOCHS
from laminate.recipes.network import PRETRAINED_TEACHERS, Vit
from laminate.recipes.sizes import SIZES
from laminate.recipes.training import Schedule

DECAY_EPOCHS = {"fast": 5, "med": 15, "long": 22, "ext": 75}


def flatdino_vae(name: str, *, variant: Variant = "paper") -> FlatDinoRecipe:
    """The β-VAE recipe of `name`. Raises `ValueError` with the nearest valid names."""
    fixed = VAE_STATICS.get(name)
    return as_variant(fixed() if fixed else _named_vae(name), variant)


def flatdino_fsq(name: str, *, variant: Variant = "paper") -> FlatDinoRecipe:
    """The FSQ recipe of `name`. Raises `ValueError` with the nearest valid names."""
    fixed = FSQ_STATICS.get(name)
    return as_variant(fixed() if fixed else _named_fsq(name), variant)


def flow_generator(name: str) -> GeneratorRecipe:
    """The generator recipe of `name`. Raises `ValueError` with the nearest valid names."""
    fixed = GENERATOR_STATICS.get(name)
    return fixed() if fixed else generator(name)


def image_decoder(name: str) -> DecoderRecipe:
    """The recipe of an image decoder by `name`. Raises `ValueError` with the names there are."""
    fixed = DECODER_STATICS.get(name)
    return fixed() if fixed else decoder(name)


def _named_vae(name: str) -> FlatDinoRecipe:
    spec = vae_names.parse(name)
    bottleneck = GaussianBottleneck(
        features=spec.features,
        kl_weight=spec.kl_weight,
        anneal_steps=spec.anneal_steps,
        free_bits=spec.free_bits,
        kl_variance_weight=spec.kl_variance_weight,
        tanh=spec.tanh,
        deterministic=spec.no_kl,
    )
    recipe = _scaled(vae_names.format(spec), spec, bottleneck)
    return _or_refuse(
        name,
        lambda: replace(
            recipe,
            intermediate_layer=spec.intermediate_layer,
            intermediate_weight=spec.intermediate_weight,
        ),
    )


def _named_fsq(name: str) -> FlatDinoRecipe:
    spec = fsq_names.parse(name)
    return _or_refuse(
        name,
        lambda: _scaled(fsq_names.format(spec), spec, FsqBottleneck(spec.levels, spec.nested_dropout)),
    )


def _or_refuse(name: str, build: Callable[[], FlatDinoRecipe]) -> FlatDinoRecipe:
    """What `build` makes; a value that no recipe can have is said to come from the name."""
    try:
        return build()
    except ValueError as error:
        raise ValueError(f"Experiment {name!r} cannot be: {error}") from error


def _scaled(name: str, spec: vae_names.VaeName | fsq_names.FsqName, bottleneck: Bottleneck) -> FlatDinoRecipe:
    """The paper's training of an encoder and a decoder of the named sizes."""
    return FlatDinoRecipe(
        name=name,
        teacher=PRETRAINED_TEACHERS["dinov2-b"],
        tokens=spec.tokens,
        encoder=_transformer(spec.encoder, half=spec.half_depth),
        decoder=replace(_transformer(spec.decoder, half=spec.half_depth), positions="learned"),
        bottleneck=bottleneck,
        schedule=Schedule(
            length=EPOCHS[spec.variant], warmup=5, decay=DECAY_EPOCHS[spec.variant], validate_every=5
        ),
        encoder_disposable=spec.encoder_disposable,
        decoder_disposable=spec.decoder_disposable,
    )


def _transformer(letter: str, *, half: bool) -> Vit:
    size = SIZES[letter]
    depth = max(1, size.depth // 2) if half else size.depth
    return Vit(dim=size.dim, depth=depth, heads=size.heads, hidden=size.matched_hidden)


def _early(name: str, bottleneck: Bottleneck, schedule: Schedule) -> FlatDinoRecipe:
    """The released code's first experiments: six layers of ViT-B with plain MLPs on both sides."""
    size = SIZES["b"]
    vit = Vit(dim=size.dim, depth=6, heads=size.heads, hidden=size.hidden, mlp="gelu")
    return FlatDinoRecipe(
        name=name,
        teacher=PRETRAINED_TEACHERS["dinov2-b"],
        tokens=32,
        encoder=vit,
        decoder=replace(vit, positions="learned"),
        bottleneck=bottleneck,
        schedule=schedule,
    )


_COSINE = Schedule(length=100, warmup=10, decay=0, validate_every=5, kind="warmup_cosine")
_WSD = Schedule(length=50, warmup=5, decay=5, validate_every=5)

VAE_STATICS: dict[str, Callable[[], FlatDinoRecipe]] = {
    "embedded-16-128": embedded_vae,
    "baseline": lambda: _early("baseline", GaussianBottleneck(features=768), _COSINE),
    "fast-32": lambda: _early("fast-32", GaussianBottleneck(features=768), _WSD),
    "fast-32-64": lambda: _early("fast-32-64", GaussianBottleneck(features=64), _WSD),
}
FSQ_STATICS: dict[str, Callable[[], FlatDinoRecipe]] = {
    "embedded-32-L88888888": embedded_fsq,
    "baseline": lambda: _early("baseline", FsqBottleneck(levels=(8, 5, 5, 5)), _COSINE),
}
GENERATOR_STATICS: dict[str, Callable[[], GeneratorRecipe]] = {"embedded-dit": embedded_dit}
DECODER_STATICS: dict[str, Callable[[], DecoderRecipe]] = {"embedded-decoder": embedded_decoder}
