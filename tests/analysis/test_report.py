"""report.html: complete, self-contained, and made of text that cannot break it."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from laminate.analysis.report import REPORT_FILE, Picture, Report, Table, page, write_report

REPORT = Report(
    title="β-VAE tokenizer",
    summary="8 tokens of 16 numbers.",
    headlines=(("94.1 %", "R²"), ("24×", "fewer numbers")),
    facts=(("Recipe", "tiny-8-tt-16"), ("Parameters", "1,234,567")),
    command="python experiments/vae.py --seed 42",
    pictures=(
        Picture("reconstructions.png", "Reconstructions", "Held out."),
        Picture("curves.png", "Training"),
    ),
    files=(("metrics.jsonl", "every value"), ("recipe.json", "the recipe")),
    tables=(Table("Beside a baseline", "On 64 images.", ("R²", "PSNR"), (("ours", "95 %", "26 dB"),)),),
    following=(("to draw", "python experiments/sample.py"),),
)


class Page(HTMLParser):
    """What a browser would find: references, text, and whether every tag is closed."""

    def __init__(self, text):
        super().__init__()
        self.references, self.text, self.open = [], "", []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.references += [value for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def fill(folder, report):
    for file, _ in report.files:
        (folder / file).write_text("x")
    for number, picture in enumerate(report.pictures):
        pixels = np.random.default_rng(number).integers(0, 256, (5, 7, 3), np.uint8)
        Image.fromarray(pixels).resize((70, 50), Image.Resampling.NEAREST).save(folder / picture.file)


def test_report_holds_every_statement_and_every_picture_and_needs_no_other_file(tmp_path):
    fill(tmp_path, REPORT)
    path = write_report(tmp_path, REPORT)
    assert path.name == REPORT_FILE
    found = Page(path.read_text())
    assert len(found.references) == 2
    for reference, picture in zip(found.references, REPORT.pictures, strict=True):
        head, data = reference.split(",")
        assert head in ("data:image/webp;base64", "data:image/png;base64")
        assert len(data) <= 4 / 3 * (tmp_path / picture.file).stat().st_size + 4
        with (
            Image.open(io.BytesIO(base64.b64decode(data))) as inside,
            Image.open(tmp_path / picture.file) as outside,
        ):
            np.testing.assert_array_equal(np.asarray(inside.convert("RGB")), np.asarray(outside))
    statements = [REPORT.title, REPORT.summary, REPORT.command, "Held out."]
    statements += [text for pair in REPORT.headlines + REPORT.facts + REPORT.files for text in pair]
    statements += [text for row in REPORT.tables[0].rows for text in row]
    statements += [REPORT.tables[0].caption, *REPORT.tables[0].head, *REPORT.following[0]]
    assert all(statement in found.text for statement in statements)
    assert found.open == []


def test_report_needs_no_network():
    text = page(REPORT, {picture.file: "data:," for picture in REPORT.pictures})
    assert not re.search(r"https?://|//|<script|<link|@import|url\(", text)


@given(st.text(max_size=40))
def test_any_text_is_shown_as_it_is_and_breaks_nothing(text):
    text = text.replace("\r", "").replace("\0", "")
    report = Report(text, text, ((text, text),), ((text, text),), text, (Picture("a.png", text, text),))
    found = Page(page(report, {"a.png": "data:,"}))
    assert found.open == [] and found.references == ["data:,"]
    assert found.text.count(text) >= 8


def test_a_report_about_missing_pictures_is_refused_and_names_them(tmp_path):
    fill(tmp_path, REPORT)
    (tmp_path / "curves.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"refers to curves\.png"):
        write_report(tmp_path, REPORT)
    assert not (tmp_path / REPORT_FILE).exists()
