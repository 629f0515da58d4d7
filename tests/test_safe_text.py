"""Untrusted text is shown and never acts: control characters, long texts, HTML, Markdown, mathematics."""

import html
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lead_kit.report import tables, training_figures
from lead_kit.safe_text import LONG, as_html, as_markdown, safe_label, safe_line, safe_text

ATTACK = "<img src=x onerror=alert(1)>"


def test_control_characters_become_signs():
    assert safe_text("a\x1b[31mred\r\x00\x85\u202e\ud800") == (
        "a⟨U+001B⟩[31mred⟨U+000D⟩⟨U+0000⟩⟨U+0085⟩⟨U+202E⟩⟨U+D800⟩"
    )
    assert safe_text("x²\tπ\n中文") == "x²\tπ\n中文"


def test_a_long_text_keeps_its_head_and_tail():
    shown = safe_text("a" * 500_000 + "b" * 500_000)
    assert shown.startswith("aaa") and shown.endswith("bbb") and "998,000 characters left out" in shown
    assert len(shown) < LONG + 50


def test_a_line_is_one_line():
    assert safe_line("a\nb\r\nc") == "a⏎b⟨U+000D⟩⏎c"


@given(st.text())
def test_nothing_shown_can_move_a_cursor_or_break_a_line(text):
    assert safe_line(text, 10**6).replace("\t", "").isprintable() or any(c.isspace() for c in text)
    assert not set(safe_line(text)) & {chr(code) for code in [*range(9), *range(10, 32), *range(127, 160)]}


def test_html_is_escaped_and_outside_mathematics():
    shown = as_html(f"{ATTACK} $x$")
    assert "<img" not in shown and "$x$" in html.unescape(shown) and shown.startswith("<code ")


@pytest.mark.parametrize("text", [ATTACK, "$x$", "*b*", "[a](javascript:x)", "`c`", "&lt;", r"\(x\)", "# h"])
def test_markdown_quotes_what_could_act(text):
    import mistune

    page = mistune.create_markdown(escape=False, plugins=["table", "math"])(as_markdown(text))
    assert page.strip() == f"<p><code>{html.escape(text)}</code></p>", page


def test_markdown_leaves_ordinary_cells_alone():
    for text in ("0.512 [0.401, 0.623]", "<0.001", "length_reweighting", "Pass@1", "higher, for these runs"):
        assert as_markdown(text) == text


def test_a_markdown_table_keeps_hostile_cells_in_their_cells():
    text = tables.markdown(pd.DataFrame({"arm": [ATTACK, "a|b\nc"], "$x$": [1, 2]}))
    assert len(text.splitlines()) == 4
    assert f"`{ATTACK}`" in text and "a\\|b⏎c" in text and "`$x$`" in text


def test_a_shown_table_escapes_names_and_cells():
    frame = pd.DataFrame(
        {ATTACK: [ATTACK, "\x1b[31m"], "n": [0.5, 2e-5], "m": [1, np.nan]}, index=pd.Index([ATTACK, 1], name=ATTACK)
    )
    page, text = tables.table(frame)._repr_html_(), repr(tables.table(frame))
    assert "<img" not in page and page.count("&lt;img") == 4 and "mathjax_ignore" in page
    assert all(number in text for number in ("0.500", "2e-05", "–")) and "\x1b" not in page + text


def test_a_table_of_two_hundred_rows_is_shown_whole():
    page = tables.table(pd.DataFrame({"n": range(200)}))
    assert page.html.count("<tr") == 201 and len(page.text.splitlines()) == 201


@pytest.mark.parametrize("arm", [r"$\frac$", "_hidden", "\x1b[31mred\n", "x" * 100_000, "$x$"])
def test_an_arm_may_have_any_name_in_a_figure(arm):
    points = pd.DataFrame({"run": "r", "arm": arm, "seed": 0, "step": [0, 1], "split": "validation", "pass@1": [0, 1]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = training_figures.trend(points)
        assert figure._repr_png_()
    legend = figure.legends[0].get_texts()[0].get_text()
    assert legend.split() and "".join(legend.split()) == "".join(safe_label(arm).split())
