"""What answers or imports without JAX: `laminate.data`, the recipes, the hub, and every `--help`."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "laminate"

# What `recipes` needs JAX for is to make modules. The rest, all command lines and all of `data` work without.
NEED_JAX = "modules"

WITHOUT_JAX = """
import importlib.abc, runpy, sys


class NoJax(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"jax", "jaxlib", "equinox", "optax"}:
            raise ModuleNotFoundError(f"No module named {name!r} (blocked by this test)", name=name)


sys.meta_path.insert(0, NoJax())
"""


def run_without_jax(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_JAX + code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__")


def test_data_recipes_and_the_hub_import_without_jax():
    modules = [
        module_name(path)
        for unit in ("data", "recipes", "cli")
        for path in sorted((PACKAGE / unit).rglob("*.py"))
    ]
    hub = (
        "__main__",
        "download",
        "families",
        "family",
        "files",
        "hub",
        "layouts",
        "pickles",
        "pins",
        "registry",
        "repository",
        "tensors",
    )
    wanted = ["laminate", *(f"laminate.pretrained.{name}" for name in hub)]
    wanted += [name for name in modules if name.split(".")[-1] != NEED_JAX]
    assert len(wanted) > 30
    run_without_jax(f"import importlib\nfor name in {wanted!r}: importlib.import_module(name)")


def test_help_does_not_import_jax():
    """Help is answered before anything slow is imported, for every experiment with flags and every module."""
    scripts = sorted(
        str(path)
        for path in (ROOT / "experiments").glob("*.py")
        if re.search(r"^(import tyro|from laminate\.cli\.)", path.read_text(), re.MULTILINE)
    )
    assert len(scripts) >= 8
    code = f"""
import io, contextlib
def help_of(run):
    sys.argv = ["program", "--help"]
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        try:
            run()
        except SystemExit as leave:
            assert leave.code in (0, None), leave.code
        else:
            raise AssertionError("--help did not leave")
    assert "usage" in said.getvalue(), said.getvalue()
    for line in said.getvalue().splitlines():
        assert line.count("python experiments/") < 2, line  # indented, or examples run together
for script in {scripts!r}:
    help_of(lambda: runpy.run_path(script, run_name="__main__"))
for module in ("laminate.data", "laminate.recipes", "laminate.pretrained"):
    help_of(lambda: runpy.run_module(module, run_name="__main__", alter_sys=True))
"""
    run_without_jax(code)
