"""The size of the house: lines, files, public names and words of lead_kit, wing by wing.

A limit is raised only in the commit that adds what an issue asks for, with the reason. `python -m tests.test_house`
prints the sizes, and so does each failure.
"""

import ast
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
KIT = ROOT / "lead_kit"
# wing: the most lines, files and public names; "" is the root of the package
LIMITS = {
    "": (795, 5, 29),
    "verify": (3500, 16, 95),
    "method": (1310, 8, 114),
    "runs": (1565, 12, 81),
    "data": (1470, 8, 70),
    "models": (1440, 7, 50),
    "train": (2428, 13, 70),
    "evaluate": (1180, 7, 66),
    "report": (2590, 16, 120),
    "replay": (1450, 9, 60),
    "launch": (2545, 14, 84),
}
LINES_WITHOUT_VERIFY, FILES, NAMES = 16_740, 115, 824
SHORTEST, LONGEST = 40, 600  # lines of a file
FUNCTION_LINES, PARAMETERS = 50, 10
SHORT = {  # a file under 40 lines: the reason
    "verify/answer_types.py": "the kinds of answer, a line each",
    "verify/verdict.py": "the type that the method may import without the verifier",
}
# words that say nothing of what they name; as functions, classes, files, parameters and assigned variables
FORBIDDEN = {"found", "told", "one", "own", "place", "at", "whole", "given", "said", "beside", "apart", "news", "room"}


def wing_of(path: Path) -> str:
    return path.relative_to(KIT).parts[0] if path.parent != KIT else ""


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def public_names(path: Path) -> list[str]:
    """The functions, classes and constants at the top level of a module whose names have no underscore in front."""
    names = []
    for node in parsed(path).body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names += [target.id for target in targets if isinstance(target, ast.Name)]
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.append(node.name)
    return [name for name in names if not name.startswith("_")]


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(parsed(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def lines_of(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def sizes() -> dict[str, tuple[int, int, int, float, int]]:
    """Lines, files, public names, median and longest function of each wing."""
    table = {}
    for wing in sorted({wing_of(path) for path in KIT.rglob("*.py")}):
        files = [path for path in KIT.rglob("*.py") if wing_of(path) == wing]
        lengths = [f.end_lineno - f.lineno + 1 for path in files for f in functions(path)] or [0]
        names = sum(len(public_names(path)) for path in files)
        table[wing] = (sum(map(lines_of, files)), len(files), names, statistics.median(lengths), max(lengths))
    return table


def printed() -> str:
    """The sizes as a table."""
    rows = [f"{'wing':10}{'lines':>7}{'files':>7}{'names':>7}{'median':>8}{'longest':>9}"]
    for wing, (lines, files, names, median, longest) in sizes().items():
        rows.append(f"{wing or 'root':10}{lines:7}{files:7}{names:7}{median:8g}{longest:9}")
    return "\n".join(rows)


@pytest.mark.parametrize("wing", LIMITS, ids=lambda wing: wing or "root")
def test_a_wing_is_within_its_limits(wing):
    lines, files, names, _, _ = sizes()[wing]
    assert all(size <= limit for size, limit in zip((lines, files, names), LIMITS[wing], strict=True)), printed()


def test_the_kit_is_small():
    table = sizes()
    assert set(table) == set(LIMITS)
    assert sum(lines for wing, (lines, *_) in table.items() if wing != "verify") <= LINES_WITHOUT_VERIFY, printed()
    assert sum(files for _, files, *_ in table.values()) <= FILES, printed()
    assert sum(names for _, _, names, *_ in table.values()) <= NAMES, printed()


def test_a_file_holds_one_idea():
    for path in sorted(KIT.rglob("*.py")):
        lines = lines_of(path)
        assert lines <= LONGEST, path
        assert lines >= SHORTEST or path.name == "__init__.py" or path.relative_to(KIT).as_posix() in SHORT, path


def test_a_function_is_short():
    for path in [*KIT.rglob("*.py"), *(ROOT / "tests").rglob("*.py"), *(ROOT / "bench").glob("*.py")]:
        assert lines_of(path) <= LONGEST, path
        for function in functions(path):
            assert function.end_lineno - function.lineno <= FUNCTION_LINES, f"{path}: {function.name}"
            arguments = function.args.posonlyargs + function.args.args + function.args.kwonlyargs
            assert len(arguments) <= PARAMETERS, f"{path}: {function.name}"


def empty_words(path: Path) -> set[str]:
    """The forbidden words that a module defines or assigns, variables of comprehensions aside."""
    nodes = list(ast.walk(parsed(path)))
    loops = [node.target for node in nodes if isinstance(node, ast.comprehension)]
    inside = {id(name) for target in loops for name in ast.walk(target)}
    names = {path.stem}
    for node in nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and id(node) not in inside:
            names.add(node.id)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
    return {name.strip("_") for name in names} & FORBIDDEN


def test_no_name_is_an_empty_word():
    words = {path.relative_to(KIT).as_posix(): empty_words(path) for path in sorted(KIT.rglob("*.py"))}
    assert not {path: names for path, names in words.items() if names}


if __name__ == "__main__":
    print(printed())
