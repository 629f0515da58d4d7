"""Parameters: what a cell declares, what arrives, and the sentence a mistake earns."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lead_kit.errors import InputError, nearest
from lead_kit.parameters import bind, convert_values, read_call, read_parameters, select_function, settle

ROOT = Path(__file__).resolve().parents[1]
CELL = """\
run_name: str = "demo"  # folder under runs/
steps: int = 3  # rollout batches
learning_rate: float = 1  # Adam step size, e.g. 1e-6 = small
shuffle: bool = True
rewards: list[str] = ["correct"]  # names
weights: list[float] = [1, 0.5]
"""


def notebook(path, *cells):
    """A notebook of (source, tags) code cells."""
    body = [{"cell_type": "code", "metadata": {"tags": tags}, "source": source} for source, tags in cells]
    path.write_text(json.dumps({"cells": body, "nbformat": 4}))
    return path


def namespace(source=CELL, injected=""):
    """The globals of a kernel that ran the parameters cell and then papermill's injected cell."""
    scope = {"In": ["", source], "__annotations__": {}}
    exec(source, scope)
    if injected:
        scope["In"].append("# Parameters\n" + injected)
        exec(injected, scope)
    return scope


@pytest.fixture
def declared(tmp_path):
    return read_parameters(notebook(tmp_path / "n.ipynb", (CELL, ["parameters"]), ("1/0", [])))


def test_a_cell_is_read_without_running_it(declared):
    assert list(declared) == ["run_name", "steps", "learning_rate", "shuffle", "rewards", "weights"]
    assert declared["learning_rate"][:4] == ("learning_rate", "float", 1.0, "Adam step size, e.g. 1e-6 = small")
    assert declared["weights"].default == [1.0, 0.5]


@pytest.mark.parametrize(
    "line", ["x = 1", "x: int = 1 + y", "x: int", "print(1)", "x: dict = {}", "x: int = 1.5", "x: int = True"]
)
def test_a_line_that_is_no_declaration_is_refused(tmp_path, line):
    with pytest.raises(InputError):
        read_parameters(notebook(tmp_path / "n.ipynb", (line, ["parameters"])))


def test_a_notebook_has_one_parameters_cell(tmp_path):
    with pytest.raises(InputError, match="has 2 cells"):
        read_parameters(notebook(tmp_path / "n.ipynb", (CELL, ["parameters"]), (CELL, ["parameters"])))
    (tmp_path / "bad.ipynb").write_text("not json")
    with pytest.raises(InputError, match="not a Jupyter notebook"):
        read_parameters(tmp_path / "bad.ipynb")
    with pytest.raises(InputError, match="did you mean 'n.ipynb'"):
        read_parameters(tmp_path / "m.ipynb")


def test_text_from_the_command_line_becomes_the_declared_type(declared):
    got = convert_values(
        {"steps": "7", "learning_rate": "1e-6", "shuffle": "false", "rewards": "a, b", "weights": "[1, 2]"}, declared
    )
    assert got == {"steps": 7, "learning_rate": 1e-6, "shuffle": False, "rewards": ["a", "b"], "weights": [1.0, 2.0]}
    assert isinstance(got["weights"][0], float)


@pytest.mark.parametrize(
    "name, value",
    [
        ("steps", "many"),
        ("steps", True),
        ("steps", 2.0),
        ("shuffle", 1),
        ("learning_rate", "nan"),
        ("run_name", 7),
        ("weights", "[1,"),
    ],
)
def test_a_wrong_type_is_refused_with_the_value(declared, name, value):
    with pytest.raises(InputError) as error:
        convert_values({name: value}, declared)
    assert repr(value) in str(error.value) and declared[name].type in str(error.value)


def test_a_misspelt_name_gets_the_nearest_and_code_is_no_name(declared):
    with pytest.raises(InputError, match=r"no parameter 'learning_rat' \(did you mean 'learning_rate'\?\)"):
        convert_values({"learning_rat": "1"}, declared)
    with pytest.raises(InputError, match="no parameter 'steps=1;import os'"):
        convert_values({"steps=1;import os": "1"}, declared)


@pytest.mark.parametrize("value", ["hf_" + "a" * 30, "sk-" + "b" * 40, "https://me:pass@host/x"])
def test_a_key_is_refused_without_repeating_it(declared, value):
    with pytest.raises(InputError, match="environment variable") as error:
        convert_values({"run_name": value}, declared)
    assert value not in str(error.value)


def test_max_tokens_is_no_secret():
    scope = namespace("max_tokens: int = 5\ntoken_budget: int = 9\nanswer_key: str = 'answer'")
    assert settle(scope)["max_tokens"] == 5


def test_settle_converts_and_writes_back():
    scope = namespace(injected='steps = 9\nlearning_rate = "1e-6"\nshuffle = "true"')
    config = settle(scope)
    assert config["steps"] == 9 and scope["learning_rate"] == 1e-6 and scope["shuffle"] is True
    assert config.passed == {"steps": 9, "learning_rate": 1e-6, "shuffle": True}


