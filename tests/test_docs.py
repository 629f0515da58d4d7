"""What README, docs and notebooks print works: commands, links, files, and README's own reward."""

import re
import shlex
from pathlib import Path

import pytest

from lead_kit import cli
from lead_kit.launch import recipe_model, recipes, run_notebook, sweep
from lead_kit.method.rewards import Rollout, bind_rewards
from lead_kit.parameters import convert_values, load_notebook, read_parameters
from lead_kit.runs import files, user_code
from lead_kit.verify.verdict import Verdict
from tests.small import parsed

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def texts():
    """(where, text) of every page and of every markdown cell."""
    for page in PAGES:
        yield page.name, page.read_text(encoding="utf-8")
    for path in NOTEBOOKS:
        cells = [cell for cell in load_notebook(path)["cells"] if cell["cell_type"] == "markdown"]
        yield path.name, "\n".join("".join(cell["source"]) for cell in cells)


def commands():
    """Every `lead …` or `make …` that stands in a fenced block or between backticks."""
    for where, text in texts():
        fenced = "\n".join(re.findall(r"^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL)).splitlines()
        inline = re.findall(r"`((?:lead|make) [^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))
        for line in [*fenced, *inline]:
            if line.startswith(("lead ", "make ")):
                yield pytest.param(line, id=f"{where}: {line[:60]}")


@pytest.mark.parametrize("line", commands())
def test_a_printed_command_is_accepted(line):
    program, *words = shlex.split(line, comments=True)
    if program == "make":
        assert words[0] in TARGETS
        return
    if len(words) == 1 and words[0] in cli.lead.commands and words[0] not in ("list",):
        return  # the bare name of a command, in a sentence
    options = parsed(words)
    if words[0] == "run":
        convert_values(options["parameters"], read_parameters(run_notebook.find_notebook(options["notebook"])))
    if words[0] == "recipe" and not options["new"]:
        recipe_model.load_recipe(options["name"])
    if words[0] == "sweep":
        made = sweep.make_recipe(*(options[name] for name in ("notebook", "parameters", "recipe")))
        assert recipes.plan(made[0], options["scale_name"], made=made[1])
    if words[0] == "reproduce":
        assert recipes.plan(options["recipe"], options["scale_name"])


def test_the_readme_activates_the_environment_and_makes_the_runs_that_it_compares():
    blocks = re.findall(r"^```\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("lead "))
    assert "source .venv/bin/activate" in lines[:first]
    compared = next(number for number, line in enumerate(lines) if line.startswith("lead compare"))
    made = [parsed(shlex.split(line)[1:]) for line in lines[:compared] if line.startswith("lead run")]
    runs = {f"runs/{run['parameters'].get('run_name', Path(run['notebook']).stem)}" for run in made}
    assert set(shlex.split(lines[compared])[2:]) <= runs


def test_no_page_names_a_path_that_only_its_writers_have():
    for where, text in texts():
        assert "../" not in re.sub(r"\]\(\.\./", "](", text), where


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert target.startswith("http") or (page.parent / target).exists(), target


@pytest.mark.parametrize("page", [ROOT / "CONTRIBUTING.md", *PAGES], ids=lambda p: p.name)
def test_files_that_a_page_names_are_there(page):
    """Bare names of files, names in capitals and files that a run would write are left out."""
    paths = re.findall(r"`((?:lead_kit|tests|bench|experiments|notebooks|docs)/[^`*]+\.\w+)`", page.read_text())
    assert [path for path in paths if not (ROOT / path).exists() and "NAME" not in path] == []


def test_a_table_of_contributing_is_in_the_file_that_its_row_names():
    rows = re.findall(r"^\| an? [\w ]+ \|(.+?)\|.+\|$", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    for row in rows:
        sources = "".join((ROOT / path).read_text() for path in re.findall(r"`(lead_kit/[\w/]+\.py)`", row))
        for table in re.findall(r"`(_?[A-Z]{4,})`", row):
            assert re.search(rf"^{table} = ", sources, re.MULTILINE), table
    assert len(rows) >= 12


def test_the_map_names_every_wing():
    wings = {path.name for path in (ROOT / "lead_kit").iterdir() if (path / "__init__.py").is_file()}
    assert set(re.findall(r"^\| `(\w+)/` \|", (ROOT / "README.md").read_text(), re.MULTILINE)) == wings


def test_the_reward_of_the_readme_works_from_a_file(tmp_path, monkeypatch):
    for module in (user_code, files):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    source = re.search(r"```python\n(def brief.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[1]
    (tmp_path / "my_rewards.py").write_text(source)

    class Noted:
        files = []

        def input(self, path):
            self.files.append(path)
            return path

        def keep_source(self, name, source, origin):
            self.kept = name, source

    names = ["correct", "my_rewards.py:brief(limit=20)"]
    table = bind_rewards(names, user_code.user_functions(names, Noted()))
    verdict = Verdict("correct", "2", "", "same")
    paid = [table["brief"](Rollout("1+1?", "2", "2", length, False, verdict)) for length in (20, 21)]
    assert paid == [1.0, 0.0] and Noted.files == [tmp_path / "my_rewards.py"]


@pytest.mark.parametrize("scale, runs", [("tiny", 14), ("smoke", 6), ("1x80gb", 5)])
def test_the_recipe_that_the_docs_explain_has_a_plan(scale, runs, tmp_path, monkeypatch):
    text = (ROOT / "docs/recipes.md").read_text(encoding="utf-8")
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes/study.yaml").write_text(re.search(r"^```yaml\n(.*?)^```", text, re.M | re.S)[1])
    (tmp_path / "scales").symlink_to(ROOT / "experiments/scales")
    monkeypatch.setattr(recipe_model, "EXPERIMENTS", tmp_path)
    jobs = recipes.plan("study", scale)
    assert len(jobs) == runs and {job.arm for job in jobs} == {None, "grpo", "short"}
    steps = {job.parameters["steps"] for job in jobs if job.stage == "grpo"}
    assert steps == {{"tiny": 50, "smoke": 2, "1x80gb": 100}[scale]}


def test_the_site_has_every_page_of_the_documentation():
    listed = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert [path.name for path in (ROOT / "docs").glob("*.md") if f"docs/{path.name}" not in listed] == []
