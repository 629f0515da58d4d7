"""`lead recipe NAME --new`: a recipe that plans as it is, with every parameter of the training notebook behind a #."""

import re
import shutil

import pytest
import yaml

from lead_kit.parameters import read_parameters
from lead_kit.runs.files import ROOT
from tests.small import call

SET_BY_STAGES = {"run_name", "seed", "arm", "model", "train_data", "validation_data"}


@pytest.fixture
def root(tmp_path):
    (tmp_path / "notebooks").symlink_to(ROOT / "notebooks")
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments")
    return tmp_path


@pytest.mark.slow
def test_a_new_recipe_plans_and_lists_every_parameter_with_its_default(root):
    code, out, err = call(root, "recipe", "my_study", "--new")
    assert code == 0 and "wrote experiments/recipes/my_study.yaml" in out, err
    text = (root / "experiments/recipes/my_study.yaml").read_text()
    code, out, err = call(root, "reproduce", "my_study", "--scale", "tiny", "--seeds", "0", "--dry-run")
    assert code == 0 and "grpo: 2 runs" in out, err
    listed = yaml.safe_load(re.sub(r"(?m)^      # (\w+: )", r"      \1", text))["stages"]["grpo"]["parameters"]
    declared = read_parameters(ROOT / "notebooks" / "03_grpo.ipynb")
    assert {name: listed[name] for name in declared.keys() - SET_BY_STAGES} == {
        name: parameter.default for name, parameter in declared.items() if name not in SET_BY_STAGES
    }


@pytest.mark.parametrize("name", ["figure1", "a/b", "a b", ".."])
def test_a_name_that_is_taken_or_no_file_is_refused(root, name):
    before = sorted(root.rglob("*.yaml"))
    code, _, err = call(root, "recipe", name, "--new")
    assert code == 2 and "expected a new name" in err and sorted(root.rglob("*.yaml")) == before
