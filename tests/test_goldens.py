"""What a redesign must not change: the plan of every recipe at every scale, and the help of every command.

`python -m tests.test_goldens` writes the files anew; a commit that changes one says why.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lead_kit import cli
from lead_kit.errors import InputError
from lead_kit.launch import recipe_model, recipes

GOLDENS = Path(__file__).parent / "goldens"
NAMES = {
    kind: sorted(p.stem for p in (recipe_model.EXPERIMENTS / kind).glob("*.yaml")) for kind in ("recipes", "scales")
}
for name in ("atlas", "atlas_robustness"):  # arms that differ by one line each, in no other way than the arms of others
    NAMES["recipes"].remove(name)


def described(job: recipes.Job, folder: str) -> tuple[str, dict[str, str]]:
    """The head of a job, and its parameters as text with the recipe's run folder left out."""
    needs = " ".join(name.removeprefix(folder) for name in job.needs)
    ranks = f"nproc {job.nproc} {job.accelerate}".strip()
    head = f"{job.name.removeprefix(folder)}: {job.notebook.stem}, {ranks}, needs [{needs}]"
    return head, {name: recipes.as_text(value).replace(folder, "") for name, value in job.parameters.items()}


def plan(recipe: str) -> str:
    """The jobs of one seed at every scale, or the sentence with which the plan is refused. Of a job's parameters only
    those stand here that differ from the earlier job that is most alike; `-name` is one that this job lacks."""
    lines, earlier = [], {}
    for scale in NAMES["scales"]:
        lines.append(f"# {scale}")
        try:
            jobs = recipes.plan(recipe, scale, seeds=[0])
        except InputError as error:
            lines.append(str(error))
            continue
        for job in jobs:
            head, values = described(job, f"{recipe}/{scale}/")
            differences = {
                like: {(n, v) for n, v in values.items() if other.get(n) != v}
                | {(f"-{n}", "") for n in {*other} - {*values}}
                for like, other in earlier.items()
                if like[1] == job.notebook
            }
            like = min(differences, key=lambda key: len(differences[key]), default=None)
            lines.append(head if like is None else f"{head}, as {like[0]} but")
            lines += [f"  {n} {v}".rstrip() for n, v in sorted(differences[like] if like else values.items())]
            earlier[f"{scale}/{head.split(':')[0]}", job.notebook] = values
    return "\n".join(lines) + "\n"


def command_help() -> str:
    """The help of `lead` and of each command, at a fixed width."""
    variables = os.environ | {"COLUMNS": "120", "NO_COLOR": "1"}
    texts = []
    for words in [[], *([name] for name in cli.lead.commands)]:
        call = [sys.executable, "-m", "lead_kit.cli", *words, "--help"]
        texts.append(subprocess.run(call, capture_output=True, text=True, env=variables, check=True).stdout)
    return "\n".join(texts)


@pytest.mark.parametrize("recipe", NAMES["recipes"])
def test_a_recipe_gives_the_same_plan_at_every_scale(recipe):
    golden = (GOLDENS / f"{recipe}.txt").read_text(encoding="utf-8")
    assert plan(recipe) == golden


@pytest.mark.slow
def test_every_command_has_the_same_help():
    assert command_help() == (GOLDENS / "help.txt").read_text(encoding="utf-8")


if __name__ == "__main__":
    for name in NAMES["recipes"]:
        (GOLDENS / f"{name}.txt").write_text(plan(name), encoding="utf-8")
    (GOLDENS / "help.txt").write_text(command_help(), encoding="utf-8")
