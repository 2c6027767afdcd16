"""The laws of the code base that can be read off its syntax trees."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "laminate"
SOURCES = sorted(PACKAGE.rglob("*.py"))
EXPERIMENTS = sorted((ROOT / "experiments").glob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

LONGEST_FILE = 350
LONGEST_BODY = 60

# Who may import whom: down, never sideways, never up. `data` may not even import `types`, which needs JAX. `storage`
# stands below all that reads or writes files, since what a damaged or a full disk means must be said in one way.
# Frozen networks (`pretrained`) stand below the tokenizers that are made of them, and measures (`evals`) below the
# reports that show them (`analysis`).
_LOW = {"types", "storage", "nn", "losses", "flow", "data", "parallel"}
_MIDDLE = {"models", "bottlenecks"}
_HIGH = {"pretrained", "tokenizers", "train"}
MAY_IMPORT: dict[str, set[str]] = {
    "types": set(),
    "storage": set(),
    "nn": {"types"},
    "losses": {"types"},
    "flow": {"types"},
    "data": {"storage"},
    "parallel": {"types"},
    "models": {"types", "nn"},
    "bottlenecks": {"types", "nn"},
    "pretrained": _LOW | _MIDDLE,
    "tokenizers": _LOW | _MIDDLE | {"pretrained"},
    "train": {"types", "storage", "parallel"},
    "evals": _LOW | _MIDDLE | _HIGH,
    "analysis": _LOW | _MIDDLE | _HIGH | {"evals"},
    "recipes": _LOW | _MIDDLE | _HIGH,
    "planning": _LOW | _MIDDLE | _HIGH,
    "cli": {"parallel", "recipes", "storage", "evals"},
    "runs": _LOW | _MIDDLE | _HIGH | {"evals", "analysis", "recipes", "planning", "cli"},
}

# The package itself re-exports what most users need, and nothing imports it for more than its version.
PACKAGE_MAY_IMPORT = {"runs"}

# A tracker talks to networks through packages that raise anything, and must not stop a training.
BROAD_EXCEPT_ALLOWED = {"train/trackers.py"}

COLLECTIVES = {
    "all_gather",
    "all_to_all",
    "axis_index",
    "axis_size",
    "make_mesh",
    "pmax",
    "pmean",
    "pmin",
    "ppermute",
    "process_count",
    "process_index",
    "psum",
    "psum_scatter",
}
NEVER_IMPORTED = {
    "dill",
    "flax",
    "marshal",
    "pickle",
    "shelve",
    "tensorflow",
    "torch",
    "transformers",
    "yaml",
}


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def nodes(paths: list[Path], *kinds: type[ast.AST]) -> Iterator[tuple[str, ast.AST]]:
    """(`file:line`, node) of every node of these kinds."""
    for path in paths:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, kinds):
                yield f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}", node


def imported(node: ast.AST) -> list[str]:
    """The dotted names that an import statement may bring in."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module is not None:
        return [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return []


def functions(paths: list[Path]) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for place, node in nodes(paths, ast.FunctionDef, ast.AsyncFunctionDef):
        assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        yield place, node


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from the first statement after the docstring to the last."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return 0 if not body else (body[-1].end_lineno or 0) - body[0].lineno + 1


def calls(paths: list[Path], name: str) -> list[str]:
    """Where `name(...)` or `anything.name(...)` is called."""
    found: list[str] = []
    for place, node in nodes(paths, ast.Call):
        assert isinstance(node, ast.Call)
        called = node.func
        if isinstance(called, ast.Name) and called.id == name:
            found.append(place)
        elif isinstance(called, ast.Attribute) and called.attr == name:
            found.append(place)
    return found


def bare_calls(paths: list[Path], name: str) -> list[str]:
    """Where the builtin `name(...)` is called."""
    return [
        place
        for place, node in nodes(paths, ast.Call)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name
    ]


def unit_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


# 1. Layers


def test_every_package_has_a_place_in_the_layers():
    units = {unit_of(path) for path in SOURCES} - {"__init__"}
    assert units == set(MAY_IMPORT), "a new package needs its line in MAY_IMPORT, below whatever uses it"


def test_imports_point_down():
    wrong: list[str] = []
    for place, node in nodes(SOURCES, ast.Import, ast.ImportFrom):
        unit = unit_of(ROOT / place.split(":")[0])
        names = {name.split(".")[1] for name in imported(node) if name.startswith("laminate.")}
        allowed = PACKAGE_MAY_IMPORT if unit == "__init__" else MAY_IMPORT.get(unit, set())
        for name in sorted((names & set(MAY_IMPORT)) - allowed - {unit}):
            wrong.append(f"{place}: {unit} imports {name}")
    assert not wrong


def test_imports_are_absolute_and_named():
    relative = [p for p, n in nodes(SOURCES, ast.ImportFrom) if isinstance(n, ast.ImportFrom) and n.level]
    starred = [
        place
        for place, node in nodes(SOURCES + EXPERIMENTS + TESTS, ast.ImportFrom)
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names)
    ]
    assert not relative
    assert not starred


