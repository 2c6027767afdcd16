"""A plan for a person: the table, the picture and the JSON say the same."""

import io
import json
from dataclasses import replace

import pytest
from matplotlib import image
from rich.console import Console

from laminate.planning.figure import draw_plan
from laminate.planning.loader_speed import images_per_second
from laminate.planning.table import markdown, rows, show
from tests.planning.plans import FITS, GIB, MEASURED

TOO_LARGE = replace(FITS, needed_bytes=31 * GIB, measured=None)


def test_the_table_says_what_binds_what_is_waited_for_and_what_the_pipeline_must_deliver():
    table = dict(rows(FITS, loader_rate=400.0))
    assert table["slice"] == "2*v5e:4x8, 16 hosts; mesh 2x4x8 (data x fsdp), remat dots"
    assert table["batch"] == "1024 images, 16 on each device in 2 parts"
    assert table["memory of one device"] == "6.00 GiB of 16.00 GiB: fits"
    assert table["  activations, gradients"] == "3.50 GiB"
    assert table["operations"] == "15.00 TFLOP a step and device, 20.0% of it computed again"
    assert table["  all-gather"] == "367 of 2.00 GB in all, 95% beside compute"
    assert table["  in loops"] == "2.00 GB, 97% beside compute"
    assert table["  between slices"] == "1.00 GB"
    assert table["at least"].endswith("network 20.0 ms: memory binds")
    assert FITS.images_per_second == pytest.approx(1024 / 0.23)
    assert table["images"] == "4,452 a second, 278 for each host: 0.7 cores of this machine, of 400 each"


def test_every_row_of_the_markdown_has_a_name_of_its_own():
    names = [line.split("|")[1] for line in markdown(FITS).splitlines()[2:]]
    assert len(names) == len(set(names)) == len(rows(FITS))


def test_what_does_not_fit_says_by_how_much_and_nothing_else():
    table = dict(rows(TOO_LARGE))
    assert table["memory of one device"] == "31.00 GiB of 16.00 GiB: DOES NOT FIT"
    assert "estimated step" not in table and "images" not in table
    assert TOO_LARGE.images_per_second == 0.0


def test_a_long_list_of_what_is_waited_for_is_cut():
    many = tuple(f"all-gather of {size} MiB, 4 times" for size in range(2, 7))
    table = dict(rows(replace(FITS, measured=replace(MEASURED, blocking=many))))
    assert table["  waited for in loops"] == f"{many[0]}; {many[1]}; {many[2]}; 2 more"


def test_what_was_left_out_is_said():
    assert "left out" not in dict(rows(FITS))
    assert dict(rows(replace(FITS, note="the frozen network")))["left out"] == "the frozen network"


def test_the_terminal_and_markdown_show_every_row():
    console = Console(record=True, width=160, file=io.StringIO())
    show(FITS, console)
    shown, written = console.export_text(), markdown(FITS)
    for name, value in rows(FITS):
        assert value in shown
        assert f"{name.strip()} | {value} |" in written


def test_the_json_holds_the_derived_figures_too():
    read = json.loads(json.dumps(FITS.as_dict()))
    assert read["fits"] and read["setting"]["mesh"] == {"data": 4, "fsdp": 8, "slices": 2}
    assert read["measured"]["roofline"]["binds"] == "memory"
    assert read["measured"]["roofline"]["step"] == pytest.approx(0.23)
    assert json.loads(json.dumps(TOO_LARGE.as_dict()))["measured"] is None


@pytest.mark.parametrize("plan", [FITS, TOO_LARGE], ids=["fits", "too-large"])
def test_the_picture_is_drawn(plan, tmp_path):
    draw_plan(plan, tmp_path / "plan.png")
    pixels = image.imread(tmp_path / "plan.png")
    assert pixels.shape[:2] == (380, 840) and pixels[..., :3].std() > 0.05


def test_the_loader_is_measured_on_this_machine():
    assert 10.0 < images_per_second(64, repeats=1) < 100_000.0
