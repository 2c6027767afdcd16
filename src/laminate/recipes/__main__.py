"""`python -m laminate.recipes explain NAME` and `python -m laminate.recipes list`."""

import shlex
import sys
from typing import Annotated

import tyro
from rich.console import Console

from laminate.recipes.families import (
    AUTO,
    families,
    family_named,
    find_family,
    other_families,
    require_family,
    to_json,
)
from laminate.recipes.overrides import HELP, override, without_help
from laminate.recipes.tables import show_fields, table


def explain(
    name: str,
    /,
    family: str = AUTO,
    variant: str = "paper",
    set: Annotated[tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="PATH=VALUE")] = (),
    json: bool = False,
) -> None:
    """Say what the name of an experiment means and what it costs.

    Args:
        name: Name of an experiment, such as long-32-bl-128-25kl7-an5k.
        family: Grammar that the name is read with; `list` shows them.
        variant: Follow the paper, or its released code where the two differ.
        set: A field of the recipe, as in training; `--set help` lists all of them.
        json: Write the resolved recipe as JSON instead.
    """
    found = find_family(name) if family == AUTO else family_named(family)
    named = found.names.recipe(name, variant)
    recipe = override(named, without_help(set))
    if HELP in set:
        show_fields(recipe)
        return
    require_family(recipe, found)
    if json:
        sys.stdout.write(to_json(recipe))
        return
    console, text = Console(), found.text(recipe)
    heading = text.title if variant == "paper" else f"{text.title} ({variant})"
    parts = found.names.rows(name)
    console.print(table(heading, ("part", "means", "here")[: max(map(len, parts))], parts))
    console.print(table("resolved", ("what", "value"), text.rows))
    if named.name != name:
        console.print(f"Canonical name: {named.name}", markup=False)
    if family == AUTO:
        for other in other_families(name, found):
            console.print(f"This is a name of {other.script} too: add --family {other.name} to read it so.")
    for note in text.notes:
        console.print(note, markup=False)
    given = [] if variant == "paper" else ["--variant", variant]
    given += [word for setting in set for word in ("--set", setting)]
    arguments = f"--experiment {named.name}{text.arguments} {shlex.join(given)}".rstrip()
    console.print(f"Train it: python experiments/{found.script} {arguments}", markup=False, soft_wrap=True)


def show_list() -> None:
    """List the families, their grammars and options, the words of names, and the fixed names."""
    console = Console()
    for family in families():
        names = family.names
        rows = (
            *((name, names.photographs.get(name, "fixed name")) for name in names.presets),
            *names.options,
        )
        usage = f": {names.usage}" if names.usage else ""
        console.print(f"experiments/{family.script} (--family {family.name}){usage}", markup=False)
        console.print(table("", ("part", "means"), rows))
        for word, meanings in names.glossary.items():
            console.print(table(word, ("name", *("",) * (max(map(len, meanings)) - 1)), meanings))


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
