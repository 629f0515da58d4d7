"""What tests call on two ranks (tests/ranks.py): batches of which a part, or a group, lies on each."""

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from transformers import LlamaForCausalLM

from bench import small_trainer
from lead_kit.method.advantages import Group
from lead_kit.method.curricula import near_half
from lead_kit.method.estimators import bind_estimator
from lead_kit.method.losses import gmpo
from lead_kit.parameters import bind
from lead_kit.train import packed_loss
from lead_kit.train.packing import micro_batches, packed_logps

SIZES = {"batch_size": 56, "group_size": 8, "steps": 1}
CASES = {  # an advantage a rollout, and one a token; rows shared out anew, in packs and each in a pack of its own
    "lead": {"estimator": "lead", "loss_type": "grpo"} | SIZES,
    "whitened": {"estimator": "whitened", "loss_type": "grpo"} | SIZES,
    "remax": {"estimator": "remax", "rewards": ("random(seed=1)",)} | SIZES,
    "otb": {"estimator": "otb", "rewards": ("random(seed=1)",), "machine": {"temperature": 2.0}} | SIZES,
    "shared": {"estimator": "grpo", "loss_type": "dapo"} | SIZES,
    "single": {"estimator": "lead", "loss_type": "dapo"} | SIZES,
    "vespo": {"estimator": "grpo", "loss_type": "vespo"} | SIZES,
    "gmpo": {"estimator": "grpo", "loss_type": "gmpo", "num_iterations": 2} | SIZES,  # the second update is off-policy
}
CASES["gmpo"]["policy_loss"] = bind(gmpo, {"clip_low": 0.001, "clip_high": 0.001})
# the second batch follows from the first one's verdicts; a rate of 0 keeps the samples equal to the last token
CASES["curriculum"] = CASES["shared"] | {"curriculum": near_half, "steps": 2, "machine": {"learning_rate": 0.0}}
PACKS = {"single": 1}


def trainings() -> None:
    """Packed steps of seven groups, the middle one on both ranks. Arguments: model and output."""
    for name, case in CASES.items():
        out = Path(sys.argv[2]) / name
        trainer = small_trainer.trainer(Path(sys.argv[1]), out, pack_tokens=PACKS.get(name, 64), **case)
        trainer.train()
    rank = trainer.accelerator.process_index
    own = {"prompt_ids": torch.full((1, 1 + rank), 7), "completion_mask": torch.ones(1, 2 - rank)}
    own |= {"advantages": torch.tensor([rank / 2]), "ratio": torch.full((1, 1), 1.0 + rank)}
    whole = packed_loss.gather_rows(own | {"items": torch.tensor(3)}, trainer.accelerator)
    if trainer.accelerator.is_main_process:
        print("gathered", json.dumps({name: values.tolist() for name, values in whole.items()}))
        print("processes", trainer.accelerator.num_processes, trainer.accelerator.distributed_type)
    trainer.accelerator.wait_for_everyone()


def packs() -> None:
    """A forward and backward of three rows on each rank, then packs of one row on one and of three on the other.
    Argument: the folder with the model and the batch, into which each rank writes."""
    dist.init_process_group("gloo")
    rank, folder = dist.get_rank(), Path(sys.argv[1])
    batch = torch.load(folder / "batch.pt", weights_only=True)
    rows = slice(3 * rank, 3 * rank + 3)
    model = LlamaForCausalLM.from_pretrained(folder)
    forwards = []
    model.register_forward_hook(lambda *_: forwards.append(1))
    model = DistributedDataParallel(model)
    logps, _ = packed_logps(model, batch["ids"][rows], batch["mask"][rows], batch["keep"], 1.0, 20)
    logps.sum().backward()
    gradient = torch.cat([p.grad.flatten() for p in model.parameters()])
    first = batch["ids"].shape[1] - batch["keep"]
    part = slice(0, 1) if rank else slice(3, 6)
    parts = {"prompt_": slice(first), "completion_": slice(first, None)}
    inputs = {f"{name}{kind}": batch[kind][part, place] for name, place in parts.items() for kind in ("ids", "mask")}
    found = micro_batches(inputs | {"advantages": torch.ones(len(inputs["prompt_ids"]))}, 20)
    told = {"gradient": gradient, "forwards": len(forwards), "packs": [pack["advantages"].tolist() for pack in found]}
    torch.save(told, folder / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


def groups() -> None:
    """The advantages of this rank's rows of groups of four. Arguments: correctness and lengths as a file, and the
    folder into which each rank writes."""
    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    fields = torch.load(sys.argv[1], weights_only=True)
    rows = fields.shape[1] // world
    mine = fields[:, rank * rows : (rank + 1) * rows].contiguous()
    parts = [torch.empty_like(mine) for _ in range(world)]
    dist.all_gather(parts, mine)
    whole = torch.cat(parts, 1).view(2, -1, 4)
    knobs = dict(estimator="lead", length_alpha=0.05, wrong_reward=-1.0, weight_low=0.4, weight_high=1.5)
    knobs |= dict(weight_midpoint=0.75, weight_steepness=10.0, std_ddof=1, std_epsilon=1e-6)
    advantage = bind_estimator(knobs)(Group(whole[0], whole[1], whole[0])).flatten()
    torch.save(advantage[rank * rows : (rank + 1) * rows], Path(sys.argv[2]) / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()
