"""Every notebook runs at its defaults in a root of its own, is stripped, and declares its parameters."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from lead_kit.parameters import TYPES, load_notebook, read_parameters
from tests import small

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
TOUR_LAST = sorted(NOTEBOOKS, key=lambda path: (path.stem == "00_tour", path.stem))  # each makes the next one's input
LINES, FUNCTION_LINES = 15, 6


def code_cells(path: Path) -> list:
    return [cell for cell in load_notebook(path)["cells"] if cell["cell_type"] == "code"]


def is_parameters(cell) -> bool:
    return "parameters" in cell["metadata"].get("tags", [])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_it_is_stripped_and_short(path):
    for cell in code_cells(path):
        assert not cell["outputs"] and cell["execution_count"] is None
        if not is_parameters(cell):
            source = "".join(cell["source"])
            assert len(source.splitlines()) <= 25, source  # 15 as a rule; library arguments stand one a line
            for node in ast.walk(ast.parse(source)):
                assert not isinstance(node, ast.ClassDef)
                if isinstance(node, ast.FunctionDef):
                    assert node.end_lineno - node.lineno < FUNCTION_LINES


@pytest.mark.slow  # papermill takes seconds to import
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_papermill_reads_every_parameter_with_type_and_help(path):
    from papermill.inspection import inspect_notebook

    declared = read_parameters(path)
    read = inspect_notebook(str(path))
    assert list(read) == list(declared)
    for name, one in declared.items():
        assert one.type in TYPES and one.help, name
        if one.choices or one.argument_of:
            continue  # papermill takes the lines of a text of choices for parameters, and the last line's help for all
        assert read[name]["help"] == one.help, name
        assert read[name]["inferred_type_name"].replace(" ", "") == one.type, name


def test_the_training_notebook_has_few_parameters_and_imports():
    path = ROOT / "notebooks" / "03_grpo.ipynb"
    lines = [one for one in read_parameters(path).values() if not one.argument_of]
    nodes = [node for cell in code_cells(path) for node in ast.walk(ast.parse("".join(cell["source"])))]
    imports = [node for node in nodes if isinstance(node, ast.ImportFrom) and node.module.startswith("lead_kit")]
    assert len(lines) <= 55 and sum(len(node.names) for node in imports) <= 20


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """The repository's notebooks over an empty runs/ and figures/."""
    folder = tmp_path_factory.mktemp("root")
    for name in ("notebooks", "experiments", "pyproject.toml"):
        (folder / name).symlink_to(ROOT / name)
    return folder


@pytest.mark.slow
@pytest.mark.xdist_group("notebooks")
@pytest.mark.parametrize("path", TOUR_LAST, ids=lambda p: p.stem)
def test_it_runs_at_its_defaults(path, root, forks):
    environment = small.environment() | forks | {"LEAD_ROOT": str(root)}
    command = [sys.executable, "-m", "lead_kit.cli", "run", f"notebooks/{path.name}"]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-3000:]
    assert any(cell["outputs"] for cell in code_cells(root / "runs" / path.stem / "notebook.ipynb"))
    assert (root / "runs" / path.stem / "run.json").is_file()


@pytest.mark.slow
@pytest.mark.xdist_group("notebooks")
def test_a_check_of_03_trains_one_batch_and_tells_what_it_measured(root, forks):
    environment = small.environment() | forks | {"LEAD_ROOT": str(root)}
    command = [sys.executable, "-m", "lead_kit.cli", "check", "03_grpo", "-p", "run_name", "checked"]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-3000:]
    names = [line.split()[1] for line in done.stdout.splitlines() if line.startswith(("ok ", "look ", "stop "))]
    assert {"answer", "context", "leaks", "near", "lengths", "mixed", "reward", "cost"} <= set(names)
    written = {path.name for path in (root / "runs/checked-check").iterdir()}
    assert "rollouts" in written and not {"model", "validation"} & written
