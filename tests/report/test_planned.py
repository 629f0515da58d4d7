"""The planned block of a recipe, the runs that kept it, and what the table says about it."""

import json

import pytest

from lead_kit.errors import InputError
from lead_kit.launch import recipe_model
from lead_kit.report import planned
from lead_kit.runs import files, manifest
from lead_kit.runs.files import write_text

RECIPE = """
title: t
planned: {{question: "Is it better?", primary: "{primary}", difference: "p < .05.", date: 2026-01-02, chosen: {chosen}}}
arms: {{a: {{}}, b: {{}}}}
stages: {{x: {{notebook: 01_preprocess}}}}
"""


def recipe(monkeypatch, folder, primary="final Pass@1: b − a", chosen="before the runs"):
    write_text(folder / "recipes" / "own.yaml", RECIPE.format(primary=primary, chosen=chosen))
    monkeypatch.setattr(recipe_model, "EXPERIMENTS", folder)
    return recipe_model.load_recipe("own")


def kept(folder, name, block):
    write_text(folder / name / "run.json", json.dumps({"parameters": {}} | ({"planned": block} if block else {})))
    return str(folder / name)


def test_a_block_has_the_hash_of_its_content(monkeypatch, tmp_path):
    first = recipe(monkeypatch, tmp_path).planned.record()
    again = recipe(monkeypatch, tmp_path).planned.record()
    later = recipe(monkeypatch, tmp_path, chosen="after a pilot").planned.record()
    assert first == again and first["date"] == "2026-01-02" and len(first["hash"]) == 12
    assert later["hash"] != first["hash"]


@pytest.mark.parametrize(
    "primary, sentence",
    [
        ("final Pass@1: c − a", "no 'c' here"),
        ("final Pass@1", r"'final Pass@1' \(METRIC: LATER − EARLIER\): no '' here"),
    ],
)
def test_a_comparison_of_unknown_arms_is_refused(monkeypatch, tmp_path, primary, sentence):
    with pytest.raises(InputError, match=sentence):
        recipe(monkeypatch, tmp_path, primary)


def test_a_run_keeps_the_plan_with_which_it_began(monkeypatch, tmp_path):
    monkeypatch.setattr(manifest, "RUNS", tmp_path)
    monkeypatch.setattr(manifest, "check_not_replaced", lambda folder: None)
    block = recipe(monkeypatch, tmp_path).planned
    folder = tmp_path / "own/tiny/a"
    folder.mkdir(parents=True)
    write_text(folder.parent / "planned.json", json.dumps(block.record()))
    notebook = files.ROOT / "notebooks" / "03_grpo.ipynb"
    assert manifest.open_attempt(folder, {"run_name": "a"}, {}, notebook)["planned"] == block.record()
    changed = recipe(monkeypatch, tmp_path, chosen="after a pilot").planned
    write_text(folder.parent / "planned.json", json.dumps(changed.record()))
    assert manifest.open_attempt(folder, {"run_name": "a"}, {}, notebook)["planned"] == block.record()


def test_only_runs_that_kept_a_plan_were_planned_by_it(monkeypatch, tmp_path):
    block = recipe(monkeypatch, tmp_path).planned.record()
    runs = [kept(tmp_path, "a", block), kept(tmp_path, "b", block)]
    plan = planned.plan_of_runs(runs)
    assert plan.primary == "final Pass@1: b − a" and "registered before the runs; 2 of 2 runs kept" in plan.source
    plan = planned.plan_of_runs([*runs, kept(tmp_path, "c", None)])
    assert "registered" not in plan.source and "2 of 3 runs kept this plan" in plan.source
    assert "0 of 1 runs kept" in planned.plan_of_runs([kept(tmp_path, "c", None)], block=block).source
    pilot = recipe(monkeypatch, tmp_path, chosen="after a pilot").planned.record()
    assert "chosen after a pilot; 1 of 1" in planned.plan_of_runs([kept(tmp_path, "d", pilot)]).source


def test_runs_of_two_plans_need_a_choice_and_runs_of_none_have_none(monkeypatch, tmp_path):
    one = recipe(monkeypatch, tmp_path).planned.record()
    other = recipe(monkeypatch, tmp_path, chosen="after a pilot").planned.record()
    runs = [kept(tmp_path, "a", one), kept(tmp_path, "b", other)]
    with pytest.raises(InputError, match="planned differently"):
        planned.plan_of_runs(runs)
    plan = planned.plan_of_runs(runs, ["x: b − a", "y: b − a"])
    assert plan[:2] == ("x: b − a", ["y: b − a"]) and "in no recipe" in plan.source
    assert planned.plan_of_runs([kept(tmp_path, "c", None)]) == planned.Plan()
