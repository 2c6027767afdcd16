"""Experiment names: what each one resolves to, and which are refused.

The reference wants options in one order and an `L` in front of levels. Our parsers take any order and bare
levels, so a name that the reference refuses for no other reason is accepted by ours and passes here; in the
count of refusals it is read strictly.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from laminate.recipes.flatdino import fsq_names, vae_names
from laminate.recipes.flatdino.family import FSQ, VAE
from laminate.recipes.flatdino.grammar import Grammar, match_option
from laminate.recipes.flatdino.recipe import FlatDinoRecipe
from laminate.recipes.generator import names as generator_names
from laminate.recipes.generator.presets import named_generator
from tests.oracles.released_config import as_released_config, as_released_spec
from tests.oracles.released_generator import as_released_generator

from ..reader import Comparison, Golden, compare

_COUNTS = "counts_total_rejected"


def judge(golden: Golden) -> tuple[list[Comparison], str]:
    """Every name, then the counts; and what was not judged."""
    parsed = golden.config["parsed"]
    vae, vq = parsed.get("vae", {}), parsed.get("vq", {})
    comparisons = [
        _config("vae", name, reference, VAE.names.recipe, vae_names.GRAMMAR)
        for name, reference in vae.items()
    ]
    comparisons += [
        _config("vq", name, reference, FSQ.names.recipe, fsq_names.GRAMMAR) for name, reference in vq.items()
    ]
    comparisons += [_spec(name, reference) for name, reference in golden.config.get("vae_spec", {}).items()]
    refused = [name for name in vae if not _strictly_accepted(name, VAE.names.recipe, vae_names.GRAMMAR)]
    refused += [name for name in vq if not _strictly_accepted(name, FSQ.names.recipe, fsq_names.GRAMMAR)]
    generators = parsed.get("generator", {})
    comparisons += [_generator(name, reference) for name, reference in generators.items()]
    refused += [name for name in generators if not _strict_generator(name)]
    others = {family: names for family, names in parsed.items() if family not in ("vae", "vq", "generator")}
    refused += [name for names in others.values() for name, value in names.items() if "error" in value]
    counts = np.asarray([sum(map(len, parsed.values())), len(refused)], np.int32)
    comparisons += compare(golden, {_COUNTS: counts})
    left = ", ".join(f"{len(names)} {family}" for family, names in others.items())
    return comparisons, f"{left} names were counted from the header and not parsed" if left else ""


def _accepted(name: str, resolve: Callable[..., FlatDinoRecipe]) -> FlatDinoRecipe | None:
    try:
        return resolve(name, variant="released")
    except ValueError:
        return None


def _strictly_accepted(name: str, resolve: Callable[..., FlatDinoRecipe], grammar: Grammar) -> bool:
    return _accepted(name, resolve) is not None and _strict(name, grammar)


def _strict(name: str, grammar: Grammar) -> bool:
    """The reference's own form: options in the order of the grammar, levels behind an `L`."""
    if name in grammar.statics:
        return True
    words = name.split("-")
    order = [option.key for option in grammar.options]
    matches = [match_option(word, grammar) for word in words[4:]]
    places = [order.index(match[0]) for match in matches if match is not None]
    named_levels = "L" not in grammar.tail or words[3].startswith("L")
    return named_levels and places == sorted(places)


def _config(
    family: str,
    name: str,
    reference: dict[str, Any],
    resolve: Callable[..., FlatDinoRecipe],
    grammar: Grammar,
) -> Comparison:
    recipe = _accepted(name, resolve)
    label = f"parsed/{family}/{name}"
    if "error" in reference:
        if recipe is None:
            return _verdict(label, [], "refused")
        lenient = not _strict(name, grammar)
        return _verdict(
            label, [] if lenient else ["accepted"], "accepted in another order" if lenient else ""
        )
    if recipe is None:
        return _verdict(label, ["refused"], "")
    return _verdict(label, _differences(as_released_config(recipe), reference, ""), "")


def _strict_generator(name: str) -> bool:
    """Whether the reference accepts `name`: one of ours whose options stand in the order of the grammar."""
    try:
        generator_names.parse(name)
    except ValueError:
        return False
    order = ("dh", "kappa", "xpred", "norm")
    places = [order.index("kappa" if word.startswith("kappa") else word) for word in name.split("-")[1:]]
    return places == sorted(places)


def _generator(name: str, reference: dict[str, Any]) -> Comparison:
    label = f"parsed/generator/{name}"
    try:
        recipe = named_generator(name)
    except ValueError:
        return _verdict(label, [] if "error" in reference else ["refused"], "refused")
    if "error" in reference:
        lenient = not _strict_generator(name)
        return _verdict(label, [] if lenient else ["accepted"], "accepted in another order")
    return _verdict(label, _differences(as_released_generator(recipe), reference, ""), "")


def _spec(name: str, reference: dict[str, Any] | None) -> Comparison:
    label = f"vae_spec/{name}"
    try:
        spec = vae_names.parse(name)
    except ValueError:
        return _verdict(label, [] if reference is None else ["refused"], "not in the grammar")
    if reference is None:
        lenient = not _strict(name, vae_names.GRAMMAR)
        return _verdict(
            label, [] if lenient else ["accepted"], "accepted in another order" if lenient else ""
        )
    return _verdict(label, _differences(as_released_spec(spec), reference, ""), "")


def _verdict(label: str, faults: list[str], remark: str) -> Comparison:
    return Comparison(label, float(len(faults)), 0.0, not faults, "; ".join(faults) or remark)


def _differences(ours: Any, reference: Any, where: str) -> list[str]:
    """Where two JSON values differ; numbers may differ by rounding."""
    if isinstance(reference, dict) and isinstance(ours, dict):
        fields = sorted(set(ours) | set(reference))
        return [
            fault
            for field in fields
            for fault in _differences(ours.get(field), reference.get(field), f"{where}.{field}".lstrip("."))
        ]
    if _number(ours) and _number(reference):
        return (
            [] if math.isclose(ours, reference, rel_tol=1e-12) else [f"{where}={ours}, expected {reference}"]
        )
    if isinstance(ours, tuple):
        ours = list(ours)
    return [] if ours == reference else [f"{where}={ours}, expected {reference}"]


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
