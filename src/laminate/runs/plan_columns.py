"""`tpu/PLANS.md`: every column a plan of its own process, all from one state of the code, finished ones kept."""

import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from laminate.runs.exit_codes import say
from laminate.storage.strict_json import JsonError, read_json
from laminate.storage.writing import make_folder, write_bytes

BEGIN, END = "<!-- made by experiments/plan.py --plans -->", "<!-- end of what it made -->"
_CODE = ("src", "experiments")
_STATE = "state.json"


@dataclass(frozen=True)
class Column:
    """One plan: the table that it stands in, its heading there and in the cache, and its flags."""

    table: str
    name: str
    arguments: str

    @property
    def command(self) -> str:
        return f"python experiments/plan.py {self.arguments}"


def _tokenizer(name: str, arguments: str) -> Column:
    return Column("FlatDINO's tokenizer, with its teacher inside the step", name, arguments)


def _vitok(name: str, arguments: str) -> Column:
    return Column("ViTok-v2", name, arguments)


def _stage(number: int, chip: str) -> Column:
    flags = f"--experiment dino-sae-v2-{number} --global-batch-size 512 --topology {chip}:4x8 --mesh 4x8"
    return Column("DINO-SAE, ViT-L, 256², batch 512", f"stage {number}, {chip}:4x8", flags)


_FLAGSHIP = "--experiment long-32-bl-128 --global-batch-size 512"
COLUMNS = (
    _tokenizer("B/L, v5e:4x8", f"{_FLAGSHIP} --topology v5e:4x8 --mesh 4x8"),
    _tokenizer(
        "S/B, v5e:4x8",
        "--experiment fast-32-sb-128 --global-batch-size 512 --topology v5e:4x8 --mesh 4x8",
    ),
    _vitok("350M, v5e:4x8", "--experiment Ld4-Ld24/1x16x64 --topology v5e:4x8 --mesh 4x8"),
    _stage(1, "v5e"),
    _stage(2, "v5e"),
    _vitok("350M, v5p:4x4x4", "--experiment 350M-f16x64 --topology v5p:4x4x4 --mesh 8x8"),
    _vitok("5B, v5e:4x8", "--experiment 5B-f16x64 --topology v5e:4x8 --mesh 1x32 --suggest"),
    _vitok("5B, v5p:4x4x4", "--experiment 5B-f16x64 --topology v5p:4x4x4 --mesh 8x8 --suggest"),
    _tokenizer("B/L, v5e:4x8, data parallel", f"{_FLAGSHIP} --topology v5e:4x8 --mesh 32x1"),
    Column("A generator", "DiT-XL, training", "--experiment ditxl --topology v5e:4x8 --mesh 4x8"),
    _stage(1, "v6e"),
    _stage(2, "v6e"),
    Column("A generator", "DiT-XL, drawing", "--experiment ditxl --topology v5e:4x8 --mesh 4x8 --draw"),
    Column("An image decoder", "ViT-XL", "--experiment vit-xl --topology v5e:4x8 --mesh 4x8"),
    _tokenizer("B/L, v6e:4x8", f"{_FLAGSHIP} --topology v6e:4x8 --mesh 4x8"),
    _tokenizer("B/L, v5p:4x4x4", f"{_FLAGSHIP} --topology v5p:4x4x4 --mesh 8x8"),
    _tokenizer("B/L, 2 x v5e:4x8", f"{_FLAGSHIP} --topology 2*v5e:4x8 --mesh 2x4x8"),
)


