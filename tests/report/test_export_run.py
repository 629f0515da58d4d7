"""`lead export`: one HTML with the run's card, that loads nothing, runs nothing and shows formulas."""

import base64
import json
import re
from html.parser import HTMLParser

import pandas as pd
import pytest

from lead_kit import cli
from lead_kit.errors import InputError
from lead_kit.report import export_run
from tests import browser

ACT = "document.documentElement.setAttribute('data-acted','1')"
ATTACKS = [
    f'<script>{ACT}</script><img src=x onerror="{ACT}"><svg onload="{ACT}"></svg>',
    f"<a href=\"javascript:{ACT}\">x</a><iframe srcdoc='<script>parent.{ACT}</script>'></iframe>",
    '<img src="http://127.0.0.1:9/x.png"><link rel=stylesheet href="https://127.0.0.1:9/x.css">',
    "<div style=\"background: url('http://127.0.0.1:9/y.png')\">![x](http://127.0.0.1:9/z.png)</div>",
    "\x1b[31mred\x1b[0m\x00 $\\frac{1}{2}$ </pre></code></td>",
]
PIXEL = base64.b64encode(b"\x89PNG\r\n").decode()
LOADS = ("src", "srcset", "data", "poster", "action", "background", "srcdoc")


class Loads(HTMLParser):
    """Collects what a page would load or run."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        self.found += [(tag, name, value) for name, value in attributes if name in LOADS and value[:5] != "data:"]
        self.found += [(tag, name, value) for name, value in attributes if name.startswith("on")]
        self.found += [(tag, "", "")] if tag in ("script", "link", "iframe", "object", "embed", "base", "form") else []
        self.found += [(tag, "style", v) for name, v in attributes if name == "style" and "url(" in v]


def loads(page: str) -> list:
    parser = Loads()
    parser.feed(page)
    return parser.found


def cell(source, kind="code", outputs=()):
    return {"cell_type": kind, "source": source, "metadata": {}} | ({"outputs": [*outputs]} if kind == "code" else {})


def shown(**data):
    return {"output_type": "display_data", "data": data, "metadata": {}}


@pytest.fixture
def run(tmp_path):
    """A run folder whose notebook has every kind of output, each with every attack."""
    outputs = []
    for text in ATTACKS:
        outputs += [shown(**{"text/html": text}), shown(**{"text/markdown": text}), shown(**{"text/plain": text})]
        outputs += [{"output_type": "stream", "name": "stdout", "text": f"10%\r{text}\n"}]
        outputs += [{"output_type": "error", "ename": "E", "evalue": text, "traceback": [text]}]
    outputs += [shown(**{"image/png": PIXEL}), shown(**{"image/svg+xml": f'<svg onload="{ACT}"/>'})]
    outputs += [shown(**{export_run._WIDGET: {}, "text/plain": "VBox()"})]
    outputs += [{"output_type": "stream", "name": "stdout", "text": "x" * 1_000_000}]
    cells = [
        cell(r"# T" "\n" r"$R_i = e^{-\alpha z_i}$ and $$\frac{a}{b}$$", "markdown"),
        cell("1 < 2", outputs=outputs),
    ]
    cells += [cell(text, "markdown") for text in ATTACKS] + [cell(text) for text in ATTACKS]
    (tmp_path / "notebook.ipynb").write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4}))
    attempt = {
        "status": "done",
        "code": "ab" * 32,
        "git": {"commit": "c0ffee", "dirty": True},
        "packages": {"trl": "1"},
    }
    parameters = {"arm": ATTACKS[0], "seed": 3}
    about = {"run": "r", "notebook": "notebooks/n.ipynb", "status": "done", "parameters": parameters}
    about |= {"attempts": [attempt], "given": {"arm": ATTACKS[0]}, "summary": {"rho": 0.5}}
    about |= {"inputs": {ATTACKS[1]: {"sha256": "12" * 32, "bytes": 7}}}
    (tmp_path / "run.json").write_text(json.dumps(about))
    return tmp_path


def test_nothing_is_loaded_and_nothing_runs(run):
    page = export_run.document(run)
    assert loads(page) == []
    assert "\x1b" not in page and "\x00" not in page and len(page) < 200_000
    assert f'content="{export_run._POLICY}"' in page and "default-src 'none'" in export_run._POLICY


def test_a_browser_finds_it_inert(run, tmp_path):
    page = tmp_path / "page.html"
    page.write_text(export_run.document(run), encoding="utf-8")
    assert "data-acted" not in re.search(r"<html[^>]*>", browser.loaded(page, tmp_path / "profile"))[0]
    page.write_text(f"<html><body>{ATTACKS[0]}</body></html>")  # the attack itself works
    assert "data-acted" in re.search(r"<html[^>]*>", browser.loaded(page, tmp_path / "profile2"))[0]


def test_formulas_are_mathml_and_figures_are_inside(run):
    page = export_run.document(run)
    assert "<mfrac>" in page and "α" in page or "&#x003B1;" in page
    assert f"data:image/png;base64,{PIXEL}" in page and "data:image/svg+xml;base64," in page
    assert "VBox" not in page
    assert export_run._formula(r"\nosuch{", "inline") == r"<code>\nosuch{</code>"


def test_a_picture_that_a_cell_holds_is_shown_and_one_from_elsewhere_is_not():
    attached = cell("![a](attachment:p.png) ![b](http://127.0.0.1:9/q.png)", "markdown")
    page = export_run._cell_html(attached | {"attachments": {"p.png": {"image/png": PIXEL}}})
    assert f'<img alt="a" src="data:image/png;base64,{PIXEL}">' in page
    assert page.count("<img") == 1 and "127" not in page


def test_the_last_state_of_a_redrawn_line_is_shown():
    assert export_run._printed("a\rb\nc\r\n") == '<pre class="">b\nc\n</pre>'


def test_the_card_says_what_was_run_by_which_code_on_which_data(run):
    about = export_run.summary_card(run)
    assert list(about) == ["What was run", "By which code", "On which data", "Result"]
    assert "c0ffee with changes that are not committed" in about["By which code"]
    assert "abababababababab" in about["By which code"] and "1212121212121212" in about["On which data"]
    assert "rho" in about["Result"] and "no interval" in about["Result"]


def test_a_training_run_has_its_validations_with_interval_and_difference(run):
    (run / "validation").mkdir()
    for step, right in ((0, [0, 0, 1, 0]), (10, [1, 0, 1, 1])):
        rows = {"id": list("abcd"), "sample": 0, "correct": list(map(bool, right)), "length": 5, "truncated": False}
        frame = pd.DataFrame(rows | {"answer": "1", "level": 1})
        frame.to_parquet(run / "validation" / f"step_{step:06d}.parquet")
    told = export_run.summary_card(run)["Result"]
    assert "before training" in told and "0.250 [" in told and "0.750 [" in told
    assert "step 10 − before training" in told and "+0.500 [" in told


def test_a_folder_without_a_run_or_notebook_is_refused(run, tmp_path, capsys):
    (run / "notebook.ipynb").write_text("[]")
    with pytest.raises(InputError, match="is not a notebook"):
        export_run.document(run)
    (run / "notebook.ipynb").unlink()
    with pytest.raises(InputError, match="no executed notebook"):
        export_run.document(run)
    assert cli.main(["export", "no/such/run"]) == 2
    assert "no run 'no/such/run'" in capsys.readouterr().err
