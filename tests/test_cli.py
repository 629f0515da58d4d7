"""lead: arguments, and how fast a mistake is answered."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lead_kit import __version__
from lead_kit.cli import main
from lead_kit.runs.files import ROOT, from_here
from tests.small import call, lead, parsed, small_notebook

pytestmark = pytest.mark.slow  # each starts `lead`


def test_a_parameter_may_be_negative_or_look_like_an_option():
    options = parsed(["run", "n", "-p", "wrong_reward", "-1e-6", "--nproc", "2", "-p", "note", "--again"])
    assert options["parameters"] == {"wrong_reward": "-1e-6", "note": "--again"}
    assert options["nproc"] == 2 and not options["again"]


@pytest.mark.parametrize(
    "words, told",
    [
        ([], "Missing command (see `lead --help`)"),
        (["rnu"], "Did you mean 'run'?"),
        (["run", "n", "--nprc", "2"], "Did you mean '--nproc'?"),
        (["run", "n", "--nproc", "two"], "'two' is not a valid integer range (see `lead run --help`)"),
        (["run"], "Missing argument 'NOTEBOOK'"),
        (["run", "n", "-p", "steps"], "Option '-p' requires 2 arguments (see `lead run --help`)"),
        (["reproduce", "figure1", "--scal", "tiny"], "Did you mean '--scale'?"),
        (["replay", "x.csv", "--gold", "y.jsonl"], "Did you mean '--golds'?"),
        (["recipe"], "Missing argument 'NAME'"),
        (["compare", "one"], "Missing argument 'RUN_B'"),
    ],
)
def test_a_mistyped_command_is_answered_with_the_nearest(words, told, capsys):
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("lead: ") and told in err and len(err.splitlines()) == 1


def test_the_version_and_the_completion_of_the_shell(capsys, monkeypatch):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"lead, version {__version__}\n"
    for name, value in (("_LEAD_COMPLETE", "bash_complete"), ("COMP_WORDS", "lead re"), ("COMP_CWORD", "1")):
        monkeypatch.setenv(name, value)
    assert main([]) == 0
    assert capsys.readouterr().out.split() == ["plain,recipe", "plain,replay", "plain,reproduce"]


@pytest.mark.parametrize(
    "words, told",
    [
        (["run", "smal"], "no notebook 'smal' (did you mean 'small'?)"),
        (["run", "small", "-p", "step", "3"], "no parameter 'step' (did you mean 'steps'?)"),
        (["run", "small", "-p", "steps", "three"], "'steps' must be int, got 'three'"),
        (["run", "small", "-p", "x = 1; import os", "3"], "has no parameter 'x = 1; import os'"),
        (["run", "small", "--run-name", "../x"], "run_name '../x'"),
        (["run", "small", "--nproc", "0"], "'--nproc': 0 is not in the range"),
        (["run", "small", "--accelerate", "none.yaml"], "no accelerate file"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2_before_any_kernel(tmp_path, words, told):
    small_notebook(tmp_path)
    code, out, err = call(tmp_path, *words)
    assert (code, out) == (2, "") and told in err and len(err.splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_help_needs_nothing_heavy(tmp_path):
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    code, out, _ = call(tmp_path, "--help")
    assert code == 0 and "reproduce" in out
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 1  # pandas alone would take as long


def test_paths_start_where_the_command_was_given(tmp_path, monkeypatch, capsys):
    rows = [json.dumps({"id": str(n), "problem": f"What is {n} + {n}?", "gold": str(2 * n)}) for n in range(3)]
    (tmp_path / "own").mkdir()
    for name in ("a.jsonl", "own/b.jsonl"):
        (tmp_path / name).write_text("\n".join(rows) + "\n")
    monkeypatch.chdir(tmp_path)
    assert main(["leaks", "a.jsonl", "own/b.jsonl"]) == 1 and main(["leaks", "a.jsonl", "./own"]) == 1
    assert "A = " + str(tmp_path / "a.jsonl") in capsys.readouterr().out
    assert main(["plan-stage", "b.jsonl", "--column", "x"]) == 2 and "no file" in capsys.readouterr().err
    (tmp_path / "s.jsonl").write_text('{"id": 1, "gold": "2", "completion": "2"}\n')
    assert main(["score", "s.jsonl"]) == 0 and (tmp_path / "s.verdicts.jsonl").is_file()
    assert from_here("own/*.jsonl@lead") == f"{tmp_path}/own/*.jsonl@lead"
    for other in ("own", "a10", "figure1/tiny", "MATH-500", "b.jsonl", "no/*.jsonl"):  # names, and what is not here
        assert from_here(other) == other
    monkeypatch.chdir(ROOT)
    assert from_here("README.md") == "README.md"


def test_main_turns_a_missing_file_into_a_sentence(capsys):
    assert main(["recipe", "no-such-recipe"]) == 2
    assert capsys.readouterr().err.startswith("lead: no recipe 'no-such-recipe'")


def test_a_reader_that_leaves_does_not_stop_the_command(tmp_path):
    small_notebook(tmp_path)
    process = lead(tmp_path, "run", "small", "-p", "steps", "2")
    process.stdout.close()  # as `| head` does, here before the first line
    assert process.wait(timeout=300) == 0, process.stderr.read()
    assert (tmp_path / "runs/small/result.txt").read_text() == "2"


def test_a_broken_pipe_that_is_not_stdouts_is_a_failure(tmp_path):
    code = "import sys, lead_kit.cli as cli\ndef broken(**options): raise BrokenPipeError\n"
    code += "cli.lead.commands['recipe'].callback = broken\nsys.exit(cli.main(['recipe', 'x']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert done.returncode == 1 and "BrokenPipeError" in done.stderr


def test_score_outlives_the_verifiers_server(tmp_path):
    rows = [
        {"id": n, "answer": f"2\\sqrt{{{n}}}", "completion": f"\\boxed{{\\sqrt{{{4 * n}}}}}"} for n in range(2, 300)
    ]
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    process = lead(tmp_path, "score", "x.jsonl")
    killed = set()
    while process.poll() is None and len(killed) < 2:
        for tasks in Path(f"/proc/{process.pid}/task").glob("*/children"):  # a thread's children
            for server in set(map(int, tasks.read_text().split())) - killed:
                os.kill(server, signal.SIGKILL)
                killed.add(server)
        time.sleep(0.05)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0 and killed, err
    assert "Pass@1        1.0000" in out and len((tmp_path / "x.verdicts.jsonl").read_text().split("\n")) == 299


def test_the_list_names_every_kind_of_part_with_a_line_of_its_docstring(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")  # so that no line wraps
    code, out, err = call(tmp_path, "list")
    assert (code, err) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    for line in ("recipes", "lead_code GRPO-LEAD, released code: lead_code → grpo_verl → difficulty_code"):
        assert line.split() in lines, lines
    code = "import sys, lead_kit.cli as cli\ncli.main(['list'])\nsys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=300).returncode == 0
    assert "mixed_groups" in {line[0] for line in lines if line}
    assert any(line[:3] == ["rloo", "RLOO", "(2402.14740):"] for line in lines)
