"""A run from outside: its state, its curve in letters, its last rollouts; a live run leaves its log."""

import fcntl
import json

import pandas as pd
import pytest

from lead_kit.errors import InputError
from lead_kit.parameters import Config
from lead_kit.report import read_rollouts, show_run
from lead_kit.runs import files, find, lock, manifest, progress, run
from lead_kit.runs.run import Run
from tests.small import use_root


@pytest.fixture
def root(tmp_path, monkeypatch):
    use_root(monkeypatch, tmp_path, files, find, manifest, run, show_run)
    for name in ("RANK", "WORLD_SIZE", "LEAD_OWNER", "LEAD_NPROC", "JPY_SESSION_NAME"):
        monkeypatch.delenv(name, raising=False)
    yield tmp_path
    for path in tmp_path.rglob("lock"):
        lock.release(path.parent)


HOSTILE = "<img src=x onerror=alert(1)> \x1b[31m"


def batch(step):
    rows = [(1.0, 5, "short"), (1.0, 9, "long"), (-1.0, 7, HOSTILE)]
    columns = {"status": "correct", "gold": "4", "problem": "2 + 2", "advantage": 0.5, "step": step}
    return pd.DataFrame([{"reward": r, "length": n, "completion": text} | columns for r, n, text in rows])


def test_the_best_the_worst_and_a_random_rollout_are_shown_and_not_acted_on():
    page = read_rollouts.best_worst_random(batch(20))
    assert page.text.index("best: correct, reward 1") < page.text.index("short") < page.text.index("worst:")
    assert "<img" not in page.html and "&lt;img" in page.html and "\x1b" not in page.html + page.text


def test_a_curve_in_letters_has_its_extremes_its_steps_and_its_last_value():
    frame = pd.DataFrame({"split": "validation", "step": [0, 10, 20], "pass@1": [0.1, 0.5, 0.3]})
    rows = show_run._text_curve(frame, "validation", "pass@1").split("\n")
    assert rows[0] == "validation pass@1" and rows[1].startswith("     0.5 │") and rows[8].startswith("     0.1 │●")
    assert rows[1].count("●") == 1 and rows[-1].strip() == "step 0 to 20, the last value 0.3"
    assert "the last value 0.1" in show_run._text_curve(frame.head(1), "validation", "pass@1")
    assert show_run._text_curve(frame, "train", "loss") == ""


def test_a_run_is_shown_while_it_goes_on_and_when_it_is_done(root, capsys):
    one = Run(Config({"run_name": "mine", "arm": "lead", "seed": 0}, {}), "03_grpo", steps=2)
    assert show_run.describe_run(one.path)[0].startswith("runs/mine is running, process ")
    one.log(0, "validation", **{"pass@1": 0.25})
    one.save_table("rollouts/step_000001.parquet", batch(1))
    one.log(2, "validation", **{"pass@1": 0.75})
    one.reached = (2, 2)
    one.finish(best=0.75)
    show_run.show_command("mine")
    said = capsys.readouterr().out
    assert said.startswith("runs/mine is done (attempt 1)") and "best 0.75" in said
    assert "step 0 to 2, the last value 0.75" in said and "Rollouts of step 1" in said
    with pytest.raises(InputError, match=r"no run 'mien' \(did you mean 'mine'\?\)"):
        show_run.show_command("mien")


def test_a_run_of_lead_run_is_open_until_that_closes_it_and_tells_its_tripwires(root, monkeypatch):
    folder = root / "runs/mine"
    folder.mkdir(parents=True)
    with (folder / "lock").open("w") as owner:  # `lead run` holds the lock for its kernel
        fcntl.flock(owner, fcntl.LOCK_EX)
        print("lead run", end="", file=owner, flush=True)
        monkeypatch.setenv("LEAD_OWNER", "lead run")
        config = Config({"run_name": "mine", "arm": "lead", "seed": 0}, {})
        manifest.open_attempt(folder, config, {}, root / "notebooks/03_grpo.ipynb")
        one = Run(config, "03_grpo")
        one.record_tripwire(2, "truncated", "all were cut off")
        told = show_run.describe_run(folder)
        assert told[0].startswith("runs/mine is running, process ")
        assert "tripwire truncated, step 2: all were cut off" in told
        one.finish()
        assert show_run.describe_run(folder)[0] == "runs/mine is finished (attempt 1)"
    assert show_run.describe_run(folder)[0] == "runs/mine is abandoned (attempt 1)"


def test_a_view_that_fails_is_off_and_the_run_goes_on(monkeypatch):
    monkeypatch.setenv("JPY_SESSION_NAME", "live.ipynb")
    monkeypatch.delenv("LEAD_OWNER", raising=False)
    shown = []
    monkeypatch.setattr(show_run, "display", lambda what, **options: shown.append(what))

    def draw():
        raise ValueError("no such column")

    view = show_run.View(draw)
    with pytest.warns(UserWarning, match="the view is off from here on, the run goes on: no such column"):
        view("step 1/2", False, {})
    view("step 2/2", True, {})
    assert [repr(what) for what in shown] == ["step 1/2"]


def test_only_a_live_notebook_is_drawn_in(root, capsys):
    drawn = []
    one = Run(Config({"run_name": "headless"}, {}), "03_grpo")
    one.add_view(show_run.View(lambda: drawn.append(1)))
    one.progress(1, 2)
    one.progress(2, 2)
    assert not drawn and capsys.readouterr().out.splitlines()[-1].startswith("step 2/2")


def test_a_live_run_keeps_its_lines_in_its_log(root, monkeypatch):
    monkeypatch.setattr(progress, "in_live_notebook", lambda: True)
    drawn = []
    one = Run(Config({"run_name": "seen"}, {}), "03_grpo")
    one.add_view(lambda line, last, values: drawn.append((last, values)))
    one.progress(1, 2, reward=0.5)
    one.progress(2, 2, **{"pass@1": 0.5})
    assert (one.path / "log.txt").read_text().splitlines()[0] == "step 1/2  reward 0.5"
    assert drawn == [(False, {"reward": 0.5}), (True, {"pass@1": 0.5})]
    assert json.loads((one.path / "run.json").read_text())["status"] == "running"
