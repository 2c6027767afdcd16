"""Where a result comes from: commit, date, duration, versions."""

import datetime
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import laminate
from laminate.recipes.family import Facts
from laminate.train.progress import duration

_PACKAGES = ("jax", "jaxlib", "equinox", "optax", "numpy")


def provenance(seconds: float | None, now: datetime.datetime | None = None) -> Facts:
    """Rows for a report; `seconds` is how long this process trained, None if it did not."""
    at = datetime.datetime.now(datetime.UTC) if now is None else now
    found = commit()
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    return (
        *((("commit", found),) if found else ()),
        ("date", at.strftime("%Y-%m-%d %H:%M UTC")),
        *((("duration", f"{duration(seconds)} of training in this process"),) if seconds is not None else ()),
        ("versions", f"laminate {laminate.__version__}, {packages}, Python {platform.python_version()}"),
    )


def commit(package: Path = Path(laminate.__file__).parent) -> str:
    """The commit of the checkout that `package` lies in as `src/laminate`, and whether it was changed since; "" if it
    was installed, or there is no git."""
    root = package.parent.parent
    top = _git(root, "rev-parse", "--show-toplevel")
    if not top or Path(top).resolve() != root.resolve():
        return ""
    head = _git(root, "rev-parse", "HEAD")
    changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    return f"{head[:12]}{', with changes' if changed else ''}" if head else ""


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
