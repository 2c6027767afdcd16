"""`paper.py` on a whole tokenizer: what it measures here, and what it refuses in one line."""

import json
from pathlib import Path

import pytest

from laminate.cli.paper_flags import PaperFlags
from tests.experiments.jobs import experiment, one_line


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def paper(what: str, **flags: object) -> None:
    experiment("paper").main(PaperFlags(what=what, **flags))


def test_features_that_are_pixels_have_the_dimensions_of_pixels(tokenizer, photos, here, capsys):
    """Table 3 of a tokenizer whose teacher is the pixels themselves: both halves of it are the same."""
    paper("table3", tokenizer=str(tokenizer), data=str(photos), device_batch_size=1)
    held = json.loads((here / "paper" / "table3.json").read_text())
    found = [cell["here"] for cell in held["cells"]]
    assert found[:3] == found[3:]
    assert found[0] == 48.0 and found[2] == pytest.approx(found[0] / found[1])
    assert all(cell["ours"] is None and cell["from"].startswith("not measured") for cell in held["cells"])
    assert f"{tokenizer}" in held["here"] and f"{photos}" in held["here"]
    assert (here / "paper" / "table3.png").stat().st_size > 1000
    said = capsys.readouterr().out
    assert "594" in said and f"here: {tokenizer}" in said and "chip hours" in said


def test_counted_tables_need_no_run_and_leave_a_picture(here, capsys):
    paper("table9")
    assert (here / "paper" / "table9.png").stat().st_size > 1000
    held = json.loads((here / "paper" / "table9.json").read_text())
    assert all(cell["from"] == "counted" for cell in held["cells"]) and held["here"] == ""
    assert "FlatDINO, Table 9" in capsys.readouterr().out


def test_a_missing_run_is_one_line_with_the_command_that_trains_it(here, capsys):
    for what in ("table3", "figure5"):
        with pytest.raises(SystemExit) as left:
            paper(what)
        assert left.value.code == 2
        assert "`python experiments/vae.py` trains it" in one_line(capsys.readouterr().err)
    paper("figure5", measure=False)
    assert "not measured: command 3" in capsys.readouterr().out


def test_an_unknown_name_is_one_line_with_the_nearest(capsys):
    with pytest.raises(SystemExit) as left:
        paper("table11")
    assert left.value.code == 2
    assert "did you mean table1" in one_line(capsys.readouterr().err)
