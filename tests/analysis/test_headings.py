"""Words over a picture: no line is longer than the picture, and no letter is lost."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laminate.analysis.evaluation_figures import probe_page, quality_page, sets_page
from laminate.analysis.figures import new_figure
from laminate.analysis.headings import Heading, fitted, wrapped
from laminate.analysis.panels import Bars, Lines, image_page, panel_page

PLACE = "/home/somebody/a-rather-long-folder/runs/embedded-dit+path=sphere/evaluation/compare/samples.npz"
WORDS = st.lists(
    st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=60),
    min_size=1,
    max_size=9,
)


def drawn_width(text, size, weight):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = new_figure(10, 10)
    words = figure.text(0, 0, text, fontsize=size, weight=weight, parse_math=False)
    return words.get_window_extent(FigureCanvasAgg(figure).get_renderer()).width


@pytest.mark.parametrize(("size", "weight"), [(9, "normal"), (12, "bold")])
@given(words=WORDS, width=st.integers(60, 700))
def test_every_line_has_room_and_all_letters_are_there(size, weight, words, width):
    text = " ".join(words)
    lines = wrapped(text, width, size=size, weight=weight)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert max(drawn_width(line, size, weight) for line in lines) <= width


@given(words=WORDS, width=st.integers(60, 700))
def test_what_is_fitted_keeps_its_ends(words, width):
    text = " ".join(words)
    short = fitted(text, width, size=9)
    assert drawn_width(short, 9, "normal") <= width
    if short != text:
        first, last = short.split("…")[0], short.split("…")[-1]
        assert text.startswith(first) and text.endswith(last) and len(last) >= len(first)


def test_a_heading_is_as_high_as_its_lines():
    one, more = Heading("compare", "", 800), Heading(f"{PLACE} against {PLACE}", f"Of {PLACE}.", 800)
    assert one.height < more.height
    figure = new_figure(800, 400)
    more.draw(figure, 400)
    extents = [text.get_window_extent() for text in figure.texts]
    assert all(0 <= box.x0 and box.x1 <= 800 for box in extents)
    assert min(box.y0 for box in extents) >= 400 - more.height


@pytest.fixture
def in_the_picture(monkeypatch):
    """Every text of every picture that is drawn lies inside of it."""
    from matplotlib.figure import Figure

    whole = Figure.savefig

    def checked(figure, *arguments, **how):
        whole(figure, *arguments, **how)
        wide, high = figure.get_size_inches() * figure.dpi
        texts = [*figure.texts, *(axis.label for axes in figure.axes for axis in (axes.xaxis, axes.yaxis))]
        boxes = [text.get_window_extent() for text in texts if text.get_text()]
        assert all(box.x0 >= 0 and box.x1 <= wide and box.y0 >= 0 and box.y1 <= high for box in boxes)

    monkeypatch.setattr(Figure, "savefig", checked)


def test_no_page_cuts_off_what_stands_over_it(tmp_path, in_the_picture):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (7, 12, 12, 3), np.uint8)
    features, path = rng.normal(size=(7, 5)), tmp_path / "page.png"
    x, long = np.arange(1.0, 9.0), "squared error, of the target's square"
    lines = Lines(
        long, long, long, [(f"{long} {place}", x, 1000 * x, None) for place in range(5)], log_y=True
    )
    bars = Bars("Length", "nats", ["a", "b"], np.arange(2.0), x="token")
    quality_page(images, images, rng.normal(24, 3, 7), path, title=PLACE, says=f"Of {PLACE}.")
    sets = [(PLACE, images, features), ("b", images, features)]
    sets_page(sets, [("fd@embedded", "1", "2")], path, title=f"{PLACE} against b", heads=("", "a", "b"))
    probe_page([("latents", [84.0])], ["linear probe"], path, title=f"By features of {PLACE}", chance=18.0)
    panel_page([bars, lines], path, title="Length", says=f"{PLACE}. {PLACE}.")
    image_page([(PLACE, images)], path, title=PLACE, says="", heads=[PLACE], panels=(bars, lines), most=3)