def test_nothing_imports_the_experiments():
    assert not [p for p, n in nodes(SOURCES, ast.Import, ast.ImportFrom) if "experiments" in imported(n)]


def test_no_experiment_imports_another():
    scripts = {path.stem for path in EXPERIMENTS}
    wrong = [
        f"{place}: {name}"
        for place, node in nodes(EXPERIMENTS, ast.Import, ast.ImportFrom)
        for name in imported(node)
        if name.split(".")[0] in scripts | {"experiments"}
    ]
    assert not wrong


FAMILY_FOLDERS = sorted(path.parent for path in (PACKAGE / "recipes").glob("*/family.py"))
THE_LIST = PACKAGE / "recipes" / "families.py"


def test_a_family_is_named_in_its_folder_its_experiments_and_the_one_list():
    """Generic code asks `recipes.families`, so that a new family changes nothing of it."""
    assert len(FAMILY_FOLDERS) >= 3
    wrong: list[str] = []
    for folder in FAMILY_FOLDERS:
        dotted = f"laminate.recipes.{folder.name}"
        outside = [path for path in SOURCES if folder not in path.parents and path != THE_LIST]
        wrong += [
            f"{place}: {name}"
            for place, node in nodes(outside, ast.Import, ast.ImportFrom)
            for name in imported(node)
            if name == dotted or name.startswith(f"{dotted}.")
        ]
    assert not wrong


def test_no_recipe_class_is_asked_for_outside_its_folder():
    wrong: list[str] = []
    for folder in FAMILY_FOLDERS:
        inside = sorted(folder.glob("*.py"))
        classes = {node.name for _, node in nodes(inside, ast.ClassDef) if isinstance(node, ast.ClassDef)}
        outside = [path for path in SOURCES + EXPERIMENTS if folder not in path.parents]
        for place, node in nodes(outside, ast.Call):
            assert isinstance(node, ast.Call)
            if not isinstance(node.func, ast.Name) or node.func.id not in ("isinstance", "issubclass"):
                continue
            asked = {name.id for name in ast.walk(node.args[1]) if isinstance(name, ast.Name)}
            wrong += [f"{place}: {name}" for name in sorted(asked & classes)]
    assert not wrong


def test_recipes_reach_jax_in_files_named_modules_only():
    needs = {"jax", "equinox", "optax", "laminate.tokenizers", "laminate.nn", "laminate.models"}
    wrong = [
        f"{place}: {name}"
        for place, node in nodes(
            [path for path in SOURCES if unit_of(path) in ("recipes", "cli") and path.stem != "modules"],
            ast.Import,
            ast.ImportFrom,
        )
        for name in imported(node)
        if name.split(".")[0] in needs or ".".join(name.split(".")[:2]) in needs
    ]
    assert not wrong


def test_imports_that_never_appear():
    """Frameworks that the library works without, and formats that run code when they are read."""
    wrong = [
        f"{place}: {name}"
        for place, node in nodes(SOURCES + EXPERIMENTS, ast.Import, ast.ImportFrom)
        for name in imported(node)
        if name.split(".")[0] in NEVER_IMPORTED
    ]
    assert not wrong


# 2. Sizes and names


