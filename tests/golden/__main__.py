"""`python -m tests.golden FILE...`: the error of every output, and whether it is within tolerance.

Exit code 0: all within; 1: an output is beyond its tolerance or was not produced; 2: a file could not be run.
"""

import argparse
import sys
from pathlib import Path

import jax
from rich.console import Console
from rich.table import Table

from laminate.parallel.platforms import skip_missing_tpu
from laminate.pretrained.keymaps.base import KeyMapError

from .cases import judge
from .reader import CannotRun, Comparison, read

_WITHIN, _BEYOND, _NOT_RUN = 0, 1, 2


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.golden", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    skip_missing_tpu()
    jax.config.update("jax_default_matmul_precision", "highest")
    console = Console(width=None if sys.stdout.isatty() else 132)
    return max(_run(path, console) for path in parser.parse_args(arguments).files)


def _run(path: Path, console: Console) -> int:
    try:
        golden = read(path)
        comparisons, note = judge(golden)
    except CannotRun as error:
        console.print(f"cannot run: {error}", style="red", markup=False)
        return _NOT_RUN
    except KeyMapError as error:
        console.print(f"{path}: {error}", style="red", markup=False)
        return _BEYOND
    if note:
        console.print(note, markup=False)
    failed = sum(not c.passed for c in comparisons)
    console.print(_table(f"{path.name} (case {golden.case})", comparisons))
    verdict = (
        f"{failed} of {len(comparisons)} outputs failed"
        if failed
        else f"all {len(comparisons)} outputs passed"
    )
    console.print(f"{path}: {verdict}", style="red" if failed else "green", markup=False)
    return _BEYOND if failed else _WITHIN


def _table(title: str, comparisons: list[Comparison]) -> Table:
    table = Table("output", "error / peak", "tolerance", "", title=title, title_justify="left")
    for c in comparisons:
        verdict = "" if c.passed else "FAILED "
        style = None if c.passed else "red"
        tolerance = f"{c.tolerance:.0e}" if c.tolerance else "exact"
        table.add_row(c.name, f"{c.error:.1e}", tolerance, verdict + c.remark, style=style)
    return table


if __name__ == "__main__":
    sys.exit(main())
