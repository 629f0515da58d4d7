"""An optimiser update of GRPO at the cost of its real tokens: TRL's loss over packs, without rows of advantage 0."""

from contextlib import contextmanager, nullcontext
from math import nan

from torch import Tensor
from trl import GRPOTrainer

from lead_kit.train.packing import micro_batches, packed_logps, rows_of

EXACT_WITHOUT_ZERO_ROWS = ("dapo", "cispo", "vespo")  # losses whose normaliser counts the tokens of the whole batch
ROW_MEANS = ("grpo", "dr_grpo", "sapo", "luspo")  # losses that divide by the number of rows


class PackedUpdate(GRPOTrainer):
    """TRL's trainer with packs of `pack_tokens` tokens as its micro-batches; 0 leaves them to TRL."""

    def __init__(self, *args, pack_tokens: int = 0, **kwargs):
        self.pack_tokens = pack_tokens
        super().__init__(*args, **kwargs)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """TRL's loss of an optimiser update. Each pack's part but the last is differentiated here, so that only one
        pack's activations stand. TRL's clip shares and entropies are means over the packs.
        """
        inputs = self._without_zero_rows(inputs)
        if not self.pack_tokens:
            return super().compute_loss(model, inputs)
        *packs, last = micro_batches(inputs, self.pack_tokens)
        rows, done = len(inputs["advantages"]), 0.0
        for pack in packs:
            with self._accumulating(model):
                part = self._share_of_loss(model, pack, rows, len(packs) + 1)
                self.accelerator.backward(part)
            done += part.detach()
        return self._share_of_loss(model, last, rows, len(packs) + 1) + done

    def _share_of_loss(self, model, pack: dict, rows: int, packs: int) -> Tensor:
        """The pack's part of the loss: a mean over rows weighs its rows, `bnpo` and the entropy bonus weigh packs
        equally, and the other losses divide by the tokens of the whole batch already."""
        share = len(pack["advantages"]) / rows if self.loss_type in ROW_MEANS else 1.0
        share = 1 / packs if self.loss_type == "bnpo" else share
        gather, coefficient = self.accelerator.gather, self.entropy_coef

        def gather_uneven(values: Tensor) -> Tensor:
            """TRL gathers clip shares by row and skips NaN; processes have packs of different numbers of rows."""
            return gather(self.accelerator.pad_across_processes(values, pad_index=nan) if values.dim() else values)

        self.accelerator.gather, self.entropy_coef = gather_uneven, coefficient / (packs * share)
        try:
            return share * super().compute_loss(model, pack)
        finally:
            self.accelerator.gather, self.entropy_coef = gather, coefficient

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
        """Without the rows whose advantage is 0, where that is exact; the logged entropy omits them too."""
        single = self.accelerator.num_processes == 1
        if not single or self.loss_type not in EXACT_WITHOUT_ZERO_ROWS or self.beta or self._entropy_bonus_enabled:
            return inputs
        rows = inputs["advantages"].view(len(inputs["advantages"]), -1).any(-1)
        rows[0] |= not rows.any()  # the forward needs one row
        return rows_of(inputs, rows)

    def _get_per_token_logps_and_entropies(
        self, model, input_ids, attention_mask, logits_to_keep, batch_size=None, compute_entropy=False, **others
    ):
        if self.pack_tokens:
            shape = (input_ids, attention_mask, logits_to_keep, self.temperature, self.pack_tokens)
            fused = input_ids.is_cuda  # on a CPU, TRL's fused head also scores the prompt's tokens
            return *packed_logps(model, *shape, entropy=compute_entropy, fused=fused), None
        score = super()._get_per_token_logps_and_entropies
        return score(model, input_ids, attention_mask, logits_to_keep, batch_size, compute_entropy, **others)
