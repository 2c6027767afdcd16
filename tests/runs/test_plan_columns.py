"""The document of plans: one command makes it, from one commit, and goes on where it was stopped."""

import subprocess

import pytest

from laminate.cli.plan_flags import plan_command
from laminate.runs import plan_columns
from laminate.runs.plan_columns import BEGIN, COLUMNS, END, Column, write_plans

SCRIPT = """import pathlib, sys
out = pathlib.Path(sys.argv[sys.argv.index("--out") + 1])
if "--fails" in sys.argv:
    raise SystemExit(2)
out.mkdir(parents=True, exist_ok=True)
with open(pathlib.Path(__file__).parent.parent / "asked", "a") as file:
    file.write(f"{sys.argv[1]}\\\\n")
row = "| images | 7 |" if sys.argv[1] == "--one" else "| estimated step | 3 ms |"
(out / "plan.md").write_text(f"| | |\\\\n|---|---|\\\\n| memory | {sys.argv[1]} |\\\\n{row}\\\\n")
""".replace("\\\\n", "\\n")
ONE, OTHER, BAD = (Column("Table", name, f"--{name}") for name in ("one", "other", "fails"))


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A repository with a script that plans nothing, and a document with marks; libtpu has a version."""
    monkeypatch.setattr(plan_columns, "version", lambda name: f"{name}-1")
    for folder in ("src", "experiments"):
        (tmp_path / folder).mkdir()
    (tmp_path / "src" / "code.py").write_text("one = 1\n")
    (tmp_path / "experiments" / "plan.py").write_text(SCRIPT)
    (tmp_path / "PLANS.md").write_text(f"# Plans\n\n{BEGIN}\n{END}\n\nBy hand.\n")
    for command in ("init -q", "add src experiments", "commit -qm first"):
        git(tmp_path, *command.split())
    return tmp_path


def git(folder, *arguments):
    author = ("-c", "user.name=a", "-c", "user.email=a@b")
    subprocess.run(["git", *author, *arguments], cwd=folder, check=True)


def write(clone, *columns):
    write_plans(clone / "PLANS.md", clone / "cache", clone / "experiments" / "plan.py", columns)
    return (clone / "PLANS.md").read_text(), (clone / "asked").read_text().split()


def test_what_is_finished_is_kept_and_what_failed_is_named(clone):
    text, asked = write(clone, ONE, BAD)
    assert asked == ["--one"] and "| memory | --one |" in text and "python experiments/plan.py --one" in text
    assert "Not compiled yet" in text and "python experiments/plan.py --fails  # fails" in text
    text, asked = write(clone, ONE, OTHER)
    assert asked == ["--one", "--other"]
    assert "| memory | --one | --other |" in text and "| images | 7 | - |" in text
    assert text.startswith("# Plans\n") and text.endswith("By hand.\n") and "Not compiled yet" not in text


def test_all_columns_are_of_one_committed_state(clone):
    write(clone, ONE)
    (clone / "src" / "code.py").write_text("one = 2\n")
    with pytest.raises(ValueError, match=r"commit first\n.*code\.py"):
        write(clone, ONE)
    git(clone, "commit", "-qam", "second")
    _, asked = write(clone, ONE, OTHER)
    assert asked == ["--one", "--one", "--other"]


def test_a_document_without_marks_is_left_alone(clone):
    (clone / "PLANS.md").write_text("By hand.\n")
    with pytest.raises(ValueError, match="between which the tables"):
        write(clone, ONE)
    assert (clone / "PLANS.md").read_text() == "By hand.\n"


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: column.name)
def test_every_column_is_a_command_that_is_understood(column):
    assert plan_command(None, column.arguments.split()).training is not None