def test_settle_ignores_other_globals_but_not_undeclared_parameters():
    scope = namespace()
    scope["frame"] = object()
    assert "frame" not in settle(scope)
    with pytest.raises(InputError, match="did you mean 'steps'"):
        settle(namespace(injected="step = 9"))


def test_an_annotation_without_value_or_of_another_type_is_refused():
    with pytest.raises(InputError, match="line 1, 'x: int': expected `name: type = literal"):
        settle(namespace("x: int"))
    with pytest.raises(InputError, match="expected one of"):
        settle(namespace("x: dict = {}"))


def edited(scope, source):
    """The same kernel after another version of the parameters cell."""
    scope["In"].append(source)
    exec(source, scope)
    return scope


def test_the_cell_as_executed_counts_and_not_what_the_kernel_remembers():
    scope = namespace()
    settle(scope)
    renamed = CELL.replace("learning_rate", "laerning_rate")
    for _ in range(2):  # the cell again, unchanged
        with pytest.raises(InputError, match=r"no parameter 'laerning_rate' \(did you mean 'learning_rate'\?\)"):
            settle(edited(scope, renamed))
    with pytest.raises(InputError, match="'learning_rate = 1"):  # the newest version is judged, not a longer one
        settle(edited(scope, CELL.replace("learning_rate: float", "learning_rate")))
    assert settle(edited(scope, CELL.replace("= 3", "= 4")))["steps"] == 4
    config = settle(edited(scope, "\n".join(CELL.splitlines()[:-1])))  # without its last line
    assert "weights" not in config and "weights" not in scope


@pytest.mark.parametrize(
    "line, message",
    [
        ("steps = 9", r"line 2, 'steps = 9': expected `name: type = literal  # help`$"),
        ("stesp = 9", r"line 2, 'stesp = 9': expected `name: type = literal  # help` \(did you mean 'steps'\?\)"),
    ],
)
def test_an_assignment_without_a_type_is_judged_too(line, message):
    scope, source = namespace(), CELL.replace("steps: int = 3  # rollout batches", line)
    settle(scope)
    with pytest.raises(InputError, match=message):
        settle(edited(scope, source))


CHOICES = (
    CELL
    + '''\
schedule: str = """constant | cosine(
    lr_floor=0.1,  # minimum rate
    targets=["q_proj"],  # two | three
) | linear"""  # course of the rate
'''
)


def test_the_arguments_of_choices_are_parameters(tmp_path):
    declared = read_parameters(notebook(tmp_path / "n.ipynb", (CHOICES, ["parameters"])))
    assert list(declared)[-3:] == ["schedule", "lr_floor", "targets"]
    assert declared["schedule"][1:4] == ("str", "constant", "course of the rate")
    assert declared["lr_floor"][1:4] == ("float", 0.1, "minimum rate")
    assert declared["targets"][1:4] == ("list[str]", ["q_proj"], "two | three")
    alone = convert_values({"schedule": "cosine", "lr_floor": "0.8"}, declared)
    assert alone == convert_values({"schedule": "cosine(lr_floor=0.8)"}, declared)
    assert alone == {"schedule": "cosine", "lr_floor": 0.8}
    assert convert_values({"schedule": "mine.py:steps(top=2)"}, declared) == {"schedule": "mine.py:steps(top=2)"}


@pytest.mark.parametrize(
    "given, message",
    [
        ({"schedule": "cosine(lr_floor=0.8)", "lr_floor": 0.1}, "lr_floor has two values: 0.1, and 0.8 in schedule"),
        ({"schedule": "cosine(lr_flor=0.8)"}, "cosine has no argument 'lr_flor' \\(did you mean 'lr_floor'"),
        ({"schedule": "cosine(0.8)"}, "expected a name, or a name with literal arguments"),
        ({"lr_flor": 0.8}, "no parameter 'lr_flor' \\(did you mean 'lr_floor'"),
        ({"lr_floor": "high"}, "'lr_floor' must be float"),
    ],
)
def test_a_wrong_argument_of_a_choice_is_refused(tmp_path, given, message):
    declared = read_parameters(notebook(tmp_path / "n.ipynb", (CHOICES, ["parameters"])))
    with pytest.raises(InputError, match=message):
        convert_values(given, declared)
    with pytest.raises(InputError, match=message):
        settle(namespace(CHOICES, "\n".join(f"{name} = {value!r}" for name, value in given.items())))


@pytest.mark.parametrize("line", ['x: str = "a(b=c)"', 'x: str = "a(b=1) | c(b=2)"', 'x: str = "a(b={})"'])
def test_choices_that_cannot_be_read_are_refused(line):
    with pytest.raises(InputError):
        settle(namespace(line))


