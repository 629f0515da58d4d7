"""Members of TRL, accelerate, transformers and others that are not their public interface, as the kit relies on them.

docs/conventions.md lists them with their users. When a new version fails here, look at those places first.
"""

import ast
import atexit
import inspect
import re
from pathlib import Path

import pytest
import sympy
import torch
import transformers

pytest.importorskip("trl")

from accelerate.commands import launch
from accelerate.state import GradientState
from trl import GRPOTrainer
from trl.generation import vllm_generation
from trl.trainer.utils import add_fused_lm_head

ROOT = Path(__file__).parents[2]
PARAMETERS = {  # those that the kit passes or overrides, in this order
    "_generate": ["self", "prompts"],
    "_generate_single_turn": ["self", "prompt_ids", "images", "multimodal_fields", "num_generations"],
    "_generate_and_score_completions": ["self", "inputs"],
    "_calculate_rewards": ["self", "inputs", "prompts", "completions", "completion_ids_list"],
    "_get_per_token_logps_and_entropies": [
        *("self", "model", "input_ids", "attention_mask", "logits_to_keep", "batch_size", "compute_entropy")
    ],
    "_get_dataloader": ["self", "dataset"],
    "_prepare_inputs": ["self", "generation_batch"],
    "_compute_loss": ["self", "model", "inputs"],
    "compute_loss": ["self", "model", "inputs", "return_outputs", "num_items_in_batch"],
    "log": ["self", "logs", "start_time"],
}
ATTRIBUTES = (
    "_metrics _logs _last_loaded_step _entropy_bonus_enabled _tokenizer use_adaptive_entropy entropy_coef "
    "vllm_generation generation_config current_gradient_accumulation_steps max_completion_length eos_token_ids"
).split()


def source(thing) -> str:
    return inspect.getsource(thing)


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_method_has_the_parameters_that_the_kit_passes(name):
    known = PARAMETERS[name]
    assert list(inspect.signature(getattr(GRPOTrainer, name)).parameters)[: len(known)] == known


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_an_attribute_is_there(name):
    assert re.search(rf"\bself\.{name}\b", source(GRPOTrainer)), name


def test_metrics_are_lists_by_mode_and_are_exchanged_through_the_trainers_accelerator():
    text = source(GRPOTrainer)
    assert 'self._metrics = {"train": defaultdict(list), "eval": defaultdict(list)}' in text
    exchanges = re.findall(r"([\w.]+)\.(?:gather|reduce)\(", source(GRPOTrainer._compute_loss))
    assert set(exchanges) == {"self.accelerator"}


def test_the_old_log_probabilities_depend_on_the_micro_batches_of_an_update():
    text = source(GRPOTrainer._generate_and_score_completions)
    assert "generate_every = self.args.steps_per_generation * self.num_iterations" in text
    assert "self.args.gradient_accumulation_steps % generate_every != 0" in text


def test_the_warning_about_rollout_func_names_it():
    assert "\"You are using 'rollout_func'" in source(GRPOTrainer.__init__)


def test_members_of_other_objects():
    assert "self._llm_weights_sleeping" in source(vllm_generation)
    assert list(inspect.signature(GradientState._set_sync_gradients).parameters) == ["self", "sync_gradients"]
    assert list(inspect.signature(add_fused_lm_head).parameters)[:2] == ["model", "temperature"]
    assert list(inspect.signature(launch._validate_launch_command).parameters) == ["args"]
    assert "self._n_gpu" in source(transformers.TrainingArguments)
    assert "self._tokenizer" in source(transformers.PreTrainedTokenizerFast)
    assert sympy.Float("1.5", 20)._prec > 60 and callable(atexit._run_exitfuncs)
    assert all(callable(getattr(torch, f"_foreach_{name}_")) for name in ("lerp", "mul", "add"))


def foreign_members(trees: list[ast.Module]) -> set[str]:
    """The names with one underscore that the kit reads or sets on an object and defines nowhere itself."""
    nodes = [node for tree in trees for node in ast.walk(tree)]
    own = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    own |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    own |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    attributes = [node for node in nodes if isinstance(node, ast.Attribute)]
    own |= {node.attr for node in attributes if isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self"}
    documented = {"_asdict", "_fields", "_replace", "_exit"}  # of named tuples, and of os
    return {node.attr for node in attributes if re.match("_[a-z]", node.attr)} - own - documented


def test_the_documentation_lists_every_private_member_with_its_users():
    texts = [(path.stem, path.read_text(encoding="utf-8")) for path in (ROOT / "lead_kit").rglob("*.py")]
    members = foreign_members([ast.parse(text) for _, text in texts])
    members |= {name for name in (*PARAMETERS, *ATTRIBUTES) if name.startswith("_")}
    used = {name: {stem for stem, text in texts if re.search(rf"\b{name}\b", text)} for name in members}
    listed = dict.fromkeys(members, set())
    rows = (ROOT / "docs/conventions.md").read_text(encoding="utf-8").partition("| member | used by |")[2]
    for names, users in re.findall(r"^\| \w+ (`.+?) \| (.+?) \|", rows, re.MULTILINE):
        for name in re.findall(r"`(\w+)`", names):
            listed[name] = listed.get(name, set()) | set(users.split(", "))
    assert listed == used
