"""Members of TRL, accelerate and transformers that are not their public interface, as the kit relies on them.

docs/conventions.md lists them with their users. When a new version fails here, look at those places first.
"""

import inspect
import re
from pathlib import Path

import pytest

pytest.importorskip("trl")

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


def test_the_documentation_lists_every_private_member():
    table = (ROOT / "docs/conventions.md").read_text(encoding="utf-8")
    private = [name for name in (*PARAMETERS, *ATTRIBUTES) if name.startswith("_")]
    private += ["_llm_weights_sleeping", "_set_sync_gradients", "_attn_implementation"]
    assert [name for name in private if f"`{name}`" not in table] == []
