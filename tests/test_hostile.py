"""Hostile texts through the notebooks: what a model or a file wrote is shown in every output and acts in none."""

import functools
import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
import pytest

from lead_kit.parameters import load_notebook
from lead_kit.report import export_run
from tests import browser, small
from tests.report.test_export_run import ACT, ATTACKS, loads

ROOT = Path(__file__).resolve().parents[1]
ARM = f'$\\frac$ <img src=x onerror="{ACT}">'
LONG = "x" * 1_000_000
DATA = [
    {"problem": f"{text} What is {n} plus {n}?", "answer": str(2 * n), "solution": f"{text} {n}", "id": f"{text}{n}"}
    for n, text in enumerate(ATTACKS * 3, 1)
]
SAMPLES = [
    {"id": text, "sample": 0, "level": 1, "gold": "2", "completion": completion, "answer": text, "length": 9,
     "truncated": False, "correct": right, "status": "correct" if right else "wrong", "reason": text,
     "benchmark": "b", "arm": ARM if right else "other", "seed": 0}
    for text in ATTACKS for completion, right in ((f"{text} $x$ $y$", True), (f"{text}{LONG}", False))
]  # fmt: skip
TINY = {"batch_size": 4, "group_size": 2, "steps": 1, "updates_per_batch": 1, "max_tokens": 8, "validate_every": 1}
RUNS = {
    "01_preprocess": {"dataset": "problems.jsonl", "validation_size": 4, "evaluation_sets": "leaked.jsonl"},
    "03_grpo": {"model": "tiny-bytes", "train_data": "problems.jsonl", "validation_data": "problems.jsonl", "arm": ARM}
    | TINY
    | {"preflight": "warn"},  # of problems that are in training, too
    "04_evaluate": {"models": "tiny-bytes", "data_path": "problems.jsonl", "n": 1, "max_tokens": 8},
    "05_figures": {"runs": "runs/03_grpo", "samples": "samples.jsonl"},
    "07_verifier_audit": {"answers": "answers.jsonl"},
    "08_rollouts": {"training_run": "runs/03_grpo", "compare_with": f"samples.jsonl@{ARM}"},
}


def written(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def infected(run):
    """The rollouts and validations of a run as a model would leave them that writes hostile texts."""
    for file in [*run.glob("rollouts/*.parquet"), *run.glob("validation/*.parquet")]:
        frame = pd.read_parquet(file)
        texts = [SAMPLES[place % len(SAMPLES)] for place in range(len(frame))]
        frame = frame.assign(**{name: [text[name] for text in texts] for name in ("completion", "answer", "reason")})
        keys = {"id": [text["id"] for text in texts], "sample": 0} if file.parent.name == "validation" else {}
        frame.assign(**keys).drop_duplicates([*keys] or None).to_parquet(file)


@pytest.fixture(scope="module")
def executed(tmp_path_factory, forks):
    """NAME → the run folder of that notebook on hostile data."""
    root = tmp_path_factory.mktemp("hostile")
    for name in ("notebooks", "experiments", "pyproject.toml"):
        (root / name).symlink_to(ROOT / name)
    written(root / "problems.jsonl", DATA)
    written(root / "samples.jsonl", SAMPLES)
    written(root / "leaked.jsonl", DATA[:2])
    written(root / "answers.jsonl", [{name: row[name] for name in ("id", "gold", "completion")} for row in SAMPLES])

    @functools.cache
    def run(name):
        if "runs/03_grpo" in RUNS[name].values():
            run("03_grpo")
        given = [word for pair in RUNS[name].items() for word in ("-p", *map(str, pair))]
        command = [sys.executable, "-m", "lead_kit.cli", "run", f"notebooks/{name}.ipynb", *given]
        environment = small.environment() | forks | {"LEAD_ROOT": str(root)}
        done = subprocess.run(command, cwd=root, env=environment, capture_output=True, timeout=400)
        assert done.returncode == 0, done.stderr[-3000:]
        assert b"\x1b" not in done.stdout and b"\0" not in done.stdout
        assert max(map(len, done.stdout.splitlines())) < 5000
        folder = root / "runs" / name
        infected(folder)
        return folder

    return run


@pytest.mark.slow
@pytest.mark.xdist_group("hostile")
@pytest.mark.parametrize("name", RUNS)
def test_hostile_texts_are_shown_and_do_not_act(name, executed, tmp_path):
    folder = executed(name)
    notebook = load_notebook(folder / "notebook.ipynb")
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    for output in outputs:
        texts = [output.get("text", "")] + [part for name, part in output.get("data", {}).items() if "text" in name]
        for text in map("".join, texts):
            assert "\x1b" not in text and "\0" not in text and len(text) < 300_000
        page = "".join(output.get("data", {}).get("text/html", ""))
        assert loads(page) == []
        assert "$" not in page or "mathjax_ignore" in page
    exported = export_run.document(folder)
    assert loads(exported) == [] and len(exported) < 3_000_000
    html = tmp_path / "page.html"
    html.write_text(exported, encoding="utf-8")
    assert "data-acted" not in opened(html)
    html.write_text(by_nbconvert(folder / "notebook.ipynb"), encoding="utf-8")
    assert "data-acted" not in opened(html)


def by_nbconvert(path):
    """The notebook as nbconvert's own page, in which scripts may run."""
    from nbconvert import HTMLExporter

    page, _ = HTMLExporter(embed_images=True).from_notebook_node(nbformat.read(path, 4))
    return page


def opened(page):
    return re.search(r"<html[^>]*>", browser.loaded(page, page.parent / "profile"))[0]


def test_no_cell_builds_html_or_styles_a_frame_by_itself():
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        source = "\n".join("".join(c["source"]) for c in load_notebook(path)["cells"] if c["cell_type"] == "code")
        found = re.findall(r"\bHTML\(|\.style\b|\.to_html\(|\.to_string\(|Markdown\((?!tables\.markdown)", source)
        assert not found, f"{path.name}: {found}; report.show and safe_text.py show texts"
