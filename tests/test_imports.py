"""Who may import whom: the arrows of the design point one way."""

import ast
import functools
import sys
from pathlib import Path

import pytest

KIT = Path(__file__).resolve().parents[1] / "lead_kit"
STANDARD = set(sys.stdlib_module_names) | {"lead_kit"}
NUMERIC = {"numpy", "scipy", "torch", "sympy", "math_verify", "latex2sympy2_extended"}
FRAMES = {"datasets", "pandas", "matplotlib", "wandb", "numpy", "pyarrow", "yaml", "tqdm"}
MODELS = {"transformers", "trl", "tokenizers", "peft", "accelerate", "vllm", "unsloth", "safetensors"}
PURE = ["advantages", "metrics", "stats", "params", "prompts", "arithmetic"]
LATE = {"vllm", "unsloth", "wandb", "flash_attn"}  # imported where they are used, as few have them
KERNEL_SIDE = {"torch", "transformers", "trl", "datasets", "pandas", "matplotlib", "papermill", "snakemake"}


@functools.cache
def parsed(path):
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def imports(path, inside=False):
    """Top-level packages that a module imports: everywhere (`inside`), or only when it is itself imported."""
    tree = parsed(path)
    nodes = ast.walk(tree) if inside else tree.body
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module.split(".")[0])
    return found


@functools.cache
def kit_imports(path):
    """Modules of the kit that a module imports at its top."""
    found = set()
    for node in parsed(path).body:
        if isinstance(node, ast.ImportFrom) and node.module == "lead_kit":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module.startswith("lead_kit."):
            found.add(node.module.split(".")[1])
    return found


def module(name):
    path = KIT / f"{name}.py"
    return path if path.is_file() else KIT / name / "__init__.py"


def reach(name):
    """Everything of the kit that importing a module brings in."""
    seen, todo = set(), {name}
    while todo:
        seen.add(one := todo.pop())
        todo |= {m for m in kit_imports(module(one)) if module(m).is_file()} - seen
    return seen


@pytest.mark.parametrize("name", PURE)
def test_pure_modules_need_numbers_only(name):
    assert imports(module(name), inside=True) <= STANDARD | NUMERIC


@pytest.mark.parametrize("name", PURE)
def test_pure_modules_reach_no_side_effects(name):
    assert not reach(name) & {"runs", "record", "supervisor", "trainer", "plots", "ledger", "models", "sample"}


def test_rewards_see_the_verifier_and_no_model():
    assert imports(module("rewards"), inside=True) <= STANDARD | NUMERIC
    assert not reach("rewards") & {"trainer", "models", "sample", "advantages", "runs"}


@pytest.mark.parametrize("name", ["data", "runs", "record", "plots", "ledger", "tracking", "provenance"])
def test_tables_and_files_need_no_model(name):
    assert imports(module(name), inside=True) <= STANDARD | FRAMES


def test_engines_that_few_have_are_imported_where_they_are_used():
    for path in KIT.rglob("*.py"):
        assert not imports(path) & LATE, path.name


def test_the_command_line_loads_nothing_heavy():
    for name in reach("cli") | reach("supervisor") | reach("reproduce"):
        assert not imports(module(name)) & KERNEL_SIDE, name


def test_only_plots_touches_matplotlib():
    users = {p.stem for p in KIT.rglob("*.py") if "matplotlib" in imports(p, inside=True)}
    assert users <= {"plots"}


def test_arrows_make_no_circle():
    for path in KIT.glob("*.py"):
        for name in kit_imports(path):
            if module(name).is_file():
                assert path.stem not in reach(name), f"{path.stem} ↔ {name}"


def test_nothing_is_imported_by_star_or_relatively():
    for path in KIT.rglob("*.py"):
        for node in ast.walk(parsed(path)):
            assert not (isinstance(node, ast.ImportFrom) and (node.level or node.names[0].name == "*")), path.name


def test_every_import_is_required_or_optional():
    installed = STANDARD | NUMERIC | FRAMES | MODELS | LATE
    installed |= {"psutil", "papermill", "nbclient", "jupyter_client", "requests", "httpx", "nbformat", "IPython"}
    for path in KIT.rglob("*.py"):
        assert imports(path, inside=True) <= installed, path.name