def test_an_argument_of_a_choice_is_set_in_any_way_and_forgotten_with_the_cell_that_set_it():
    scope = namespace(CHOICES, "lr_floor = 0.5")  # papermill by itself
    config = settle(scope)
    assert config["lr_floor"] == 0.5 and config.passed == {"lr_floor": 0.5} and config["schedule"] == "constant"
    assert scope["schedule"] == "constant" and config.arguments_of("schedule").targets == ["q_proj"]
    assert settle(scope)["lr_floor"] == 0.5  # the cell of `settle` once more
    assert settle(edited(scope, CHOICES))["lr_floor"] == 0.1  # Run All
    config = settle(edited(scope, "if steps:\n    lr_floor = 0.7\nschedule = 'cosine'"))
    assert config["lr_floor"] == 0.7 and config["schedule"] == "cosine"
    assert settle(edited(scope, CHOICES.replace("0.1", "0.2")))["lr_floor"] == 0.2
    config = settle(edited(scope, 'schedule = "cosine(lr_floor=0.3)"'))
    assert config["lr_floor"] == 0.3 and config["schedule"] == "cosine"


def test_cells_beside_the_parameters_cell_are_not_taken_for_it():
    scope = edited(namespace(), "note: str = 'mine'\nother: int = 1")
    assert settle(scope)["steps"] == 3
    config = settle(edited(scope, "rate: float = 0.1\nsteps = 5"))
    assert config["steps"] == 5 and "rate" not in config and "note" not in config  # what acts is what is kept


SETTLE_ALONE = """
import json, pathlib, sys
from lead_kit.parameters import load_notebook
notebook = load_notebook(pathlib.Path(sys.argv[1]))
cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
settle = next(place for place, cell in enumerate(cells) if "settle(globals())" in cell)
scope = {"In": [""]}
for cell in cells[: settle + 1]:
    scope["In"].append(cell)
    exec(cell, scope)
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_every_notebook_settles_before_it_imports_anything_slow(path):
    done = subprocess.run([sys.executable, "-c", SETTLE_ALONE, str(path)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    slow = {"torch", "trl", "transformers", "datasets", "pandas", "numpy", "matplotlib", "IPython"}
    assert not slow & set(json.loads(done.stdout.splitlines()[-1]))


def formula(group, *, length_alpha, wrong_reward):
    return group * length_alpha + wrong_reward


def test_bind_fixes_every_knob_and_shows_it():
    bound = bind(formula, {"length_alpha": 0.5, "wrong_reward": -1.0, "steps": 3})
    assert bound(4) == 1.0
    assert repr(bound) == "formula(length_alpha=0.5, wrong_reward=-1.0)" and bound.__name__ == "formula"
    with pytest.raises(
        InputError,
        match=r"formula needs 'length_alpha': a parameter.*did you mean 'length_alfa'",
    ):
        bind(formula, {"length_alfa": 0.5, "wrong_reward": -1.0})


def test_an_argument_given_in_the_call_goes_before_the_parameter():
    bound = select_function(
        "mine(length_alpha=2)", {"mine": formula}, "estimator", {"length_alpha": 0.5, "wrong_reward": 1.0}
    )
    assert bound(4) == 9.0


@given(st.text(max_size=40))
def test_reading_a_call_never_runs_it_and_never_breaks(text):
    try:
        name, arguments = read_call(text, "rewards")
    except InputError as error:
        assert "rewards has" in str(error)
    else:
        assert isinstance(name, str) and isinstance(arguments, dict)


def test_nearest_is_silent_when_nothing_is_near():
    assert nearest("zzz", ["steps"]) == ""


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(), st.booleans(), st.lists(st.integers()))
def test_what_is_written_as_text_reads_back_the_same(number, whole, claim, items):
    source = "f: float = 0.\ni: int = 0\nb: bool = False\nl: list[int] = []"
    scope = namespace(source, f"f = {str(number)!r}\ni = {str(whole)!r}\nb = {str(claim)!r}\nl = {json.dumps(items)!r}")
    assert settle(scope) == {"f": number, "i": whole, "b": claim, "l": items}


def test_importing_the_module_is_quick():
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    subprocess.run(
        [sys.executable, "-S", "-c", "import sys; sys.path.insert(0, '.'); import lead_kit.parameters"], check=True
    )
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 1


@pytest.mark.parametrize("end", ["\u2028", "\x85", "\x0c"])
def test_a_help_text_may_hold_any_character(tmp_path, end):
    source = f'a: int = 1  # one{end}still one\nb: str = "x"  # two\n'
    declared = read_parameters(notebook(tmp_path / "n.ipynb", (source, ["parameters"])))
    assert [declared[name].help for name in "ab"] == [f"one{end}still one", "two"]


def test_the_lines_of_a_cell_may_end_as_on_other_systems(tmp_path):
    source = "a: int = 1  # one\r\nb: int = 2  # two\rc: int = 3  # three"
    declared = read_parameters(notebook(tmp_path / "n.ipynb", (source, ["parameters"])))
    assert [parameter.help for parameter in declared.values()] == ["one", "two", "three"]


@pytest.mark.parametrize("name, value", [("run_name", "a\udcff"), ("rewards", "correct,b\udcff")])
def test_bytes_that_are_no_text_are_refused(tmp_path, name, value):
    declared = read_parameters(notebook(tmp_path / "n.ipynb", (CELL, ["parameters"])))
    with pytest.raises(InputError, match=f"parameter '{name}' must be .*: expected .*text in UTF-8"):
        convert_values({name: value}, declared)
