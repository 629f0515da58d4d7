"""`lead check` starts a training notebook so that it only checks, and its code says whether something says stop."""

import json

import pytest

from tests.small import FINISH, SETTLE, call, write_notebook

pytestmark = pytest.mark.slow  # each starts `lead` and a kernel

PARAMETERS = """\
run_name: str = "small"  # folder under runs/
steps: int = 3  # how many
preflight: str = "refuse"  # as in 03_grpo
stops: int = 0  # items that say stop
"""
CHECK = """\
from lead_kit.train.preflight import Item, require
require([Item("answer", "stop", "nothing reads it")] * stops, preflight)
if preflight == "only":
    from lead_kit.train.preflight import conclude
    conclude([Item("context", "ok", "fits")] + [Item("answer", "stop", "nothing reads it")] * stops, run)"""


@pytest.fixture
def root(tmp_path):
    write_notebook(tmp_path / "notebooks/train.ipynb", SETTLE, CHECK, FINISH, parameters=PARAMETERS)
    return tmp_path


def test_a_check_has_its_own_folder_trains_nothing_and_tells_every_item(root):
    code, out, err = call(root, "check", "train", "-p", "steps", "5")
    assert code == 0, err
    assert "ok    context fits" in out
    kept = json.loads((root / "runs/small-check/run.json").read_text())
    assert (kept["status"], kept["summary"]) == ("done", {"ok": 1, "look": 0, "stop": 0})
    assert kept["check"] == [{"name": "context", "verdict": "ok", "sentence": "fits"}]
    assert not (root / "runs/small").exists() and not (root / "runs/small-check/result.txt").exists()
    code, out, _ = call(root, "check", "train", "--run-name", "small", "-p", "stops", "1")
    assert code == 1 and "stop  answer  nothing reads it" in out


def test_a_run_is_refused_and_anyway_runs_it_under_the_same_name(root):
    code, _, err = call(root, "run", "train", "-p", "stops", "1")
    assert code == 2
    assert err == "lead: preflight check 'answer' failed: nothing reads it; --anyway runs it\n"
    code, _, err = call(root, "run", "train", "-p", "stops", "1", "--anyway")
    assert code == 0, err
    assert json.loads((root / "runs/small/run.json").read_text())["parameters"]["preflight"] == "warn"


def test_a_notebook_without_checks_is_refused(root):
    write_notebook(root / "notebooks/other.ipynb", SETTLE)
    code, out, err = call(root, "check", "other")
    assert (code, out) == (2, "") and "other has no parameter 'preflight'" in err
    code, _, err = call(root, "run", "other", "--anyway")
    assert code == 2 and "has no parameter 'preflight'" in err