@pytest.mark.parametrize("path", SOURCES + EXPERIMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_are_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE


def test_function_bodies_are_short():
    long = [f"{p} {f.name}: {body_lines(f)} lines" for p, f in functions(SOURCES + EXPERIMENTS)]
    assert not [line for line in long if int(line.split()[-2]) > LONGEST_BODY]


def test_no_file_is_named_for_having_no_subject():
    banned = {"common", "helper", "helpers", "misc", "util", "utils"}
    assert not [str(path) for path in SOURCES + EXPERIMENTS + TESTS if path.stem in banned]


def test_batch_sizes_say_whose_they_are():
    """`global_`, `host_` or `device_` stands in front of every batch size."""
    parameters = [
        f"{place}: {function.name}"
        for place, function in functions(SOURCES + EXPERIMENTS)
        for argument in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
        if argument.arg == "batch_size"
    ]
    assigned = [
        place
        for place, node in nodes(SOURCES + EXPERIMENTS, ast.Name)
        if isinstance(node, ast.Name) and node.id == "batch_size"
    ]
    assert not parameters + assigned


# 3. Things that never appear


def test_no_future_annotations():
    """They turn annotations into text, which shape checking cannot read."""
    found = [p for p, n in nodes(SOURCES + TESTS, ast.ImportFrom) if "__future__" in imported(n)]
    assert not found


def test_the_package_does_not_print():
    """Terminal output goes through rich or stderr, of the first process only."""
    assert not bare_calls(SOURCES, "print")


def test_no_broad_except_swallows():
    """A bare or broad `except` must raise again, apart from the one file named above."""
    wrong: list[str] = []
    for place, node in nodes(SOURCES + EXPERIMENTS, ast.ExceptHandler):
        assert isinstance(node, ast.ExceptHandler)
        caught = ast.unparse(node.type) if node.type is not None else "everything"
        broad = node.type is None or bool(
            {"Exception", "BaseException"} & set(caught.strip("()").split(", "))
        )
        raises_again = isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None
        allowed = place.split(":")[0].removeprefix("src/laminate/") in BROAD_EXCEPT_ALLOWED
        if broad and not raises_again and not allowed:
            wrong.append(f"{place}: except {caught}")
    assert not wrong


def test_public_signatures_have_no_kwargs():
    wrong = [f"{p}: {f.name}" for p, f in functions(SOURCES) if f.args.kwarg and not f.name.startswith("_")]
    assert not wrong


def test_keys_are_typed():
    """`jax.random.key`, not the legacy constructor of raw uint32 keys."""
    assert not calls(SOURCES + EXPERIMENTS + TESTS, "PRNGKey")


def test_attributes_are_declared_not_asked_for():
    assert not bare_calls(SOURCES, "hasattr")


def test_no_code_in_data():
    """Nothing that is read from a file can run: no eval, no exec, no pickled arrays."""
    ran = bare_calls(SOURCES + EXPERIMENTS, "eval") + bare_calls(SOURCES + EXPERIMENTS, "exec")
    unpickled = [
        place
        for place, node in nodes(SOURCES + EXPERIMENTS, ast.keyword)
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle" and ast.unparse(node.value) != "False"
    ]
    assert not ran + unpickled


def test_hints_name_what_installs_from_a_clone():
    """The project of this name on an index is another one."""
    wrong = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in SOURCES + EXPERIMENTS
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(r"install[^`]*\blaminate(-jax)?\b", line)
    ]
    assert not wrong


def test_nothing_is_left_to_do():
    marks = ("TODO", "FIXME", "XXX")
    wrong = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in SOURCES + EXPERIMENTS
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if any(mark in line for mark in marks)
    ]
    assert not wrong


# 4. Many devices are the business of `parallel` alone


def test_collectives_and_process_numbers_only_in_parallel():
    outside = [path for path in SOURCES if unit_of(path) != "parallel"]
    named = [
        f"{place}: {node.attr}"
        for place, node in nodes(outside, ast.Attribute)
        if isinstance(node, ast.Attribute) and node.attr in COLLECTIVES
    ]
    imported_names = [
        f"{place}: {name}"
        for place, node in nodes(outside, ast.ImportFrom)
        for name in imported(node)
        if name.startswith("jax") and name.split(".")[-1] in COLLECTIVES
    ]
    assert not named + imported_names


def test_axis_names_only_in_parallel():
    outside = [path for path in SOURCES if unit_of(path) != "parallel"] + EXPERIMENTS
    spelled = [
        place
        for place, node in nodes(outside, ast.Constant)
        if isinstance(node, ast.Constant) and node.value == "fsdp"
    ]
    taken = [
        f"{place}: {name}"
        for place, node in nodes(outside, ast.ImportFrom)
        for name in imported(node)
        if name in {"laminate.parallel.mesh.DATA", "laminate.parallel.mesh.FSDP"}
    ]
    assert not spelled + taken
