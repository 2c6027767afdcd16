"""`python -m laminate.recipes explain NAME` and `python -m laminate.recipes list`."""

import sys
from typing import Literal

import tyro
from rich.console import Console
from rich.table import Table

from laminate.recipes import generator_names
from laminate.recipes.costs import parameters
from laminate.recipes.decoder import USAGE as DECODER
from laminate.recipes.decoder_costs import decoder_flops, decoder_parameters, decoder_sequence
from laminate.recipes.decoder_rows import decoder_rows
from laminate.recipes.experiments import (
    DECODER_STATICS,
    FSQ_STATICS,
    GENERATOR_STATICS,
    VAE_STATICS,
    flow_generator,
    image_decoder,
)
from laminate.recipes.explain import (
    Row,
    find_family,
    find_recipe,
    is_ambiguous,
    is_decoder,
    is_generator,
    name_rows,
    recipe_rows,
)
from laminate.recipes.flatdino import Variant
from laminate.recipes.fsq_names import GRAMMAR as FSQ
from laminate.recipes.generator_rows import generator_rows
from laminate.recipes.grammar import EPOCHS, SIZE_LETTERS
from laminate.recipes.json_text import to_json
from laminate.recipes.sizes import SIZES
from laminate.recipes.vae_names import GRAMMAR as VAE


def explain(
    name: str,
    /,
    family: Literal["auto", "vae", "fsq", "generator", "decoder"] = "auto",
    variant: Variant = "paper",
    json: bool = False,
) -> None:
    """Say what the name of an experiment means and what it costs.

    Args:
        name: Name of an experiment, such as long-32-bl-128-25kl7-an5k.
        family: Grammar that the name is read with.
        variant: Follow the paper, or its released code where the two differ.
        json: Write the resolved recipe as JSON instead.
    """
    if family == "generator" or (family == "auto" and is_generator(name)):
        _explain_generator(name, json)
        return
    if family == "decoder" or (family == "auto" and is_decoder(name)):
        _explain_decoder(name, json)
        return
    found = find_family(name) if family == "auto" else family
    recipe = find_recipe(name, found, variant=variant)
    if json:
        sys.stdout.write(to_json(recipe))
        return
    console = Console()
    console.print(
        _table(
            f"{recipe.name} ({found.upper()}, {variant})", ("part", "means", "here"), name_rows(name, found)
        )
    )
    rows = [*recipe_rows(recipe), ("parameters", f"{parameters(recipe):,} in all")]
    console.print(_table("resolved", ("what", "value"), rows))
    if recipe.name != name:
        console.print(f"Canonical name: {recipe.name}")
    if family == "auto" and is_ambiguous(name):
        console.print("This is an FSQ name too: add --family fsq to read it so.")
    console.print(f"Train it: python experiments/{found}.py --experiment {recipe.name}")


def _explain_generator(name: str, json: bool) -> None:
    recipe = flow_generator(name)
    if json:
        sys.stdout.write(to_json(recipe))
        return
    console = Console()
    spec = None if name in GENERATOR_STATICS else generator_names.parse(name)
    parts: list[Row] = [(name, "a fixed name")] if spec is None else list(generator_names.meanings(spec))
    console.print(_table(f"{recipe.name} (generator)", ("part", "means"), parts))
    console.print(_table("resolved", ("what", "value"), list(generator_rows(recipe))))
    if recipe.name != name:
        console.print(f"Canonical name: {recipe.name}")
    console.print("Tokens, numbers and classes become those of the tokenizer and the data.")
    console.print(f"Train it: python experiments/generator.py --experiment {recipe.name} --tokenizer RUN")


def _explain_decoder(name: str, json: bool) -> None:
    recipe = image_decoder(name)
    if json:
        sys.stdout.write(to_json(recipe))
        return
    console = Console()
    cost = (
        f"{decoder_parameters(recipe):,} parameters; {decoder_flops(recipe) / 1e9:.2f} GFLOPs forward over "
        f"{decoder_sequence(recipe)} tokens (one multiply-add is one FLOP)"
    )
    rows: list[Row] = [*decoder_rows(recipe), ("cost", cost)]
    console.print(_table(f"{recipe.name} (image decoder)", ("what", "value"), rows))
    reads = "--tokenizer RUN" if recipe.reads == "latents" else "--teacher NAME"
    if recipe.reads == "latents":
        console.print("Tokens, numbers and the image become those of the tokenizer.")
    weights = " --lpips FILE" if recipe.perceptual.kind == "lpips" else ""
    console.print(f"Train it: python experiments/decoder.py --experiment {recipe.name} {reads}{weights}")


def show_list() -> None:
    """List the grammars, their options, the sizes and the fixed names."""
    console = Console()
    for grammar, fixed, script in ((VAE, VAE_STATICS, "vae.py"), (FSQ, FSQ_STATICS, "fsq.py")):
        rows: list[Row] = [(name, "fixed name") for name in fixed]
        rows += [("-" + option.usage, option.meaning) for option in grammar.options]
        console.print(_table(f"experiments/{script}: {grammar.usage}", ("part", "means"), rows))
    generators: list[Row] = [(name, "fixed name") for name in GENERATOR_STATICS]
    generators += [(f"-{option}", meaning) for option, meaning in generator_names.MEANINGS.items()]
    console.print(_table(f"experiments/generator.py: {generator_names.USAGE}", ("part", "means"), generators))
    decoders: list[Row] = [(name, "fixed name") for name in DECODER_STATICS]
    decoders += [
        ("vit", "FlatDINO's, from latents of a tokenizer"),
        ("rae", "RAE's, from features of a teacher"),
    ]
    console.print(_table(f"experiments/decoder.py: {DECODER}", ("part", "means"), decoders))
    lengths: list[Row] = [(variant, f"{epochs} epochs") for variant, epochs in EPOCHS.items()]
    console.print(_table("variant", ("name", "length"), lengths))
    sizes: list[Row] = [
        (letter, SIZES[letter].label, f"{SIZES[letter].dim} wide, {SIZES[letter].depth} layers")
        for letter in SIZE_LETTERS
    ]
    console.print(_table("sizes", ("letter", "size", ""), sizes))


def _table(title: str, columns: Row, rows: list[Row]) -> Table:
    table = Table(*columns, title=title, title_justify="left")
    for row in rows:
        table.add_row(*(cell.replace("[", "\\[") for cell in row))
    return table


def main() -> None:
    """Run a sub-command; a name or value that is wrong costs one line and exit code 2."""
    try:
        tyro.extras.subcommand_cli_from_dict(
            {"explain": explain, "list": show_list},
            prog="python -m laminate.recipes",
            description="Names of experiments: what they mean, what they cost.",
        )
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
