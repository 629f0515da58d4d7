"""Your own functions: from a cell or a file, kept with the run, and the same when the run is continued."""

import linecache

import pytest

from lead_kit.errors import InputError
from lead_kit.method import estimators
from lead_kit.method.rewards import Rollout, bind_rewards
from lead_kit.parameters import settle
from lead_kit.runs import files, manifest, user_code
from lead_kit.runs.checkpoints import mark_complete
from lead_kit.runs.run import Run
from lead_kit.verify.verdict import Verdict
from tests.runs.test_run import root, settled  # noqa: F401

CELL = """\
import re as regex
LIMIT = 20
rewards, reward_weights = ["correct", "brief"], [1.0, 0.1]
print("trained")

def words(text):
    return regex.findall("[a-z]+", text)

def unused():
    return torch.zeros(1)

def brief(rollout, *, limit: int = LIMIT):
    \"\"\"1 for few words.\"\"\"
    return float(len(words(rollout.completion)) <= limit)
"""


class Noted:
    """What a run keeps of own functions."""

    def __init__(self):
        self.kept, self.files = {}, []

    def input(self, path):
        self.files.append(path)
        return path

    def keep_source(self, name, source, origin):
        self.kept[name] = source


def executed(source, name="cell-1"):
    """The namespace after a cell, as a kernel leaves it."""
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    namespace = {"__name__": "__main__"}
    exec(compile(source, name, "exec"), namespace)
    return namespace


def rollout(text):
    return Rollout("p", text, "1", 5, False, Verdict("correct", "1", "", "same"))


def test_a_function_of_a_cell_is_kept_with_what_it_needs_and_nothing_else(capsys):
    run = Noted()
    mine = user_code.user_functions(["correct", "brief(limit=1)", ""], run, executed(CELL))
    source = run.kept["brief"]
    assert "def words" in source and "LIMIT = 20" in source and "import re as regex" in source
    assert "print" not in source and "unused" not in source and "reward_weights" not in source
    assert capsys.readouterr().out == "trained\n"  # once, by the cell itself
    [_, bound] = bind_rewards(["correct", "brief(limit=1)"], mine).values()
    assert bound(rollout("one")) == 1.0 and bound(rollout("one two")) == 0.0


def test_the_kept_source_runs_from_a_file(tmp_path, monkeypatch):
    for module in (user_code, files):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    run = Noted()
    user_code.user_functions(["brief"], run, executed(CELL))
    (tmp_path / "kept.py").write_text(run.kept["brief"])
    again = Noted()
    mine = user_code.user_functions(["kept.py:brief"], again)
    assert mine["kept.py:brief"](rollout("one")) == 1.0
    assert again.kept == run.kept and again.files == [tmp_path / "kept.py"]


def test_what_the_cell_lacks_is_named():
    with pytest.raises(InputError, match="the cell of 'unused' does not define 'torch'"):
        user_code.user_functions(["unused"], Noted(), executed(CELL))
    with pytest.raises(InputError, match="no function that a cell defines"):
        user_code.user_functions(["short"], Noted(), executed("short = lambda rollout: 1.0"))


def test_names_of_the_kit_stay_the_kits():
    mine = user_code.user_functions(["correct"], Noted(), executed("def correct(rollout):\n    return 1.0\n"))
    with pytest.raises(InputError, match="'correct' is a name of the kit"):
        bind_rewards(["correct"], mine)
    with pytest.raises(InputError, match="'lead' is a name of the kit"):
        estimators.bind_estimator({"estimator": "lead"}, {"lead": print})


def test_imported_functions_are_not_your_own():
    assert user_code.user_functions(["findall"], Noted(), executed("from re import findall\n")) == {}


def test_a_run_that_is_continued_has_the_same_source(root):  # noqa: F811
    run = Run(settled(), "03_grpo")
    run.keep_source("brief", "one")
    run.keep_source("brief", "two", "mine.py")  # nothing is trained yet
    assert (run.path / "own" / "brief.py").read_text() == "two"
    kept = run.manifest["own"]["brief"]
    assert kept["file"] == "runs/a/s0/own/brief.py" and kept["sha256"].startswith("3fc4ccfe")  # of "two"
    checkpoint = run.path / "checkpoints" / "checkpoint-1"
    checkpoint.mkdir(parents=True)
    (checkpoint / "state.txt").write_text("1")
    mark_complete(checkpoint)
    run.keep_source("brief", "two")
    with pytest.raises(InputError, match="begun with another source of 'brief'"):
        run.keep_source("brief", "three")


def test_a_run_name_that_a_cell_sets_under_lead_run_is_refused(root, monkeypatch):  # noqa: F811
    monkeypatch.setenv("LEAD_RUN", f"{root / 'runs' / 'other'} host 0")
    with pytest.raises(InputError, match="`lead run` opened runs/other, but a cell sets run_name to 'a/s0'"):
        Run(settled(), "03_grpo")
    monkeypatch.setenv("LEAD_RUN", f"{root / 'runs' / 'a' / 's0'} host 0")
    assert Run(settled(), "03_grpo").manifest["status"] == "running"


def test_a_finished_run_is_not_the_same_once_its_source_changed(root):  # noqa: F811
    (root / "mine.py").write_text("two")
    run = Run(settled(), "03_grpo")
    run.keep_source("brief", "two", "mine.py")
    run.keep_source("long", "two", "gone.py")
    assert manifest.changed_user_code(run.manifest) == []
    (root / "mine.py").write_text("three")
    assert manifest.changed_user_code(run.manifest) == ["the source of 'brief' in mine.py"]


def test_a_name_that_is_almost_a_parameter_is_refused():
    cell = 'run_name: str = "r"  # folder\nrewards: list[str] = ["correct"]  # scores\n'
    namespace = {"In": ["", cell, 'rewards = ["brief"]', "config = settle(globals())"]}
    namespace |= {"run_name": "r", "rewards": ["brief"]}
    assert settle(dict(namespace))["rewards"] == ["brief"]
    namespace["In"][2] = 'reward = ["brief"]'
    with pytest.raises(InputError, match="a cell assigns 'reward', which is no parameter .did you mean 'rewards'"):
        settle(dict(namespace))
    namespace["In"][2:] = ["config = settle(globals())", 'reward = ["brief"]']  # later cells may use any name
    assert settle(dict(namespace))
