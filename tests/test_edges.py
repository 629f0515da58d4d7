"""Input as others write it: each case ends in one sentence and exit code 2, none in a traceback, none hangs."""

import contextlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from tests.small import small_notebook

pytestmark = [pytest.mark.slow, pytest.mark.fault]  # starts `lead`

ROW = {"id": 1, "answer": "2", "completion": "\\boxed{2}"}
SAMPLE = {"id": "p", "sample": 0, "gold": "3", "answer": "3", "length": 3, "truncated": False, "correct": True}
PARAMETERS = {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": "steps: int = 1"}
ATTEMPT = {"status": "done", "code": "x"}
MANIFEST = {"notebook": "x", "status": "done", "parameters": {}, "attempts": [ATTEMPT]}
STAGE = "stages: {t: {notebook: small, parameters: {%s}}}"
DEEP = "[" * 100_000


def line(**changed):
    """One line of ROW, whose changed keys may hold JSON of our own as bytes."""
    return json.dumps(ROW | changed) + "\n"


def raw(gold):
    return f'{{"id": 1, "answer": {gold}, "completion": "x"}}\n'


def sample(**changed):
    return json.dumps(SAMPLE | changed) + "\n"


def cell(**changed):
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [PARAMETERS | changed]})


# name of the case, content of the file, what the sentence says
SCORE = [
    ("empty", "", "holds no rows"),
    ("blank lines", "\n\n", "holds no rows"),
    ("UTF-16", line().encode("utf-16"), "line 1: not UTF-8 text"),
    ("Latin-1", b'{"id": "\xe9"}\n', "line 1: not UTF-8 text"),
    ("zero bytes", b"\0" * 9, "line 1: not valid JSON"),
    ("CSV", "id,answer,completion\n1,2,3\n", "line 1: not valid JSON"),
    ("a damaged line in the middle", line() + "{bad\n" + line(), "line 2: not valid JSON"),
    ("a list", "[1]\n", "line 1: expected an object, found '[1]'"),
    ("deep nesting", raw(DEEP), "line 1: not valid JSON (maximum recursion depth exceeded"),
    ("a number of 5000 digits", raw("1" + "0" * 5000), "line 1: not valid JSON (Exceeds the limit"),
    ("gold NaN", raw("NaN"), "answer is nan, expected a text, a number"),
    ("gold Infinity", raw("Infinity"), "answer is inf, expected a text, a number"),
    ("gold 1e400", raw("1e400"), "answer is inf, expected a text, a number"),
    ("gold true", raw("true"), "answer is True, expected a text, a number"),
    ("gold empty", raw('""'), "answer is , expected a text, a number"),
    ("gold object", raw("{}"), "answer is {}, expected a text, a number"),
    ("id object", line(id={}), "id is {}, expected a text or a number"),
    ("id NaN", line(id=float("nan")), "id is nan, expected a text or a number"),
    ("id null", line(id=None), "no 'id'"),
    ("id of 300 characters", line(id="x" * 300) + line(id="x" * 300, answer="3"), "(300 characters)"),
    ("completion number", line(completion=3), "expected 'completions', a list of texts"),
    ("completions text", line(completions="abc"), "expected 'completions', a list of texts"),
    ("completions empty", line(completions=[]), "expected 'completions', a list of texts"),
    ("thinking text", line(thinking="no"), "thinking is no, expected true or false"),
    ("benchmark list", line(benchmark=[1]), "benchmark is [1], expected a text or a number"),
]
COMPARE = [
    ("empty", "", "holds no samples"),
    ("UTF-16", sample().encode("utf-16"), "line 1: not UTF-8 text"),
    ("a damaged line in the middle", sample() + "{bad\n" + sample(sample=1), "line 2: not valid JSON"),
    ("no sample", '{"id": 1, "correct": true}\n', "has no column 'sample'"),
    ("a row without its sample", sample() + '{"id": "q", "correct": true}\n', "row 2: sample is nan, expected a whole"),
    ("sample text", sample(sample="a"), "row 1: sample is 'a', expected a whole number"),
    ("sample list", sample(sample=[1]), "row 1: sample is [1], expected a whole number"),
    ("id list", sample(id=["a"]), "row 1: id is ['a'], expected a text or a number"),
    ("correct text", sample(correct="yes"), "row 1: correct is 'yes', expected true or false"),
    ("correct null", sample(correct=None), "row 1: correct is None, expected true or false"),
    ("length text", sample(length="long"), "row 1: length is 'long', expected a number of tokens"),
    ("length negative", sample(length=-3), "row 1: length is -3, expected a number of tokens"),
    ("length 10^400", sample(length=10**400), "row 1: length is 1000"),
    ("truncated text", sample(truncated="no"), "row 1: truncated is 'no', expected true, false or null"),
    ("answer list", sample(answer=["3"]), "row 1: answer is ['3'], expected a text or null"),
    ("arm list", sample(arm=["a"]), "row 1: arm is ['a'], expected a text or a number"),
    ("arm null", sample(arm=None), "row 1: arm is None, expected a text or a number"),
    ("seed text", sample(seed="x"), "row 1: seed is 'x', expected a whole number"),
    ("seed infinite", sample(seed=float("inf")), "row 1: seed is inf, expected a whole number"),
    ("benchmark list", sample(benchmark=["a"]), "row 1: benchmark is ['a'], expected a text"),
    ("benchmark null", sample(benchmark=None), "row 1: benchmark is None, expected a text"),
    ("model list", sample(model=["m"]), "row 1: model is ['m'], expected a text"),
]
NOTEBOOKS = [
    ("empty", "", "is not a Jupyter notebook (version 4)"),
    ("not JSON", "{", "is not a Jupyter notebook (version 4)"),
    ("a list", "[]", "is not a Jupyter notebook (version 4)"),
    ("no cells", '{"nbformat": 4}', "is not a Jupyter notebook (version 4)"),
    ("cells that are numbers", '{"nbformat": 4, "cells": [1, 2]}', "is not a Jupyter notebook (version 4)"),
    ("nbformat 3", '{"nbformat": 3, "worksheets": []}', "is not a Jupyter notebook (version 4)"),
    ("deep nesting", DEEP, "is not a Jupyter notebook (version 4)"),
    ("UTF-16", cell().encode("utf-16"), "is not a Jupyter notebook (version 4)"),
    ("source a number", cell(source=3), "is not a Jupyter notebook (version 4)"),
    ("metadata null", cell(metadata=None), "is not a Jupyter notebook (version 4)"),
    ("tags null", cell(metadata={"tags": None}), "is not a Jupyter notebook (version 4)"),
    ("no parameters cell", cell(metadata={}), "has 0 cells tagged 'parameters', expected one"),
    ("code", cell(source="import os"), "line 1, 'import os': expected `name: type = literal"),
    ("a call", cell(source="a: int = open('x')"), "the default must be a literal"),
    ("an unhashable key", cell(source="a: list[int] = {[]: 1}"), "the default must be a literal"),
    ("no Python", cell(source="a: int ="), "is not a list of declarations"),
    ("a zero byte", cell(source="a: int = 1\0"), "is not a list of declarations"),
    ("deep brackets", cell(source="a: int = " + "(" * 500 + "1" + ")" * 500), "is not a list of declarations"),
    ("deep signs", cell(source="a: int = " + "-" * 5000 + "1"), "is not a list of declarations"),
    ("an unknown type", cell(source="a: complex = 1"), "declared as complex; expected one of bool, int"),
    ("a default of another type", cell(source="a: int = 'x'"), "'a' must be int, got 'x'"),
    ("a number beyond floats", cell(source="a: float = 1" + "0" * 400), "'a' must be float, got 1000"),
    ("the same name twice", cell(source="a: int = 1\na: int = 2"), "declares 'a' twice"),
    ("a run_name that is no text", cell(source="run_name: int = 3"), "run_name 3: expected at most 200 letters"),
]
MANIFESTS = [
    ("an empty object", "{}", "(notebook: Field required): delete the folder"),
    ("a list", "[1]", "Input should be an object"),
    ("truncated", '{"run": "x", "para', "Invalid JSON: EOF while parsing a string"),
    ("Latin-1", b"\xff", "Invalid JSON"),
    ("deep nesting", DEEP, "Invalid JSON: recursion limit exceeded"),
    (
        "another version",
        '{"notebook": "x", "parameters": {}}',
        "is no record of this version of the kit (status: Field required)",
    ),
    ("parameters a list", json.dumps(MANIFEST | {"parameters": []}), "(parameters: Input should be an object)"),
    ("no attempts", json.dumps(MANIFEST | {"attempts": []}), "(attempts: List should have at least 1 item"),
    ("attempts of texts", json.dumps(MANIFEST | {"attempts": ["a"]}), "(attempts: 0: Input should be an object)"),
]
RECIPES = [
    ("empty", "", "expected keys and values, found None"),
    ("a list", "- a", "expected keys and values, found ['a']"),
    ("Latin-1", b"title: \xff", "is not YAML: 'utf-8' codec"),
    ("a tab", "a:\n\t- b", "is not YAML"),
    ("deep nesting", "[" * 5000, "is not YAML: maximum recursion depth exceeded"),
    ("no date", STAGE % "fail: 2020-13-45", "is not YAML: month must be"),
    ("a number of 5000 digits", STAGE % f"steps: 1{'0' * 5000}", "is not YAML: Exceeds the limit"),
    ("no stages", "title: x", "has no stages"),
    ("stages null", "stages:", "stages: Input should be a valid dictionary"),
    ("stages a list", "stages: [a]", "stages: Input should be a valid dictionary"),
    ("a stage that is text", "stages: {t: small}", "stages, t: Input should be a valid dictionary"),
    ("a stage named by a number", "stages: {1: {notebook: small}}", "[key]: Input should be a valid string, found 1"),
    ("no notebook", "stages: {t: {}}", "stages, t, notebook: Field required"),
    ("notebook a number", "stages: {t: {notebook: 3}}", "notebook: Input should be a valid string"),
    ("notebook of 300 characters", f"stages: {{t: {{notebook: {'x' * 300}}}}}", "File name too long"),
    ("per a text", "stages: {t: {notebook: small, per: arm}}", "per: Input should be a valid list"),
    ("parameters a list", "stages: {t: {notebook: small, parameters: [a]}}", "Input should be a valid dictionary"),
    ("a parameter null", STAGE % "steps: ", "'steps' must be int, got None"),
    ("a parameter that is a mapping", STAGE % "steps: {a: 1}", "'steps' must be int, got {'a': 1}"),
    ("a parameter NaN", STAGE % "steps: .nan", "'steps' must be int, got nan"),
    ("lengths that are no numbers", "lengths: [steps]\n" + STAGE % "steps: a", "steps is a, expected a number"),
    ("max_tokens a text", STAGE % "max_tokens: abc", "max_tokens is abc, expected a number"),
    ("an arm's label a list", "arms: {a: {label: [x]}}\n" + STAGE % "", "label: Input should be a valid string"),
    ("an arm of 300 characters", f"arms: {{{'x' * 300}: {{}}}}\nstages: {{t: {{notebook: small, per: [arm]}}}}", "200"),
    ("every arm optional", "arms: {a: {optional: true}}\nstages: {t: {notebook: small, per: [arm]}}", "has no runs"),
    ("scales a list", "scales: [a]\n" + STAGE % "", "scales: Input should be a valid dictionary"),
]
SCALES = [
    ("seeds a number", "seeds: 3", "seeds: Input should be a valid list"),
    ("seeds texts", "seeds: [a]", "seeds, item 1: Input should be a valid integer"),
    ("seeds true", "seeds: [true]", "seeds, item 1: Input should be a valid integer"),
    ("jobs a text", "jobs: many", "jobs: Input should be a valid integer"),
    ("threads null", "threads:", "threads: Input should be a valid integer"),
    ("lengths a list", "lengths: [1]", "lengths: Input should be a valid dictionary"),
    ("a length of 0", "lengths: {longest: 0}", "lengths, longest: Input should be greater than 0"),
    ("an infinite length", "lengths: {longest: .inf}", "lengths, longest: Input should be a finite number"),
    ("no processes", "nproc: {small: 0}", "nproc, small: Input should be greater than 0"),
    ("accelerate a number", "accelerate: {small: 3}", "accelerate, small: Input should be a valid string"),
    ("snakemake a text", "snakemake: --cluster", "snakemake: Input should be a valid list"),
    ("a parameter a list", "parameters: {small: {steps: [1]}}", "'steps' must be int, got [1]"),
    ("like a list", "like: [tiny]", "like: Input should be a valid string"),
    ("like itself", "like: case", "scale case is like itself: case → case"),
]
ACCELERATE = [
    ("a list", "[1]", "expected keys and values, found [1]"),
    ("Latin-1", b"\xff", "is not YAML: 'utf-8' codec"),
    ("a kind that is a list", "distributed_type: [1]", "distributed_type is [1], expected one of MULTI_GPU"),
]
KINDS = {  # of file: its path, the command that reads it, the cases
    "score": ("case.jsonl", "score case.jsonl", SCORE),
    "compare": ("case.jsonl", "compare case.jsonl case.jsonl --metric length", COMPARE),
    "notebook": ("notebooks/case.ipynb", "run case", NOTEBOOKS),
    "run.json": ("runs/case/run.json", "run small --run-name case", MANIFESTS),
    "recipe": ("experiments/recipes/case.yaml", "reproduce case --scale plain --dry-run", RECIPES),
    "scale": ("experiments/scales/case.yaml", "reproduce plain --scale case --dry-run", SCALES),
    "accelerate": ("case.yaml", "run small --accelerate case.yaml", ACCELERATE),
}
CASES = [(kind, name, content, told) for kind, (_, _, cases) in KINDS.items() for name, content, told in cases]
COMMANDS = [  # what is typed, what the sentence says
    ("score nothing.jsonl", "nothing.jsonl does not exist"),
    ("score folder.jsonl", "folder.jsonl does not exist, expected a JSONL file"),
    (f"score {'x' * 300}.jsonl", "File name too long"),
    ("score good.jsonl --out good.jsonl", "is the input, which it would replace"),
    ("score good.jsonl --out link.jsonl", "is the input, which it would replace"),
    ("score good.jsonl --out folder.jsonl", "it is a folder, expected the name of a file"),
    ("score good.jsonl --out good.jsonl/x", "cannot write good.jsonl/x"),
    (f"score good.jsonl --out {'y' * 300}", "File name too long"),
    ("score good.jsonl --answer-region nowhere", "'nowhere': expected one of after_think, before_think"),
    ("score good.jsonl -k 0", "k is 0, expected 1 to 1"),
    ("score cut.parquet", "cut.parquet is not a readable parquet file"),
    ("score text.parquet", "text.parquet is not a readable parquet file"),
    ("score empty.parquet", "empty.parquet is not a readable parquet file"),
    ("score columns.parquet", "columns.parquet, row 1: no 'id'; it has x"),
    ("score nested.parquet", "nested.parquet, row 1: id is {'a': 1}, expected a text or a number"),
    ("score nan.parquet", "nan.parquet, row 1: answer is nan, expected a text, a number"),
    ("compare nothing good.jsonl", "nothing does not exist"),
    ("compare cut.parquet good.jsonl", "cut.parquet is not a readable parquet file"),
    ("compare nested.parquet good.jsonl", "nested.parquet has no column 'sample'"),
    ("compare latin1.txt good.jsonl", "latin1.txt: samples are read from .jsonl or .parquet"),
    ("compare good.jsonl good.jsonl --seed=-1", "--seed -1: expected 0 or more"),
    ("verify --gold 2 --completion latin1.txt", "latin1.txt is not UTF-8 text"),
    ("verify --gold 2 --completion folder.jsonl", "expected a text file with one completion"),
    ("run small --run-name=", "run_name ''"),
    (f"run small --run-name {'x' * 300}", "expected at most 200 letters"),
    (f"run small -p steps {'1' * 5000}", "'steps' must be int, got '111"),
    (f"run small -p {'x' * 300} 1", "no parameter 'xxx"),
    (f"run small --nproc {'9' * 5000}", "Invalid value for '--nproc': '999"),
    ("reproduce plain --scale plain --arms=", "--arms '': expected names of arms separated by commas"),
    ("reproduce plain --scale plain --arms a,,b", "--arms 'a,,b': expected names of arms"),
    ("reproduce plain --scale plain --arms zz", "no 'zz' here"),
    ("reproduce plain --scale plain --seeds=", "--seeds '': expected whole numbers"),
    ("reproduce plain --scale plain --seeds ²", "--seeds '²': expected whole numbers"),
    ("reproduce plain --scale plain --jobs 0", "'--jobs': 0 is not in the range x>=1"),
    (f"recipe {'x' * 300}", "(302 characters)"),
    ("recipe folder", "Is a directory"),
]


