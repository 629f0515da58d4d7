"""`lead card` and `lead push`: a run's model card, and its upload to the hub with the model that the run trained."""

import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from lead_kit.errors import InputError
from lead_kit.parameters import SECRET_VALUE
from lead_kit.report.export_run import summary_card
from lead_kit.runs.files import resolve, shown, write_text
from lead_kit.runs.find import recorded_run
from lead_kit.runs.manifest import read_manifest

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_WEIGHTS = (".safetensors", ".bin", ".gguf")  # files that are not searched for secrets
_LIMITS = """\
- One training run with one seed: another seed gives other numbers. Intervals are over problems of this validation.
- Answers were graded by lead_kit's verifier, which reads the boxed answer and not the reasoning.
- Nothing was measured beyond these problems. The license of the base model and of the data holds.
"""


def card_command(run: str) -> None:
    """Writes README.md into the folder of a run. Raises InputError without a run."""
    folder = recorded_run(run)
    print(shown(write_text(folder / "README.md", model_card(folder))))


def model_card(folder: Path) -> str:
    """The card of a run: metadata as the hub reads it, then method, data, code, results with intervals, and limits."""
    origins = list(_origins(folder))
    parameters = origins[0]
    base = [values["model"] for values in origins if _HUB_ID.fullmatch(str(values.get("model", "")))]
    sources = [str(values.get("dataset", "")).partition(":")[0] for values in origins]
    method = {"estimator": parameters.get("estimator"), "rewards": ", ".join(parameters.get("rewards", []))}
    tags = ["lead_kit", "math", *(["grpo", "reinforcement-learning"] if method["estimator"] else [])]
    head = {"library_name": "transformers", "pipeline_tag": "text-generation", "tags": tags, "metrics": ["accuracy"]}
    head |= {"base_model": base[:1]} if base else {}
    head |= {"datasets": hub} if (hub := [name for name in dict.fromkeys(sources) if _HUB_ID.fullmatch(name)]) else {}
    lines = [f"- {name}: `{value}`" for name, value in method.items() if value]
    parts = {"Method": "\n".join(lines) + "\n"} if lines else {}
    parts |= summary_card(folder) | {"Limits": _LIMITS}
    text = "\n".join(f"## {title}\n{content}" for title, content in parts.items())
    return f"---\n{yaml.safe_dump(head, sort_keys=False)}---\n# {folder.name}\n\n{text}"


def _origins(folder: Path) -> Iterator[dict]:
    """The parameters of a run, then those of the runs that made its model and its data."""
    seen, todo = set(), [folder]
    while todo:
        run = todo.pop(0)
        if run not in seen and (run / "run.json").is_file():
            seen.add(run)
            yield (parameters := read_manifest(run)["parameters"])
            todo += [resolve(parameters[name]).parent for name in ("model", "train_data") if parameters.get(name)]


def push_command(run: str, repo: str, yes: bool = False) -> None:
    """Prints the files of a run's card and model with their bytes; with `yes` uploads them to a private repository.

    The hub's library reads the token. Raises InputError for a missing file, and for one that holds a key or password.
    """
    folder = recorded_run(run)
    files = {path.relative_to(folder / "model").as_posix(): path for path in (folder / "model").rglob("*")}
    files = {"README.md": folder / "README.md"} | {name: path for name, path in sorted(files.items()) if path.is_file()}
    if len(files) == 1 or not files["README.md"].is_file():
        raise InputError(f"{shown(folder)} has no model/, or no README.md: `lead card {run}` writes it")
    for name, path in files.items():
        if path.suffix not in _WEIGHTS and SECRET_VALUE.search(path.read_text("utf-8", "replace")):
            raise InputError(f"{shown(path)} holds what looks like a key or password, so nothing was uploaded")
        print(f"{path.stat().st_size:>14,}  {name}")
    if not yes:
        print(f"nothing was uploaded; --yes uploads these {len(files)} files to {repo}, which is private if it is new")
        return
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError

    additions = [CommitOperationAdd(name, str(path)) for name, path in files.items()]
    try:
        HfApi().create_repo(repo, private=True, exist_ok=True)
        HfApi().create_commit(repo, additions, commit_message=f"The model of {folder.name}")
    except (HfHubHTTPError, OSError, ValueError) as error:
        kind = type(error).__name__
        raise InputError(f"the hub did not take the files ({kind}): check repository, token and network") from None
    print(f"uploaded to {repo}")
