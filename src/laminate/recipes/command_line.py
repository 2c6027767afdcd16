"""The command line of an experiment, answered before JAX is imported."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import tyro

from laminate.recipes.decoder import DecoderRecipe
from laminate.recipes.decoder_flags import DecoderFlags, resolve_decoder
from laminate.recipes.flags import GeneratorFlags, TrainFlags, resolve_generator, resolve_recipe
from laminate.recipes.flatdino import FlatDinoRecipe
from laminate.recipes.generator import GeneratorRecipe

Flags = TypeVar("Flags")


def train_command(
    description: str | None,
    from_name: Callable[[str], FlatDinoRecipe],
    *,
    default: str,
    arguments: list[str] | None = None,
) -> tuple[TrainFlags, FlatDinoRecipe]:
    """The flags of a tokenizer's training, and the recipe they ask for (`flags.resolve_recipe`).

    Prints help and exits, or exits with code 2 and one line on what is wrong.
    """
    program = Path(sys.argv[0]).name
    try:
        flags = tyro.cli(TrainFlags, prog=program, description=description, args=arguments)
        return flags, resolve_recipe(flags, from_name, default=default)
    except (ValueError, OSError) as error:
        raise _refused(program, error) from error


def generator_command(
    description: str | None,
    from_name: Callable[[str], GeneratorRecipe],
    *,
    default: str,
    arguments: list[str] | None = None,
) -> tuple[GeneratorFlags, GeneratorRecipe]:
    """The flags of a generator's training, and the recipe they ask for; as `train_command`."""
    program = Path(sys.argv[0]).name
    try:
        flags = tyro.cli(GeneratorFlags, prog=program, description=description, args=arguments)
        return flags, resolve_generator(flags, from_name, default=default)
    except (ValueError, OSError) as error:
        raise _refused(program, error) from error


def decoder_command(
    description: str | None,
    from_name: Callable[[str], DecoderRecipe],
    *,
    default: str,
    arguments: list[str] | None = None,
) -> tuple[DecoderFlags, DecoderRecipe]:
    """The flags of an image decoder's training, and the recipe they ask for; as `train_command`."""
    program = Path(sys.argv[0]).name
    try:
        flags = tyro.cli(DecoderFlags, prog=program, description=description, args=arguments)
        return flags, resolve_decoder(flags, from_name, default=default)
    except (ValueError, OSError) as error:
        raise _refused(program, error) from error


def flags_command(description: str | None, kind: type[Flags], *, arguments: list[str] | None = None) -> Flags:
    """The flags of a command without a recipe; as `train_command`."""
    program = Path(sys.argv[0]).name
    try:
        return tyro.cli(kind, prog=program, description=description, args=arguments)
    except (ValueError, OSError) as error:
        raise _refused(program, error) from error


def _refused(program: str, error: Exception) -> SystemExit:
    sys.stderr.write(f"{program}: {error}\n")
    return SystemExit(2)
