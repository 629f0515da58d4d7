"""Which runs of a recipe are finished: a matter of recorded hashes, wherever `runs/` lies and whatever its times."""

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.small import SETTLE, call, write_notebook

pytestmark = [pytest.mark.slow, pytest.mark.fault]
KIT = Path(__file__).resolve().parents[2]
MAKE = """\
run_name: str = "make"  # folder
source: str = "data.txt"  # input
"""
USE = """\
run_name: str = "use"  # folder
of: str = ""  # a run
"""
RECIPE = """\
stages:
  first: {notebook: make, parameters: {source: data.txt}}
  second: {notebook: use, parameters: {of: "{first}"}}
"""
COPY = "text = run.input(source).read_text()\nrun.save_text('made.txt', text.upper())\nrun.finish(text=text)"
READ = "run.finish(text=run.input(f'{of}/made.txt').read_text())"


@pytest.fixture(scope="module")
def finished(tmp_path_factory, forks):
    """A repository with a recipe of two stages, the second reading what the first writes, both finished."""
    root = tmp_path_factory.mktemp("finished")
    write_notebook(root / "notebooks/make.ipynb", SETTLE, COPY, parameters=MAKE)
    write_notebook(root / "notebooks/use.ipynb", SETTLE, READ, parameters=USE)
    (root / "data.txt").write_text("a")
    for kind, name, text in (("recipes", "two", RECIPE), ("scales", "tiny", "{jobs: 1}")):
        (root / "experiments" / kind).mkdir(parents=True)
        (root / "experiments" / kind / f"{name}.yaml").write_text(text)
    (root / "experiments/Snakefile").symlink_to(KIT / "experiments/Snakefile")
    code, out, err = call(root, "reproduce", "two", **forks)
    assert code == 0, out + err
    return root


@pytest.fixture
def root(tmp_path, finished):
    """A copy of it of the test's own."""
    return shutil.copytree(finished, tmp_path / "first", symlinks=True)


def attempts(root):
    kept = [json.loads((root / f"runs/two/tiny/{stage}/run.json").read_text()) for stage in ("first", "second")]
    return [len(manifest["attempts"]) for manifest in kept]


def text(root):
    return json.loads((root / "runs/two/tiny/second/run.json").read_text())["summary"]["text"]


def test_a_copy_with_new_times_in_another_place_is_still_finished(root):
    other = root.with_name("other")
    shutil.copytree(root, other, symlinks=True)
    first = other / "runs/two/tiny/first"
    for path in [*first.rglob("*"), other / "data.txt"]:
        os.utime(path, (4e9, 4e9))  # newer than all that was made from it
    shutil.rmtree(other / "runs/two/tiny/.snakemake")
    code, out, err = call(other, "reproduce", "two")
    assert code == 0, err
    assert "2 runs in runs/two/tiny, 2 finished" in out and attempts(other) == [1, 1]


def test_another_input_repeats_the_run_and_those_that_need_it(root):
    (root / "data.txt").write_text("b")
    code, out, err = call(root, "reproduce", "two")
    assert code == 0, err
    assert "runs/two/tiny/first is repeated: data.txt changed" in out
    assert "runs/two/tiny/second is repeated: it needs runs/two/tiny/first" in out
    assert attempts(root) == [2, 2] and text(root) == "B"
    assert (root / "runs/two/tiny/first/attempts/1/made.txt").read_text() == "A"


def test_a_damaged_output_repeats_its_run_and_those_that_need_it(root):
    (root / "runs/two/tiny/first/made.txt").write_text("")
    code, out, err = call(root, "reproduce", "two")
    assert code == 0, err
    assert "runs/two/tiny/first is repeated: runs/two/tiny/first/made.txt changed" in out
    assert attempts(root) == [2, 2] and text(root) == "A"


def test_an_output_that_was_deleted_to_save_space_repeats_nothing(root):
    (root / "runs/two/tiny/first/made.txt").unlink()
    assert call(root, "reproduce", "two")[0] == 0 and attempts(root) == [1, 1]


def test_two_runs_of_one_name_are_refused_before_anything_runs(root):
    recipe = "arms: {b-c: {}, c: {}}\nstages:\n"
    for stage, arm in (("a", "b-c"), ("a-b", "c")):
        recipe += f"  {stage}: {{notebook: make, per: [arm], arms: [{arm}]}}\n"
    (root / "experiments/recipes/same.yaml").write_text(recipe)
    code, _, err = call(root, "reproduce", "same")
    assert code == 2 and "two runs would have the name 'same/tiny/a-b-c'" in err
    code, _, err = call(root, "reproduce", "same", "--arms", "c,c")
    assert code == 2 and err == "lead: --arms 'c,c' names 'c' twice\n"
    assert not (root / "runs/same").exists()


def test_an_edited_notebook_is_told_when_a_run_continues(root):
    write_notebook(root / "notebooks/cut.ipynb", SETTLE, "run.log(1, 'train', x=1)\n1 / 0", parameters=MAKE)
    assert call(root, "run", "cut", "--run-name", "cut")[0] == 1
    write_notebook(root / "notebooks/cut.ipynb", SETTLE, "run.log(1, 'train', x=1)", "run.finish()", parameters=MAKE)
    code, out, err = call(root, "run", "cut", "--run-name", "cut")
    assert code == 0, err
    assert "changed since attempt 1: the notebook's code" in out


def test_a_job_has_the_threads_of_its_scale(root):
    (root / "experiments/scales/tiny.yaml").write_text("{jobs: 2, threads: 3}")
    told = "run.input(f'{of}/made.txt')\nrun.finish(text=os.environ['OMP_NUM_THREADS'])"
    write_notebook(root / "notebooks/use.ipynb", SETTLE, told, parameters=USE)
    shutil.rmtree(root / "runs/two/tiny/second")
    assert call(root, "reproduce", "two")[0] == 0 and text(root) == "3"
