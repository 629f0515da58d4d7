"""Recipes and scales: what they make together, what does not fit, and a small one run to its end."""

import json
import shutil
import signal
from pathlib import Path

import psutil
import pytest

from lead_kit import cli
from lead_kit.errors import InputError
from lead_kit.launch import commands, estimates, recipe_model, recipes
from tests.small import FINISH, SETTLE, WORK, call, lead, until_logged, write_notebook

KIT = Path(__file__).resolve().parents[2]
RECIPE = """\
title: a small recipe
lengths: [max_tokens, margin]
arms:
  plain: {label: Plain}
  long:
    train: {alpha: 0.5, max_tokens: 8192} # paper §1
  extra: {optional: true}
stages:
  data:
    notebook: prepare
  train:
    notebook: train
    per: [arm, seed]
    parameters:
      source: "{data}/result.txt" # made here
      max_tokens: 4096 # paper §2
      margin: 1024
  judge:
    notebook: judge
    parameters:
      models: ["{data}", "{train}/model"]
scales:
  small:
    judge: {note: hello}
"""
SCALE = """\
title: small
seeds: [0, 1]
lengths: {longest: 64}
parameters:
  train: {steps: 2}
"""
NAME = 'run_name: str = "x"\n'
TRAIN = NAME + 'source: str = ""\nseed: int = 9\narm: str = ""\nalpha: float = 0.1\nsteps: int = 3\nfail: str = ""\n'
TRAIN += "max_tokens: int = 10\nmargin: int = 3\n"
JUDGE = NAME + 'models: list[str] = []\nnote: str = ""\nsteps: int = 1\nfail: str = ""\n'


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A repository with three small notebooks, a recipe and a scale, in a folder whose name means something to YAML,
    papermill, Snakemake and the shell."""
    root = tmp_path / "it's a: b #c {y} $d"
    write_notebook(root / "notebooks/prepare.ipynb", SETTLE, "steps = 1", FINISH, parameters=NAME)
    train = [SETTLE, "assert run.input(source).read_text() == '1'", WORK, "time.sleep(1)", FINISH]
    write_notebook(root / "notebooks/train.ipynb", *train, parameters=TRAIN)
    table = "run.save_text('table.md', '| arms |\\n| ' + str(len(models)) + ' |')"
    write_notebook(root / "notebooks/judge.ipynb", SETTLE, table, FINISH, parameters=JUDGE)
    for kind, text in (("recipes", RECIPE), ("scales", SCALE)):
        (root / "experiments" / kind).mkdir(parents=True)
        (root / "experiments" / kind / "small.yaml").write_text(text)
    shutil.copy(KIT / "experiments/Snakefile", root / "experiments")
    for module in (recipes, commands):
        monkeypatch.setattr(module, "ROOT", root)
    monkeypatch.setattr(recipe_model, "EXPERIMENTS", root / "experiments")
    return root


def change(root, old, new, kind="recipes"):
    path = root / f"experiments/{kind}/small.yaml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_jobs_are_stage_times_arm_times_seed_with_their_folders_filled_in(root):
    jobs = {job.name.removeprefix("small/small/"): job for job in recipes.plan("small", "small")}
    assert list(jobs) == ["data", "train-plain-s0", "train-long-s0", "train-plain-s1", "train-long-s1", "judge"]
    train = jobs["train-long-s1"]
    # the longest max_tokens, 8192, becomes 64: everything shrinks by 1/128
    assert train.parameters == {
        "run_name": "small/small/train-long-s1",
        "seed": 1,
        "arm": "long",
        "source": "runs/small/small/data/result.txt",
        "max_tokens": 64,
        "margin": 8,
        "alpha": 0.5,
        "steps": 2,
    }
    assert jobs["train-plain-s0"].parameters["max_tokens"] == 32
    assert train.needs == ["small/small/data"] and jobs["judge"].parameters["note"] == "hello"
    names = [name.removeprefix("runs/small/small/") for name in jobs["judge"].parameters["models"]]
    assert names[0] == "data" and names[1:] == [f"{n}/model" for n in jobs if n.startswith("train")]


def test_seeds_and_arms_can_be_chosen_and_an_optional_arm_must_be_named(root):
    jobs = recipes.plan("small", "small", seeds=[5], arms=["extra"])
    assert [job.name for job in jobs if job.stage == "train"] == ["small/small/train-extra-s5"]


@pytest.mark.parametrize(
    "old, new, told",
    [
        ("alpha: 0.5", "alhpa: 0.5", "has no parameter 'alhpa' (did you mean 'alpha'?)"),
        ("alpha: 0.5", "alpha: much", "'alpha' must be float, got 'much'"),
        ("{data}/result", "{dat}/result", "names no stage (did you mean 'data'?)"),
        (
            "per: [arm, seed]",
            "per: [arm, seeds]",
            "item 2: Input should be 'seed', 'arm' or 'benchmark', found 'seeds'",
        ),
        ("notebook: judge", "notebook: juge", "did you mean 'judge.ipynb'"),
        ("stages:", "stages: [", "is not YAML"),
        ("  plain: {label: Plain}", "  plain: {lable: Plain}", "no 'lable' here (did you mean 'label'?)"),
        ("title:", "titel:", "recipe small: no 'titel' here (did you mean 'title'?)"),
        ("  long:\n    train:", "  long:\n    trian:", "arms, long: no 'trian' here (did you mean 'train'?)"),
        ("lengths: [max_tokens, margin]", "benchmarks: 3", "benchmarks: Input should be a valid dictionary, found 3"),
        ("note: hello", 'note: "{train}"', "matches 4 runs of stage train, expected one"),
    ],
)
def test_what_does_not_fit_is_told_before_anything_runs(root, old, new, told):
    change(root, old, new)
    with pytest.raises(InputError) as error:
        recipes.plan("small", "small")
    assert told in str(error.value)


@pytest.mark.parametrize(
    "new, told",
    [
        ("lengths: {longst: 64}", "scale small, lengths: no 'longst' here (did you mean 'longest'?)"),
        ("rates: {training: 3}", "scale small, rates, sampling: Field required"),
        ("resources: {gres: [1]}", "scale small, resources, gres: Input should be a valid string, found [1]"),
        ("tasks: {words: {parametrs: {}}}", "tasks, words: no 'parametrs' here (did you mean 'parameters'?)"),
    ],
)
def test_a_key_of_a_scale_that_does_not_fit_is_named(root, new, told):
    change(root, "lengths: {longest: 64}", new, "scales")
    with pytest.raises(InputError) as error:
        recipes.plan("small", "small")
    assert told in str(error.value)


def test_a_scale_takes_the_blocks_of_the_scale_that_it_is_like_and_its_own_values_come_later(root):
    (root / "experiments/scales/larger.yaml").write_text("like: small\nparameters: {train: {steps: 5}}\n")
    change(root, "    judge: {note: hello}", "    judge: {note: hello}\n    train: {steps: 3, alpha: 0.3}")
    steps = {scale: settled_train(scale) for scale in ("small", "larger")}
    assert steps == {"small": (3, 0.3), "larger": (5, 0.3)}
    change(root, "scales:\n", "scales:\n  larger:\n    train: {steps: 9}\n")
    assert settled_train("larger") == (9, 0.3)
    assert next(job for job in recipes.plan("small", "larger") if job.stage == "judge").parameters["note"] == "hello"


def settled_train(scale):
    job = next(job for job in recipes.plan("small", scale) if job.stage == "train")
    return job.parameters["steps"], job.parameters["alpha"]


def test_a_recipe_scale_or_arm_that_does_not_exist_gets_the_nearest(root):
    for words in (("smal", "small"), ("small", "smalll")):
        with pytest.raises(InputError, match="did you mean 'small'"):
            recipes.plan(*words)
    with pytest.raises(InputError, match="did you mean 'long'"):
        recipes.plan("small", "small", arms=["lng"])


def test_the_table_shows_each_arm_and_the_comment_as_source(root):
    rows = commands._recipe_table("small")
    assert rows[0] == ["stage", "parameter", "arms", "value", "source"]
    alpha, tokens, margin = ([row[2:] for row in rows if row[1] == name] for name in ("alpha", "max_tokens", "margin"))
    assert alpha == [["plain, extra", "(0.1)", "paper §1"], ["long", "0.5", "paper §1"]]
    assert tokens == [["plain, extra", "4096", "paper §2; paper §1"], ["long", "8192", "paper §2; paper §1"]]
    assert margin == [["", "1024", ""]]


def test_the_last_column_of_a_table_wraps_at_the_terminal_s_width(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    commands._print_columns([["a", "what it is"], ["long", "one two three four five six seven eight"]])
    assert capsys.readouterr().out == "a     what it is\nlong  one two three four five six seven\n      eight\n"


@pytest.mark.parametrize("scale, kind", [("8x80gb", "a GPU"), ("slurm", "a GPU"), ("smollm2", "two idle cores")])
def test_a_dry_run_prints_command_memory_and_rollouts_and_runs_nothing(scale, kind, capsys):
    assert cli.main(["reproduce", "figure1", "--scale", scale, "--dry-run", "--seeds", "0"]) == 0
    out = capsys.readouterr().out
    assert f"lead run notebooks/03_grpo.ipynb -p run_name figure1/{scale}/grpo-grpo-s0" in out
    assert kind in out and "rollouts" in out and ("--nproc 8 --accelerate" in out) == (scale != "smollm2")
    assert not (KIT / f"runs/figure1/{scale}").exists()


@pytest.mark.slow  # starts `lead`
def test_bad_seeds_and_jobs_are_refused(root):
    assert "--seeds '0,x'" in call(root, "reproduce", "small", "--scale", "small", "--seeds", "0,x")[2]
    assert "'--jobs': 0 is not in the range" in call(root, "reproduce", "small", "--scale", "small", "--jobs", "0")[2]


def attempts(root):
    """How often each run was made."""
    folders = sorted((root / "runs/small/small").glob("*/run.json"))
    return {p.parent.name: len(json.loads(p.read_text())["attempts"]) for p in folders}


@pytest.mark.slow
def test_a_recipe_runs_to_its_end_and_only_what_is_missing_again(root):
    words = ("reproduce", "small", "--scale", "small", "--seeds", "0", "--jobs", "2")
    code, out, err = call(root, *words)
    assert (code, err) == (0, ""), out
    assert "runs/small/small/train-long-s0 is done" in out and "4 of 4 done, 0 running" in out and "step " not in out
    assert out.rstrip().endswith("| 3 |")
    code, out, _ = call(root, *words)
    assert code == 0 and "4 finished" in out
    assert attempts(root) == {"data": 1, "judge": 1, "train-long-s0": 1, "train-plain-s0": 1}
    code, out, _ = call(root, *words[:5], "0,1", *words[6:])  # another seed: what gathers the runs is made anew
    assert code == 0 and out.rstrip().endswith("| 5 |")
    assert attempts(root)["judge"] == 2 and attempts(root)["data"] == attempts(root)["train-long-s0"] == 1
    assert call(root, *words)[1].rstrip().endswith("| 3 |")
    shutil.rmtree(root / "runs/small/small/train-long-s1")
    shutil.rmtree(root / "runs/small/small/train-plain-s1")
    shutil.rmtree(root / "runs/small/small/train-long-s0")
    assert call(root, *words)[0] == 0
    assert attempts(root) == {"data": 1, "judge": 4, "train-long-s0": 1, "train-plain-s0": 1}
    change(root, "alpha: 0.5", "alpha: 0.7")
    code, _, err = call(root, *words)
    assert code == 2 and "train-long-s0 exists with other parameters: alpha was 0.5, now 0.7" in err
    assert sorted(p.name for p in root.iterdir()) == ["experiments", "notebooks", "runs"]


@pytest.mark.slow
def test_a_sweep_runs_to_its_end_and_another_value_adds_only_its_run(root):
    words = ("sweep", "train", "--recipe", "small", "--scale", "small", "--seeds", "0", "--jobs", "2", "-p", "alpha")
    code, out, err = call(root, *words, "0.1,0.5")
    assert (code, err) == (0, "") and out.rstrip().endswith("| 3 |"), out
    code, out, err = call(root, *words, "0.1,0.5,0.7")
    assert (code, err) == (0, "") and "5 runs" in out and "3 finished" in out and out.rstrip().endswith("| 4 |"), out
    folder = root / "runs/sweep-small-alpha/small"
    assert sorted(p.name for p in folder.glob("train-*")) == [f"train-alpha_{value}-s0" for value in (0.1, 0.5, 0.7)]


@pytest.mark.slow
def test_a_failing_run_is_named_and_the_others_go_on(root):
    change(root, "alpha: 0.5", "fail: bug")
    code, out, err = call(root, "reproduce", "small", "--scale", "small", "--seeds", "0", "--jobs", "1")
    assert code == 1 and "ZeroDivisionError" in out
    assert "runs/small/small/train-long-s0 failed: division by zero" in err
    assert "runs/small/small/judge not run" in err and attempts(root)["train-plain-s0"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_an_interrupted_recipe_goes_on_where_it_was(root, forks, number, code):
    words = ("reproduce", "small", "--scale", "small", "--seeds", "0", "--jobs", "1")
    process = lead(root, *words)
    until_logged(process, root / "runs", "step 1/2")
    below = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    err = process.communicate(timeout=60)[1]
    assert process.returncode == code and ("continues from here" in err or number == signal.SIGKILL)
    assert psutil.wait_procs(below, timeout=10)[1] == []
    code, _, err = call(root, *words, **forks)
    assert code == 0, err
    assert attempts(root)["data"] == 1 and sorted(attempts(root).values()) == [1, 1, 1, 2]


def test_memory_is_what_the_docstring_adds_up():
    """7.6e9 float32 weights over 8 cards: 3.54 GiB, gradients and moments 10.62, 6 bytes of one layer of 28 1.52,
    inputs and one layer's insides of 2 · (8192 + 1024) tokens 5.54, the head's gradient 2.03, libraries 2: 25.24."""
    values = {"model": "org/Model-7B", "dtype": "bfloat16", "micro_batch_size": 2, "max_tokens": 8192}
    job = recipes.Job(
        "x", "grpo", None, None, Path("03_grpo.ipynb"), values, [], 8, "experiments/accelerate/fsdp2.yaml"
    )
    need = sum(estimates.training_bytes(estimates.shape_of("org/Model-7B"), job, "fsdp2")) / estimates.GIB
    assert need == pytest.approx(25.24, abs=0.02)
    assert estimates.shape_of("some/model") is None
    assert estimates.describe(job, 24.0) == "about 25 GiB a GPU"
