"""What a person sees: plain lines off a terminal, a bar on one, silence elsewhere."""

import io
import re
import time

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from laminate.train.progress import Progress, RunHeader, duration


def plain() -> tuple[io.StringIO, Console]:
    stream = io.StringIO()
    return stream, Console(file=stream, force_terminal=False, width=60)


def terminal() -> tuple[io.StringIO, Console]:
    stream = io.StringIO()
    return stream, Console(file=stream, force_terminal=True, width=110, color_system=None)


METRICS = {"train/loss": 0.51234567, "train/recon_loss": 0.25, "lr": 1e-4}


def test_off_a_terminal_every_log_is_one_plain_line():
    stream, console = plain()
    with Progress(200, start_step=20, global_batch_size=64, console=console) as progress:
        progress.at(30)
        progress.log(40, METRICS, seconds=2.0)
        progress.note("checkpoint saved [40]")
        progress.log(60, METRICS, seconds=2.0)
    lines = stream.getvalue().splitlines()
    assert lines == [
        "step  40/200   20%  loss 0.5123  recon_loss 0.25  lr 0.0001  640 images/s  100.0 ms/step  16s left",
        "checkpoint saved [40]",
        "step  60/200   30%  loss 0.5123  recon_loss 0.25  lr 0.0001  640 images/s  100.0 ms/step  14s left",
    ]
    assert "\x1b" not in stream.getvalue()


def test_on_a_terminal_the_bar_shows_the_same_numbers_and_notes_stay():
    stream, console = terminal()
    with Progress(200, global_batch_size=64, shown=("train/loss",), console=console) as progress:
        progress.log(50, METRICS, seconds=5.0)
        progress.note("validation 0.4")
    text = stream.getvalue()
    for part in (
        "50/200",
        "25%",
        "640 images/s",
        "100.0 ms/step",
        "15s left",
        "loss 0.5123",
        "validation 0.4",
    ):
        assert part in text
    assert "recon_loss" not in text


def test_only_the_primary_process_writes():
    for make in (plain, terminal):
        stream, console = make()
        RunHeader("laminate", (("mesh", "4x8"),)).show(primary=False, console=console)
        with Progress(9, global_batch_size=2, primary=False, console=console) as progress:
            progress.at(1)
            progress.log(3, METRICS, seconds=1.0)
            progress.note("unseen")
        assert stream.getvalue() == ""


def test_an_error_inside_passes_through_and_frees_the_terminal():
    _, console = terminal()
    for _ in range(2):  # a second live display on a console that still has one would be refused
        try:
            with Progress(9, global_batch_size=2, console=console):
                raise KeyboardInterrupt
        except KeyboardInterrupt:
            continue


@given(st.integers(0, 40), st.integers(1, 40), st.integers(1, 4096), st.floats(1e-3, 1e4))
def test_speed_counts_the_steps_since_the_last_log(start, steps, global_batch_size, seconds):
    stream, console = plain()
    progress = Progress(100, start_step=start, global_batch_size=global_batch_size, console=console)
    progress.log(start + steps, {}, seconds=seconds)
    images = float(re.search(r"([\d,]+) images/s", stream.getvalue())[1].replace(",", ""))
    milliseconds = float(re.search(r"([\d.]+) ms/step", stream.getvalue())[1])
    assert abs(images - global_batch_size * steps / seconds) <= 0.51
    assert abs(milliseconds - 1000 * seconds / steps) <= 0.051


def test_a_log_without_new_steps_states_no_speed():
    stream, console = plain()
    progress = Progress(10, start_step=4, global_batch_size=8, console=console)
    progress.log(4, {"val/loss": float("nan")}, seconds=3.0)
    assert stream.getvalue().split() == ["step", "4/10", "40%", "val/loss", "nan"]


def test_header_states_every_row_on_and_off_a_terminal():
    for make in (plain, terminal):
        stream, console = make()
        RunHeader("VAE fast-32-64", (("mesh", "data 4 x fsdp 8"), ("batch", "[512]"))).show(console=console)
        text = stream.getvalue()
        for part in ("VAE fast-32-64", "mesh", "data 4 x fsdp 8", "batch", "[512]"):
            assert part in text


def test_duration_reads_as_a_person_says_it():
    assert [duration(s) for s in (0.4, 59.4, 65.0, 3600.0, 11220.0, 187200.0)] == [
        "0s",
        "59s",
        "1m05s",
        "1h00m",
        "3h07m",
        "2d04h",
    ]


def test_a_first_step_that_takes_long_is_explained_and_left_out_of_the_time_per_step():
    stream, console = plain()
    with Progress(200, start_step=20, global_batch_size=64, console=console) as progress:
        with progress.compiling(patience=0.05):
            time.sleep(0.3)
        progress.restart(21)
        progress.log(40, {}, seconds=1.9)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "step 21 is compiling, which is done once (0s so far)"
    assert lines[1].startswith("step 21 took 0s with compiling; the times below are without that")
    assert lines[2].split("  ")[-2:] == ["100.0 ms/step", "16s left"]


def test_a_first_step_that_is_quick_needs_no_word():
    stream, console = plain()
    with Progress(9, global_batch_size=2, console=console) as progress, progress.compiling():
        pass
    assert stream.getvalue() == ""
