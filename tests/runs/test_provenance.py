"""What a report says of where it comes from."""

import datetime
import subprocess

from laminate.runs.provenance import commit, provenance


def test_commit_is_that_of_the_checkout_and_says_whether_it_was_changed(tmp_path):
    package = tmp_path / "clone" / "src" / "laminate"
    package.mkdir(parents=True)
    (package / "a.py").write_text("1\n")

    def git(*arguments):
        identity = ("-c", "user.name=a", "-c", "user.email=a@b.c")
        done = subprocess.run(
            ["git", *identity, *arguments], cwd=tmp_path / "clone", capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    assert commit(package) == ""
    git("init")
    git("add", "-A")
    git("commit", "-m", "one")
    assert commit(package) == git("rev-parse", "HEAD")[:12]
    (package / "a.py").write_text("2\n")
    assert commit(package) == git("rev-parse", "HEAD")[:12] + ", with changes"
    installed = tmp_path / "clone" / "venv" / "lib" / "laminate"
    installed.mkdir(parents=True)
    assert commit(installed) == ""  # a repository that is not this project's


def test_date_duration_and_versions_are_said():
    rows = dict(provenance(65.0, datetime.datetime(2030, 1, 2, 3, 4, tzinfo=datetime.UTC)))
    assert rows["date"] == "2030-01-02 03:04 UTC"
    assert rows["duration"] == "1m05s of training in this process"
    assert "laminate " in rows["versions"] and "jax " in rows["versions"]
    assert "duration" not in dict(provenance(None))