def write_plans(document: Path, cache: Path, script: Path, columns: Sequence[Column] = COLUMNS) -> None:
    """Make every column that `cache` does not hold from this state of the code, and write them all into `document`.

    It is written again after each column, so that what is finished stays when the rest is stopped; the same command
    goes on. Its text outside the two marks is kept. Raises ValueError if the code has changes that no commit holds, or
    the document has no marks.
    """
    root = script.resolve().parent.parent
    commit, code = _committed(root)
    _write(document, cache, columns, commit, code)
    for column in columns:
        folder = cache / _file_name(column)
        if _rows(folder, column, code) is not None:
            continue
        say(f"{column.table}, {column.name}: {column.command}", primary=True)
        command = [sys.executable, str(script), *shlex.split(column.arguments), "--out", str(folder)]
        if subprocess.run(command, cwd=root, check=False).returncode:
            say(f"{column.name} failed, and is left out", primary=True)
            continue
        if _committed(root)[1] != code:
            raise ValueError(
                "The code has changed meanwhile: give the command again, on what is committed now."
            )
        stated = {"arguments": column.arguments, "code": code}
        write_bytes(folder / _STATE, json.dumps(stated).encode())
        _write(document, cache, columns, commit, code)


def _committed(root: Path) -> tuple[str, str]:
    """The commit, and the hashes of the trees that plans depend on. Raises ValueError if they are not committed."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=root, check=False, capture_output=True, text=True)
        if done.returncode:
            raise ValueError(
                f"--plans needs a clone of the repository: git {arguments[0]}: {done.stderr.strip()}"
            )
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--", *_CODE)
    if changed:
        raise ValueError(f"--plans states the commit that its figures are of: commit first\n{changed}")
    trees = " ".join(git("rev-parse", f"HEAD:{name}") for name in _CODE)
    return git("log", "-1", "--format=%h", "--", *_CODE), f"{trees} {version('jax')} {version('libtpu')}"


def _file_name(column: Column) -> str:
    named = f"{column.table.partition(',')[0]} {column.name}"
    return "".join(letter if letter.isalnum() else "-" for letter in named)


def _rows(folder: Path, column: Column, code: str) -> dict[str, str] | None:
    """The table of a finished column by the names of its rows; None for one of other flags or another code."""
    if not (folder / _STATE).is_file() or not (folder / "plan.md").is_file():
        return None
    try:
        stated = read_json(folder / _STATE)
        if (stated["arguments"].text(), stated["code"].text()) != (column.arguments, code):
            return None
    except JsonError:
        return None
    cells = [line.strip("| ").split(" | ", 1) for line in (folder / "plan.md").read_text().splitlines()[2:]]
    return {cell[0]: cell[1] for cell in cells if len(cell) == 2}


def _write(document: Path, cache: Path, columns: Sequence[Column], commit: str, code: str) -> None:
    before, mark, rest = document.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not mark or not end:
        raise ValueError(
            f"{document} has no lines `{BEGIN}` and `{END}`, between which the tables are written."
        )
    done = {
        column: rows
        for column in columns
        if (rows := _rows(cache / _file_name(column), column, code)) is not None
    }
    missing = [column for column in columns if column not in done]
    text = [f"All columns are of the code at {commit}; jax {version('jax')}, libtpu {version('libtpu')}."]
    for table in dict.fromkeys(column.table for column in done):
        text += ["", *_table(table, {column: rows for column, rows in done.items() if column.table == table})]
    if missing:
        text += [
            "",
            "Not compiled yet from this state of the code; the same command goes on with them:",
            "",
            "```sh",
        ]
        text += [*(f"{column.command}  # {column.name}" for column in missing), "```"]
    made = "\n".join((BEGIN, "", *text, "", END))
    make_folder(document.parent)
    write_bytes(document, f"{before}{made}{after}".encode())


def _table(title: str, columns: dict[Column, dict[str, str]]) -> list[str]:
    """The commands of a table and its rows, each row that any of its columns has."""
    names = dict.fromkeys(name for rows in columns.values() for name in rows)
    head = " | ".join(column.name for column in columns)
    lines = [" | ".join((name, *(rows.get(name, "-") for rows in columns.values()))) for name in names]
    commands = [f"{column.command}  # {column.name}" for column in columns]
    rule = "|".join("---" for _ in range(len(columns) + 1))
    return [
        f"### {title}",
        "",
        "```sh",
        *commands,
        "```",
        "",
        f"| | {head} |",
        f"|{rule}|",
        *(f"| {one} |" for one in lines),
    ]
