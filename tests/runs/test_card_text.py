"""The text of somebody else in a model card is text: nothing of it is HTML, a link, or the end of a block."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laminate.runs.model_card import Card, card_text
from tests.experiments.jobs import TINY

EVIL = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[click](javascript:alert(1))",
    "![x](http://elsewhere/x.png)",
    "a | b\n# heading\n---\nlicense: mit",
    "&lt;b&gt;",
)


@pytest.mark.parametrize("text", EVIL)
@pytest.mark.parametrize("field", ["title", "licence", "data", "data_licence", "command", "metric"])
def test_what_a_card_is_told_is_shown_as_it_is(text, field):
    card = Card(metrics={text: 0.5}) if field == "metric" else Card(**{field: text})
    written, plain = card_text(TINY, card), card_text(TINY, Card(metrics={"m": 0.5}))
    if field != "command":
        assert re.findall(r"<\w+", written) == re.findall(r"<\w+", plain)
        assert not re.search(r"(?<!\\)\[[^\]\\]*\]\(", written.replace("from_pretrained", ""))
    assert [line for line in written.splitlines() if line.startswith("# ")][0:1] and written.count(
        "\n---\n"
    ) == 1


@given(st.text(alphabet="`a \n", max_size=12))
def test_a_command_stays_in_its_block(command):
    written = card_text(TINY, Card(command=f"python x {command}"))
    fence = re.search(r"^(`{3,})sh\npython x(.*)\n\1$", written, re.MULTILINE)
    assert fence is not None and "`" * len(fence[1]) not in fence[2]
