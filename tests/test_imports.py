"""Who may import whom: the table of the ten wings, imports inside functions included."""

import ast
import functools
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
KIT = ROOT / "lead_kit"
AT_THE_ROOT = {"__init__", "cli", "errors", "parameters", "safe_text"}
MAY_IMPORT = {  # wing: the wings it may import, beside the root
    "verify": set(),
    "method": {"verify"},
    "runs": set(),
    "data": {"verify", "runs"},
    "models": {"data", "runs"},
    "train": {"models", "method", "data", "runs", "verify"},
    "evaluate": {"models", "method", "verify", "data", "runs"},
    "report": {"evaluate", "data", "runs"},
    "replay": {"report", "evaluate", "method", "verify", "data", "runs"},
    "launch": {"runs", "method", "train", "data"},  # batch sizes and named sets, so that a plan asks what its runs ask
}
STANDARD = set(sys.stdlib_module_names) | {"lead_kit"}
NUMERIC = {"numpy", "scipy", "torch", "sympy", "math_verify", "latex2sympy2_extended"}
FRAMES = {"datasets", "pandas", "matplotlib", "wandb", "numpy", "pyarrow", "yaml", "tqdm"}
MODELS = {"transformers", "trl", "tokenizers", "peft", "accelerate", "vllm", "unsloth", "safetensors"}
PURE = ["method", "evaluate/metrics", "evaluate/stats", "parameters", "errors", "data/prompts", "data/arithmetic"]
DOCUMENT = {"ipywidgets", "mistune", "bleach", "latex2mathml", "pygments"}  # for those who read a run
LATE = {
    "vllm",
    "unsloth",
    "wandb",
    "flash_attn",
    "gguf",
    "huggingface_hub",
    "trackio",
    "itables",
    "mlflow",
    "PIL",
}  # imported where used: few have them
HEAVY = {"torch", "transformers", "trl", "datasets", "pandas", "matplotlib", "papermill", "snakemake"}
FILES = sorted(KIT.rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(KIT).with_suffix("").as_posix()


def wing_of(module: str) -> str:
    """The wing of `lead_kit.WING.…`; empty for a module at the root."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and (KIT / parts[1]).is_dir() else ""


@functools.cache
def parsed(path):
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def imports(path, inside=True):
    """Full names of imported modules: everywhere, or (inside=False) only those imported when the module is."""
    found = set()
    for node in ast.walk(parsed(path)) if inside else parsed(path).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def packages(path, inside=True):
    return {module.split(".")[0] for module in imports(path, inside)}


def file_of(module: str) -> Path | None:
    """The file behind `lead_kit.a.b` or `lead_kit.a.b.name`."""
    for parts in (module.split(".")[1:], module.split(".")[1:-1]):
        for path in (KIT.joinpath(*parts).with_suffix(".py"), KIT.joinpath(*parts, "__init__.py")):
            if parts and path.is_file():
                return path
    return None


def reach(path: Path) -> set[Path]:
    """Every file of the kit that importing this one brings in."""
    seen, todo = set(), {path}
    while todo:
        seen.add(one := todo.pop())
        inner = {file_of(m) for m in imports(one, inside=False) if m.startswith("lead_kit.")}
        todo |= {file for file in inner if file} - seen
    return seen


def test_the_root_holds_five_files_and_ten_wings():
    assert {path.stem for path in KIT.glob("*.py")} == AT_THE_ROOT
    assert {path.name for path in KIT.iterdir() if path.is_dir() and path.name != "__pycache__"} == set(MAY_IMPORT)


@pytest.mark.parametrize("wing", MAY_IMPORT)
def test_imports_go_downwards_only(wing):
    for path in sorted((KIT / wing).rglob("*.py")):
        used = {wing_of(module) for module in imports(path) if module.startswith("lead_kit.")}
        assert used - {"", wing} <= MAY_IMPORT[wing], name_of(path)
        assert not any(module.startswith("lead_kit.cli") for module in imports(path)), name_of(path)


def test_the_method_sees_the_verdict_type_and_nothing_else_of_the_verifier():
    used = {m for path in (KIT / "method").glob("*.py") for m in imports(path) if m.startswith("lead_kit.verify")}
    assert used <= {"lead_kit.verify.verdict.Verdict"}


def test_the_root_imports_no_wing_when_it_is_imported():
    for path in KIT.glob("*.py"):
        assert not {wing_of(m) for m in imports(path, inside=False) if m.startswith("lead_kit.")} - {""}, name_of(path)


@pytest.mark.parametrize("name", PURE)
def test_pure_modules_need_numbers_only(name):
    for path in [KIT / f"{name}.py"] if (KIT / f"{name}.py").is_file() else sorted((KIT / name).glob("*.py")):
        assert packages(path) <= STANDARD | NUMERIC, name_of(path)


@pytest.mark.parametrize("wing", ["data", "runs", "report"])
def test_tables_and_files_need_no_model(wing):
    others = {"scipy", "IPython", "filelock", "pydantic", "safetensors", *LATE} - {"vllm", "unsloth"}
    allowed = STANDARD | FRAMES | DOCUMENT | others
    for path in sorted((KIT / wing).glob("*.py")):
        writer = {"torch"} if name_of(path) == "runs/trackers" else set()  # torch has the writer of TensorBoard's files
        assert packages(path) <= allowed | writer, name_of(path)


def test_engines_that_few_have_are_imported_where_they_are_used():
    for path in FILES:
        assert not packages(path, inside=False) & LATE, name_of(path)


def test_the_command_line_loads_nothing_heavy():
    for start in ("cli", "launch/run_notebook", "launch/run_recipe"):
        for path in reach(KIT / f"{start}.py"):
            assert not packages(path, inside=False) & HEAVY, name_of(path)


def test_only_the_figures_touch_matplotlib():
    users = {name_of(path) for path in FILES if "matplotlib" in packages(path)}
    files = {"style", "training_figures", "evaluation_figures", "atlas"}
    assert users <= {"replay/figures", *(f"report/{name}" for name in files)}


def test_arrows_make_no_circle():
    for path in FILES:
        for module in imports(path, inside=False):
            used = file_of(module) if module.startswith("lead_kit.") else None
            if used and used != path and used.name != "__init__.py":
                assert path not in reach(used), f"{name_of(path)} ↔ {module}"


def test_nothing_is_imported_by_star_or_relatively():
    for path in FILES:
        for node in ast.walk(parsed(path)):
            assert not (isinstance(node, ast.ImportFrom) and (node.level or node.names[0].name == "*")), name_of(path)


def test_every_import_is_required_or_optional():
    installed = STANDARD | NUMERIC | FRAMES | MODELS | LATE | DOCUMENT
    installed |= {
        "filelock",
        "huggingface_hub",
        "psutil",
        "click",
        "jinja2",
        "pydantic",
        "papermill",
        "nbclient",
        "jupyter_client",
        "ipykernel",
        "requests",
        "httpx",
        "nbformat",
        "IPython",
    }
    for path in FILES:
        assert packages(path) <= installed, name_of(path)
