"""Loads problems by name: a set of the hub, a local file, or an embedded task. lead_kit.data.clean filters them."""

from pathlib import Path
from random import Random

from lead_kit.data import arithmetic, reasoning_gym, word_problems
from lead_kit.data.files import read_rows
from lead_kit.data.named_sets import SETS, SUFFIXES, SUITES, Source
from lead_kit.data.normalise_rows import records
from lead_kit.errors import InputError, nearest
from lead_kit.runs.paths import resolve

EMBEDDED = {"arithmetic": arithmetic, "words": word_problems}


def load_problems(
    name: str | Path,
    path: str | Path = "",
    split: str = "",
    fields: dict[str, str] | None = None,
    count: int = 0,
    seed: int = 0,
    weights: list[float] | None = None,
    exclude: frozenset[str] = frozenset(),
    need_gold: bool = True,
) -> list[dict]:
    """Records of the set `name`, or of the file `path` read as that set; `name` may itself be a file.

    `fields` maps roles (ROLES) to columns that do not have a common name. `seed` orders the options of multiple-choice
    questions. `count`, `weights` and `exclude` (texts) apply only to the drawn sets (EMBEDDED and reasoning_gym, which
    has no weights), which may repeat a problem unless the split is "validation". With need_gold=False a missing answer
    is left empty.
    Raises InputError for an unknown name, a missing or malformed file, or a row without problem or answer.
    """
    if _is_drawn(name) and not path:
        if count < 1:
            raise InputError(f"count is {count}: expected how many problems of {name} to draw")
        if reasoning_gym.is_gym(name):
            return reasoning_gym.draw(
                str(name), count, f"{split or 'train'}-{seed}", exclude, distinct=split == "validation"
            )
        return drawn(str(name), split or "train", count, seed, weights, exclude)
    if is_data_file(name):
        name, path = Path(name).stem, path or name
    if name in SUITES:
        raise InputError(f"{name} is the sets {', '.join(SUITES[name])}: expected one of them here")
    if not path and name not in SETS:
        names = [*SETS, *SUITES]
        expected = f"expected a {', '.join(SUFFIXES)} file or one of {', '.join(names)}{nearest(str(name), names)}"
        raise InputError(f"no data set {str(name)!r}: {expected}")
    source = SETS.get(str(name))
    rows, where = (read_rows(path), str(path)) if path else (hub_rows(source, split), source.hub)
    if not rows:
        raise InputError(f"{where} has no rows")
    return records(rows, str(name), source, fields or {}, where, seed, need_gold)


def _is_drawn(name: str | Path) -> bool:
    """Whether the problems of this set are drawn at random: an embedded task, or a data set of reasoning_gym."""
    return str(name) in EMBEDDED or reasoning_gym.is_gym(name)


def is_data_file(name: str | Path) -> bool:
    """Whether the name ends like a data file and so is a path, not the name of a set."""
    return Path(name).suffix in SUFFIXES


def expand_names(names: list[str]) -> dict[str, str]:
    """Short name → set or file; that of a file is its stem.

    A folder stands for all data files in it, the name of a suite (SUITES) for its sets.
    """
    by_short_name = {}
    for name in [member for given in names for member in SUITES.get(given, (given,))]:
        folder = resolve(name)
        is_folder = name not in SETS and folder.is_dir()
        files = [p for p in sorted(folder.iterdir()) if is_data_file(p)] if is_folder else [name]
        for file in map(str, files):
            short = Path(file).stem if is_data_file(file) else file
            by_short_name[file if short in by_short_name else short] = file
    return by_short_name


def drawn(name: str, split: str, count: int, seed: int, weights: list[float] | None, exclude: frozenset) -> list[dict]:
    """Embedded problems: mostly easy ones that may repeat for training; distinct, uniform ones for validation."""
    task, held_out = EMBEDDED[name], split == "validation"
    weights = (weights or (task.UNIFORM if held_out else arithmetic.EASY_HEAVY))[: task.MAX_STEPS]
    try:
        # the split is part of the seed: equal seeds would draw the same problems for both
        return task.draw(count, f"{split}-{seed}", weights, exclude=exclude, distinct=held_out)
    except ValueError as error:
        raise InputError(f"{name}: {error}") from None


def with_traces(records: list[dict], seed: int, **dials: float) -> list[dict]:
    """Embedded problems, each with one worked solution of its task's noisy teacher, by the dials of its `trace`."""
    rng = Random(f"traces-{seed}")
    return [r | {"solution": EMBEDDED[r["source"]].trace(r["problem"], rng, **dials)} for r in records]


def hub_rows(source: Source, split: str) -> list[dict]:
    """The rows of a hub set, with the columns that its records need."""
    if not source.hub:
        raise InputError(f"this set is not on the hub: give data_path, a copy of {source.files}")
    # imported here: it takes five seconds, and a local file does not need it
    from datasets import concatenate_datasets, load_dataset

    files, part = source.files or None, split or source.split
    try:
        parts = [load_dataset(source.hub, c or None, split=part, data_files=files) for c in source.config.split(",")]
    except (OSError, ValueError) as error:
        first = str(error).split("\n")[0]
        raise InputError(f"cannot load {source.hub} from the hub ({first}); data_path may name a local copy") from None
    rows = concatenate_datasets(parts)
    named = [source.problem, source.gold, source.solution, source.level, source.id, *source.wrong, *source.keep]
    wanted = {column.split(".")[0] for column in named if column} & set(rows.column_names)
    return list(rows.select_columns(sorted(wanted)) if source.problem else rows)
