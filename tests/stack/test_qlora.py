"""QLoRA with bitsandbytes' kernels for CPUs: training ends in an adapter and in a model that any machine can load."""

import pytest
import torch

pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed: make stack-shards")

from peft import PeftModel

from lead_kit.models import loading
from tests.stack import lab

pytestmark = pytest.mark.slow
SFT = {"steps": 4, "batch_size": 8, "optimizer": "adamw", "learning_rate": 1e-3}
GRPO = {"steps": 2, "batch_size": 16, "group_size": 4, "validate_every": 0, "max_tokens": 24}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return lab.prepare(tmp_path_factory.mktemp("qlora"))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("notebook, sizes", [("02_sft", SFT), ("03_grpo", GRPO)])
def test_what_four_bits_have_learned_is_kept_twice(root, notebook, sizes, dtype):
    name = f"{notebook}-{dtype}"
    said = lab.run(root, notebook, name, adapter="qlora", dtype=dtype, **sizes)
    assert "largest change of a logit by merging: " in said
    run, ids = root / "runs" / name, torch.arange(6, 70).reshape(2, 32)
    merged = loading.logits(loading.load_model(str(run / "model"), dtype=dtype)[0], ids)
    four_bits, _ = loading.load_model(str(root / "model"), dtype=dtype, adapter="qlora")
    adapted = loading.logits(PeftModel.from_pretrained(four_bits, run / "adapter"), ids)
    bar = loading.BARS[getattr(torch, dtype)] * adapted.abs().max()
    assert (merged - adapted).abs().max() < bar
    before, _ = loading.load_model(str(root / "model"), dtype=dtype)
    if dtype == "float32":  # the weights before quantisation are another model
        base = PeftModel.from_pretrained(before, run / "adapter")
        assert (loading.logits(base, ids) - adapted).abs().max() > bar
