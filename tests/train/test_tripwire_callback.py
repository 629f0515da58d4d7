"""A training that shows signs of failing says so, or stops with a checkpoint from which it can go on."""

import pytest

from bench import small_trainer
from lead_kit.errors import InputError
from lead_kit.models.loading import save_model
from lead_kit.models.tiny_models import embedded_model
from lead_kit.runs.checkpoints import latest_checkpoint
from lead_kit.runs.files import read_jsonl
from lead_kit.train.callbacks import TripwireCallback
from lead_kit.train.validation import Validation

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    return save_untrained(tmp_path_factory.mktemp("untrained"))


def save_untrained(folder):
    save_model(*embedded_model("tiny", seed=0), folder)
    return folder


def watched(untrained, out, action, **others):
    """A trainer whose answers are all cut off after two tokens, with its watch."""
    watch = TripwireCallback(action, Validation([], max_tokens=1, temperature=1.0, every=0, samples=0, seed=0))
    cut = {"machine": {"max_completion_length": 2}, "callbacks": [watch], "steps": 4}
    watch.trainer = small_trainer.trainer(untrained, out, **cut | others)
    return watch


def test_stop_ends_the_training_with_a_checkpoint_that_can_be_resumed(untrained, tmp_path):
    watch = watched(untrained, tmp_path / "run", "stop")
    watch.trainer.train()
    assert watch.trainer.batches_done == 2  # the second batch in a row
    checkpoint = latest_checkpoint(tmp_path / "run" / "checkpoints")
    assert checkpoint.name == "checkpoint-2"
    noted = read_jsonl(tmp_path / "run" / "tripwires.jsonl")
    assert [(row["step"], row["wire"]) for row in noted] == [(2, "truncated")]
    with pytest.raises(InputError, match="tripwire truncated: .* -p tripwires warn -p resume_from .*checkpoint-2"):
        watch.raise_if_stopped()
    with pytest.raises(InputError, match="tripwire truncated"):  # the same command goes no further
        watched(untrained, tmp_path / "run", "stop").trainer.train(resume_from_checkpoint=str(checkpoint))
    elsewhere = watched(untrained, tmp_path / "other", "warn")
    elsewhere.trainer.train(resume_from_checkpoint=str(checkpoint))
    assert elsewhere.trainer.batches_done == 4 and list(elsewhere.reported) == ["truncated"]
    again = watched(untrained, tmp_path / "run", "warn")
    again.trainer.train(resume_from_checkpoint=str(checkpoint))
    assert again.trainer.batches_done == 4
    again.raise_if_stopped()


def test_warn_tells_each_wire_once_and_off_none(untrained, tmp_path):
    for action, told in (("warn", ["truncated"]), ("off", [])):
        watch = watched(untrained, tmp_path / action, action)
        watch.trainer.train()
        watch.raise_if_stopped()
        assert watch.trainer.batches_done == 4 and list(watch.reported) == told
    assert not (tmp_path / "off" / "tripwires.jsonl").exists()


def test_a_reward_of_weight_0_trips_nothing(untrained, tmp_path):
    watch = watched(untrained, tmp_path / "run", "warn", rewards=("correct", "format"), steps=1)
    watch.trainer.reward_weights[1] = 0.0
    watch.trainer.train()
    (row,), _ = watch.metrics()[:2]
    assert "reward_correct_std" in row and not any("format" in name for name in row)


def test_an_unknown_action_is_refused():
    with pytest.raises(InputError, match="tripwires is 'halt', expected one of warn, stop, off"):
        TripwireCallback("halt", None)
