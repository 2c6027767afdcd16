"""From names to recipes: the small one of the package, and those of ViTok's grammar with the published training."""

import difflib
import re
from collections.abc import Callable, Sequence

from laminate.recipes.embedded import VITOK_NAME
from laminate.recipes.family import Rows
from laminate.recipes.network import PRETRAINED_TEACHERS, find_teacher
from laminate.recipes.training import Optimizer, Schedule
from laminate.recipes.vitok.recipe import Losses, NaFlexConfig, VitokRecipe
from laminate.recipes.vitok.view import TokenBudgetConfig
from laminate.recipes.vitok_names import LETTERS, PUBLISHED, Sizes, Variant, parse

USAGE = "ENCODER-DECODER/TIMExPATCHxCHANNELS, or the name of published weights"
_STRIDES = re.compile(r"(?P<halves>.+)[-/](?P<strides>(?:[0-9]+x)?[0-9]+x[0-9]+)")
_PUBLISHED_SIZE = 256


def variant_of(name: str) -> Variant:
    """The sizes that a name stands for; `-` may stand for its `/`, as in the names of folders.

    Raises ValueError as `names.parse`, and for what no network here can be.
    """
    found = None if name in PUBLISHED else _STRIDES.fullmatch(name)
    variant = parse(name if found is None else f"{found['halves']}/{found['strides']}")
    if variant.temporal != 1:
        raise ValueError(
            f"{name!r} has tokens of {variant.temporal} frames, and images have one: write 1x{variant.patch}x"
            f"{variant.channels}."
        )
    return variant


def named_vitok(name: str) -> VitokRecipe:
    """The recipe of a name, with the published training: 100,000 steps on images of 256 patches and fewer."""
    variant = variant_of(name)
    return VitokRecipe(
        name=name.replace("/", "-"),
        encoder=_network(variant.encoder, variant.mlp_factor),
        decoder=_network(variant.decoder, variant.mlp_factor),
        channels=variant.channels,
        schedule=Schedule(
            unit="steps",
            length=100_000,
            warmup=5_000,
            decay=95_000,
            validate_every=5_000,
            kind="warmup_cosine",
            start=1e-7,
            peak=3e-4,
            final=1e-5,
        ),
        teacher=PRETRAINED_TEACHERS["dinov3-s"],
        losses=Losses(tile=_PUBLISHED_SIZE),
        augment=TokenBudgetConfig(image_size=_PUBLISHED_SIZE, patch=variant.patch),
    )


def published_vitok(name: str) -> VitokRecipe | None:
    """The recipe of published weights, by the name in the texts or that of `pretrained.hub`; None for another name."""
    known = {text: one for one in PUBLISHED for text in (one, known_weights(one))}
    return named_vitok(known[name]) if name in known else None


def known_weights(name: str) -> str:
    """The name under which `pretrained.hub` knows published weights."""
    return f"vitok-{name.lower()}"


def _network(sizes: Sizes, factor: float) -> NaFlexConfig:
    return NaFlexConfig(sizes.width, sizes.depth, sizes.heads, factor)


def embedded_vitok() -> VitokRecipe:
    """The small recipe of the package: patches of 16 pixels in 24 numbers, images of 16 and of 32 patches."""
    return VitokRecipe(
        name=VITOK_NAME,
        encoder=NaFlexConfig(dim=256, depth=1, heads=8, layer_scale=0.1),
        decoder=NaFlexConfig(dim=256, depth=4, heads=8, layer_scale=0.1),
        channels=24,
        schedule=Schedule(
            unit="steps",
            length=160,
            warmup=10,
            decay=120,
            validate_every=40,
            start=1e-4,
            peak=1e-2,
            final=1e-5,
        ),
        teacher=find_teacher("embedded"),
        losses=Losses(tile=64),
        # What draws latents errs a little, and patches that were never decoded so show their borders.
        latent_noise=0.25,
        optimizer=Optimizer(kind="muon", betas=(0.9, 0.95), clip_norm=1.0, ema_decay=0.95),
        augment=TokenBudgetConfig(image_size=64, patch=16, budgets=(16, 32), crop_rate=0.0),
        global_batch_size=32,
    )


PRESETS: dict[str, Callable[[], VitokRecipe]] = {VITOK_NAME: embedded_vitok}


def nearest(name: str) -> Sequence[str]:
    """Valid names near `name`."""
    known = (*PRESETS, *PUBLISHED, *(published.variant for published in PUBLISHED.values()))
    return difflib.get_close_matches(name, known, n=3, cutoff=0.0)


def name_rows(name: str) -> Rows:
    """(part of the name, meaning, value) from left to right."""
    if name in PUBLISHED:
        published = PUBLISHED[name]
        rows: list[tuple[str, ...]] = [
            (name, "published weights", f"{published.variant}, in {published.repository}")
        ]
    else:
        rows = []
    variant = variant_of(name)
    written = PUBLISHED[name].variant if name in PUBLISHED else name
    found = _STRIDES.fullmatch(written)
    assert found is not None
    words = found["halves"].split("-")
    for word, what, sizes in zip(
        (words[0], words[-1]), ("encoder", "decoder"), (variant.encoder, variant.decoder), strict=True
    ):
        rows.append((word, what, f"{sizes.width} wide, {sizes.depth} layers, {sizes.heads} heads"))
    rows.append((f"{variant.patch}", "side of a patch, in pixels", f"{variant.patch_dim} numbers"))
    rows.append((f"{variant.channels}", "numbers of a latent token", f"{variant.channels}"))
    return tuple(rows)


GLOSSARY: dict[str, Rows] = {
    "sizes": tuple(
        (
            letter,
            f"{sizes.width} wide, {sizes.depth} layers, {sizes.heads} heads",
            "d, w, h, m change it: Ld4",
        )
        for letter, sizes in LETTERS.items()
    ),
    "published": tuple(
        (name, published.variant, published.repository) for name, published in PUBLISHED.items()
    ),
}