def build(root):
    """A repository with a notebook, a recipe, a scale, and the files that COMMANDS names."""
    small_notebook(root)
    for path, text in {"recipes/plain": "arms: {a: {}, b: {}}\n" + STAGE % "", "scales/plain": "title: x"}.items():
        (root / f"experiments/{path}.yaml").parent.mkdir(parents=True)
        (root / f"experiments/{path}.yaml").write_text(text)
    (root / "experiments/recipes/folder.yaml").mkdir()
    (root / "folder.jsonl").mkdir()
    (root / "good.jsonl").write_text(line())
    (root / "link.jsonl").symlink_to("good.jsonl")
    (root / "latin1.txt").write_bytes(b"\xff")
    tables = {"columns": {"x": [1]}, "nested": {"id": [{"a": 1}], "answer": ["2"], "completion": ["x"]}}
    tables["nan"] = {"id": ["1"], "answer": [float("nan")], "completion": ["x"]}
    for name, columns in tables.items():
        pyarrow.parquet.write_table(pyarrow.table(columns), root / f"{name}.parquet")
    (root / "cut.parquet").write_bytes((root / "nan.parquet").read_bytes()[:-9])
    (root / "text.parquet").write_text(line())
    (root / "empty.parquet").touch()


def main(kind):
    """In a process of its own: runs the cases of a kind, or COMMANDS, and prints [exit code, stderr] for each."""
    from lead_kit import cli

    path, command, cases = KINDS.get(kind, ("", "", []))
    for content, words in [(content, command) for _, content, _ in cases] or [("", words) for words, _ in COMMANDS]:
        if path:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_bytes(content if isinstance(content, bytes) else content.encode())
        err = open("stderr", "w+", encoding="utf-8", errors="backslashreplace")
        with err, contextlib.redirect_stderr(err):
            code = cli.main(words.split(" "))
            err.seek(0)
            print(json.dumps([code, err.read()]), flush=True)


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What `lead` says to every case of a kind; the processes are started once for each kind."""
    known = {}

    def of(kind):
        if kind not in known:
            root = tmp_path_factory.mktemp("edges")
            build(root)
            code = f"from tests.test_edges import main; main({kind!r})"
            places = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
            variables = os.environ | {"LEAD_ROOT": str(root), "PYTHONPATH": places}
            done = subprocess.run(
                [sys.executable, "-c", code], cwd=root, env=variables, capture_output=True, text=True, timeout=300
            )
            assert done.returncode == 0, done.stderr  # a traceback ends the process
            known[kind] = [json.loads(text) for text in done.stdout.splitlines() if text.startswith("[2")]
            assert (root / "good.jsonl").read_text() == line()
            known[kind] = [[code, text.replace(str(root), "ROOT")] for code, text in known[kind]]
        return known[kind]

    return of


def check(answer, said, note):
    code, err = answer
    note("expected", said)
    note("seen", f"exit code {code}: {err}")
    assert code == 2 and err.startswith("lead: ") and err.count("\n") == 1 and len(err) < 500
    assert said in err


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, name, _, _ in CASES])
def test_a_file_of_another_form_is_told_in_a_sentence(told, kind, name, record_property):
    names = [name for name, _, _ in KINDS[kind][2]]
    check(told(kind)[names.index(name)], KINDS[kind][2][names.index(name)][2], record_property)


@pytest.mark.parametrize("at", range(len(COMMANDS)), ids=[words[:40] for words, _ in COMMANDS])
def test_words_that_do_not_fit_are_told_in_a_sentence(told, at, record_property):
    check(told("commands")[at], COMMANDS[at][1], record_property)


@pytest.mark.parametrize("kind", [*KINDS, "commands"])
def test_the_sentences_are_those_of_the_golden_file(told, kind):
    """With LEAD_GOLDENS=write the file is written anew; a commit that changes it says why."""
    path = Path(__file__).parent / "goldens" / f"edges-{kind}.txt"
    names = [case[0][:60] for case in KINDS.get(kind, ("", "", COMMANDS))[2]]
    text = "".join(f"{name}\n  {code} {said}" for name, (code, said) in zip(names, told(kind), strict=True))
    if kind in ("commands", "recipe"):  # a long path is cut, and where depends on the length of the temporary folder's
        text = re.sub(r"(?<![\w.])(?:ROOT|/\w).*", "ROOT…", text)
    if os.environ.get("LEAD_GOLDENS") == "write":
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")
