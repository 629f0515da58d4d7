"""An optimiser update of GRPO at the cost of its real tokens: TRL's loss over packs, without rows of advantage 0, and
with equal shares for all processes."""

from contextlib import contextmanager, nullcontext
from math import nan

import torch
from torch import Tensor
from trl import GRPOTrainer

from lead_kit.errors import InputError
from lead_kit.train import foreign_loss_check, share_rows
from lead_kit.train.packing import micro_batches, packed_logps, rows_of

_EXACT_WITHOUT_ZERO_ROWS = ("dapo", "cispo", "vespo")  # losses whose normaliser counts the tokens of the whole batch
DIVIDED_BY_ROWS = ("grpo", "dr_grpo", "sapo", "luspo")  # losses that divide by the number of rows


def reduce_metric(name: str, values: Tensor) -> float:
    """A metric of all processes from those of each: (processes,), NaN where it has none."""
    values = values[~values.isnan()]
    if not len(values):
        return nan
    kind = name.rpartition("_")[2]
    return (values.min() if kind == "min" else values.max() if kind == "max" else values.mean()).item()


class PackedUpdate(GRPOTrainer):
    """TRL's trainer with packs of `pack_tokens` tokens as its micro-batches; 0 leaves them to TRL."""

    def __init__(self, *args, pack_tokens: int = 0, **kwargs):
        self.pack_tokens, self._in_pack = pack_tokens, False
        module = GRPOTrainer.compute_loss.__module__
        self._foreign = None if module.startswith("trl.") else module  # unsloth puts its own in the place of TRL's
        super().__init__(*args, **kwargs)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """TRL's loss of an optimiser update. Each pack's part but the last is differentiated here, so that only one
        pack's activations stand. TRL's clip shares and entropies are means over the packs of all processes.
        """
        inputs = self._without_zero_rows(inputs)
        if not self.pack_tokens:
            loss = super().compute_loss(model, inputs)
            self._check_value(loss, inputs)
            return loss
        *packs, last = micro_batches(inputs, self.pack_tokens)
        rows, done = len(inputs["advantages"]), 0.0
        with self._metrics_exchanged_once():
            for pack in packs:
                with self._accumulating(model):
                    part = self._share_of_loss(model, pack, rows, len(packs) + 1)
                    self.accelerator.backward(part)
                done += part.detach()
            loss = self._share_of_loss(model, last, rows, len(packs) + 1) + done
        self._check_value(loss, inputs)
        return loss

    def _check_value(self, loss: Tensor, inputs: dict) -> None:
        """Raises InputError if a loss that is not TRL's has another value than the first update's must have."""
        bonus = self._entropy_bonus_enabled or (self.use_vllm and self.vllm_importance_sampling_correction)
        if self._foreign is None or self.state.global_step or bonus or (self.loss_type == "bnpo" and self.pack_tokens):
            return
        tokens = inputs["num_items_in_batch"].clamp(min=1) / self.accelerator.num_processes
        tokens = tokens * self.current_gradient_accumulation_steps / self.args.steps_per_generation
        sizes = {"tokens": tokens, "max_tokens": self.max_completion_length}
        expected = foreign_loss_check.at_ratio_one(
            self.loss_type, inputs["advantages"], inputs["completion_mask"], **sizes
        )
        if expected is None:
            return
        parts = 1 if self.loss_type == "dapo" else self.current_gradient_accumulation_steps
        apart = (loss.detach() * parts - expected).abs() / inputs["advantages"].abs().mean().clamp(min=1e-9)
        if not apart < foreign_loss_check.TOLERANCE:
            raise InputError(
                f"{self._foreign} computes loss_type {self.loss_type!r} as {loss * parts:.6g} in the first update, "
                f"where it must be {expected:.6g}: train with backend 'transformers'"
            )

    def _share_of_loss(self, model, pack: dict, rows: int, packs: int) -> Tensor:
        """The pack's part of the loss: a mean over rows weighs its rows, `bnpo` and the entropy bonus weigh packs
        equally, and the other losses divide by the tokens of the whole batch already."""
        share = len(pack["advantages"]) / rows if self.loss_type in DIVIDED_BY_ROWS else 1.0
        share = 1 / packs if self.loss_type == "bnpo" else share
        coefficient, self.entropy_coef = self.entropy_coef, self.entropy_coef / (packs * share)
        self._in_pack = True
        try:
            return share * super().compute_loss(model, pack)
        finally:
            self.entropy_coef, self._in_pack = coefficient, False

    @contextmanager
    def _metrics_exchanged_once(self):
        """TRL exchanges every metric of every pack, and each exchange waits for the slowest process. In this block it
        sees its own process's values; at the end all of them are exchanged together and take their places."""
        holder, metrics = self.accelerator, self._metrics["train" if self.model.training else "eval"]
        if holder.num_processes == 1:
            yield
            return
        known = {name: len(values) for name, values in metrics.items()}
        gather, reduce = holder.gather, holder.reduce
        holder.gather = lambda values: values
        if not getattr(self, "use_adaptive_entropy", False):  # whose coefficient is reckoned from all processes
            holder.reduce = lambda values, **_: values
        try:
            yield
        finally:
            holder.gather, holder.reduce = gather, reduce
        new = [(name, at) for name in sorted(metrics) for at in range(known.get(name, 0), len(metrics[name]))]
        own = torch.tensor([metrics[name][at] for name, at in new], device=holder.device)
        for (name, at), values in zip(new, gather(own).view(-1, len(new)).unbind(1), strict=True):
            metrics[name][at] = reduce_metric(name, values)

    @contextmanager
    def _accumulating(self, model):
        """A backward pass that leaves the exchange of gradients, and DeepSpeed's step, to a later one."""
        state, deepspeed = self.accelerator.gradient_state, self.is_deepspeed_enabled
        synced = state.sync_gradients
        state._set_sync_gradients(False)
        try:
            with nullcontext() if deepspeed else self.accelerator.no_sync(model):
                yield
        finally:
            state._set_sync_gradients(synced)

    def _without_zero_rows(self, inputs: dict) -> dict:
        """Without the rows whose advantage is 0, where that is exact; the logged entropy omits them too. Several
        processes share out the rest; without packs they need equally many rows and keep all of theirs."""
        if self.loss_type not in _EXACT_WITHOUT_ZERO_ROWS or self.beta or self._entropy_bonus_enabled:
            return inputs
        if self.accelerator.num_processes == 1:
            return rows_of(inputs, share_rows.trained_rows(inputs["advantages"], 1))
        return share_rows.share_rows(inputs, self.accelerator) if self.pack_tokens else inputs

    def _get_per_token_logps_and_entropies(
        self, model, input_ids, attention_mask, logits_to_keep, batch_size=None, compute_entropy=False, **others
    ):
        if self.pack_tokens:
            budget = 0 if self._in_pack else self.pack_tokens
            shape = (input_ids, attention_mask, logits_to_keep, self.temperature, budget)
            fused = input_ids.is_cuda  # on a CPU, TRL's fused head also scores the prompt's tokens
            learned = self._entropy_bonus_enabled
            return *packed_logps(model, *shape, compute_entropy, fused, learned), None
        score = super()._get_per_token_logps_and_entropies
        return score(model, input_ids, attention_mask, logits_to_keep, batch_size, compute_entropy, **others)
