"""Sizes: what fits, and what a mistake is told."""

from types import SimpleNamespace

import pytest

from lead_kit.errors import InputError
from lead_kit.train import batch_sizes

FITS = dict(batch_size=128, group_size=8, updates_per_batch=2, micro_batch_size=64, steps=100, save_steps=0)


def test_sixteen_prompts_times_eight_in_two_updates():
    sizes = batch_sizes.sizes(**FITS)
    assert (sizes.micro_batch, sizes.accumulation, sizes.forwards) == (64, 1, 2)
    assert (sizes.updates, sizes.updates_per_batch) == (200, 2)  # an optimiser update takes half a rollout batch


def test_small_micro_batches_accumulate(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    sizes = batch_sizes.sizes(**FITS | {"micro_batch_size": 16})
    # 128 rollouts / 2 updates / 2 processes = 32 rows, in 2 forwards of 16
    assert (sizes.micro_batch, sizes.accumulation, sizes.forwards) == (16, 2, 4)


def test_packs_take_all_rollouts_of_an_update(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    sizes = batch_sizes.sizes(**FITS | {"micro_batch_size": 1, "pack_tokens": 4096})
    assert (sizes.micro_batch, sizes.accumulation, sizes.forwards) == (32, 1, 2)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"group_size": 7},
            "group_size must divide batch_size: 128 % 7 is not 0; the nearest that does is group_size 8",
        ),
        ({"updates_per_batch": 3}, "128 % 3"),
        ({"micro_batch_size": 48}, "nearest that does is micro_batch_size 32"),
        ({"save_steps": 3}, "inside a generation buffer of 2 updates"),
        ({"steps": 0}, "steps at least 1"),
    ],
)
def test_sizes_that_do_not_fit_name_the_nearest_that_do(change, sentence):
    with pytest.raises(InputError, match=sentence.replace("%", "%")):
        batch_sizes.sizes(**FITS | change)


def test_liger_is_refused_where_it_is_not_installed():
    batch_sizes.require_liger(False)
    with pytest.raises(InputError, match="liger is true, but liger-kernel is not installed"):
        batch_sizes.require_liger(True)


def test_muon_is_refused_where_no_process_has_a_whole_matrix(monkeypatch):
    monkeypatch.setenv("LEAD_DISTRIBUTED", "ddp")
    assert batch_sizes.optimizer_by_name("muon") == "adamw_torch"
    for kind in ("fsdp2", "deepspeed"):
        monkeypatch.setenv("LEAD_DISTRIBUTED", kind)
        with pytest.raises(InputError, match=f"'muon' needs whole matrices, and {kind} spreads them: use 'adamw'"):
            batch_sizes.optimizer_by_name("muon")
        assert batch_sizes.optimizer_by_name("adamw") == "adamw_torch"


def test_a_head_beside_an_adapter_is_refused_where_its_gradient_would_be_of_one_process(monkeypatch):
    monkeypatch.setenv("LEAD_DISTRIBUTED", "deepspeed")
    batch_sizes.check_saved_modules("lora", ["lm_head"])
    monkeypatch.setenv("LEAD_DISTRIBUTED", "fsdp2")
    batch_sizes.check_saved_modules("full", ["lm_head"])
    batch_sizes.check_saved_modules("lora", ["embed_tokens"])
    with pytest.raises(InputError, match="lora_saved has 'lm_head', whose gradient FSDP2 would not average"):
        batch_sizes.check_saved_modules("lora", ["lm_head"])


def test_a_group_has_two_rollouts_or_more():
    with pytest.raises(InputError, match="group_size is 1, expected 2 or more"):
        batch_sizes.sizes(**FITS | {"group_size": 1})


def test_one_process_takes_one_gpu_of_several(capsys):
    for count, line in ((8, "this process trains on one of 8 GPUs; `lead run --nproc 8` uses all\n"), (1, ""), (0, "")):
        arguments = SimpleNamespace(n_gpu=count, _n_gpu=count)
        batch_sizes.use_one_gpu(arguments)
        assert arguments._n_gpu == min(count, 1) and capsys.readouterr().out == line
