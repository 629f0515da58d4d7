"""An optimiser update of GRPO at the cost of its real tokens: TRL's loss over packs, without rows of advantage 0, and
with equal shares for all processes."""

import inspect
import re
from bisect import bisect_left
from collections.abc import Callable, Sequence
from contextlib import contextmanager, nullcontext
from itertools import accumulate
from math import nan

import torch
from accelerate import Accelerator
from peft import PeftModel
from torch import Tensor
from trl import GRPOTrainer

from lead_kit.errors import InputError, lookup
from lead_kit.method.losses import OF_TOKENS, Tokens
from lead_kit.models import sampler
from lead_kit.train.packing import attend_by_rows, by_prompt, layout_of, micro_batches, packed_logps, packs_of, rows_of

_EXACT_WITHOUT_ZERO_ROWS = ("dapo", "cispo", "vespo")  # losses whose normaliser counts the tokens of the whole batch
DIVIDED_BY_ROWS = ("grpo", "dr_grpo", "sapo", "luspo")  # losses that divide by the number of rows
_AVERAGES = {
    "grpo": lambda summed, mask, **_: (summed / mask.sum(1).clamp(min=1)).mean(),
    "bnpo": lambda summed, mask, **_: summed.sum() / mask.sum().clamp(min=1),
    "dr_grpo": lambda summed, mask, max_tokens, **_: summed.sum() / (len(mask) * max_tokens),
    "dapo": lambda summed, mask, tokens, **_: summed.sum() / tokens,
    "luspo": lambda summed, mask, **_: summed.mean(),
}  # the loss at ratio 1 and without KL, by loss_type; summed (rows,) is the sum of a row's −A over its tokens
INEXACT_PACKS = dict.fromkeys(("pad", "stop"))  # what a model that packs change is trained on
_TOLERANCE = 1e-3  # of mean |A|, beside the rounding of a large sum in bfloat16


def equal_parts(lengths: Sequence[int], count: int) -> list[range]:
    """Consecutive parts of about equal sums, none of them empty. `lengths` has at least `count` entries."""
    sums, cuts = list(accumulate(lengths, initial=0)), [0]
    for part in range(1, count):
        goal = sums[-1] * part / count
        end = bisect_left(sums, goal)
        end -= goal - sums[end - 1] < sums[end] - goal
        cuts.append(min(max(end, cuts[-1] + 1), len(lengths) - (count - part)))
    return [range(*ends) for ends in zip(cuts, [*cuts[1:], len(lengths)], strict=True)]


def trained_rows(advantages: Tensor, least: int) -> Tensor:
    """(rows,) whether the row trains. Rows without advantage stand in where fewer than `least` have one."""
    rows = advantages.view(len(advantages), -1).any(-1)
    missing = max(0, least - int(rows.sum()))
    rows[(~rows).nonzero()[:missing, 0]] = True
    return rows


def gather_rows(inputs: dict, accelerator: Accelerator) -> dict:
    """TRL's batch with the rows of all processes, in their order, as wide as the widest."""
    gathered, rows = dict(inputs), inputs["completion_mask"].shape[:1]
    for name, values in inputs.items():
        if not torch.is_tensor(values) or values.shape[:1] != rows:
            continue
        if values.dim() == 2:  # TRL pads prompts on the left and the rest on the right
            values = accelerator.pad_across_processes(values, dim=1, pad_first=name.startswith("prompt"))
        gathered[name] = accelerator.gather(values)
    return gathered


def _share_rows(inputs: dict, accelerator: Accelerator) -> dict:
    """This process's part of the rows of all processes that have an advantage; rows of one prompt stay together."""
    batch = gather_rows(inputs, accelerator)
    batch = rows_of(batch, trained_rows(batch["advantages"], accelerator.num_processes))
    layout = layout_of(batch)
    order = by_prompt(*layout)
    mine = equal_parts(layout[1].sum(1)[order].tolist(), accelerator.num_processes)[accelerator.process_index]
    return rows_of(batch, order[mine.start : mine.stop])


class _OneProcess:
    """An accelerator of several processes whose `gather` and `reduce` return the values of this process."""

    def __init__(self, accelerator: Accelerator, reduces: bool):
        self._accelerator = accelerator
        if not reduces:
            self.reduce = lambda values, **_: values

    def __getattr__(self, name: str):
        return getattr(self._accelerator, name)

    def gather(self, values: Tensor) -> Tensor:
        return values


def _reduce_metric(name: str, values: Tensor) -> float:
    """A metric of all processes from those of each: (processes,), NaN where it has none."""
    values = values[~values.isnan()]
    if not len(values):
        return nan
    kind = name.rpartition("_")[2]
    return (values.min() if kind == "min" else values.max() if kind == "max" else values.mean()).item()


class PackedUpdate(GRPOTrainer):
    """TRL's trainer with packs of `pack_tokens` tokens as its micro-batches; 0 leaves them to TRL.

    Before the first update, log-probabilities of packed rows are compared with those of forwards of rows alone. Where
    they differ by more than rounding, as in models with a recurrent state, `inexact_packs` decides: `pad` trains on
    micro-batches of padded rows with at most `pack_tokens` tokens, `stop` raises InputError. Padded rows that differ
    raise InputError, too. A `policy_loss` of lead_kit.method.losses takes the place of TRL's policy term.
    """

    def __init__(
        self,
        *args,
        pack_tokens: int = 0,
        inexact_packs: str = "pad",
        policy_loss: Callable[[Tokens], Tensor] | None = None,
        **kwargs,
    ):
        lookup(INEXACT_PACKS, inexact_packs, "inexact_packs")
        self.policy_loss, self._batch = policy_loss, None
        self.pack_tokens, self.inexact_packs, self._in_pack = pack_tokens, inexact_packs, False
        self.padded, self._compared = False, False  # whether packs gave way to padded rows, and were compared
        module = GRPOTrainer.compute_loss.__module__
        self._foreign = None if module.startswith("trl.") else module  # unsloth replaces TRL's loss by its own
        if self._foreign and policy_loss:
            raise InputError(f"{self._foreign} has no loss_type {policy_loss.__name__!r}: train with 'transformers'")
        super().__init__(*args, **kwargs)
        for policy_or_reference in filter(None, (self.model, self.ref_model)):
            give_positions(policy_or_reference)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """TRL's loss of an optimiser update. Each pack's part but the last is differentiated here, so that only one
        pack's activations stand. TRL's clip shares and entropies are means over the packs of all processes.
        """
        inputs = self._without_zero_rows(inputs)
        self._compare_forwards(model, *layout_of(inputs))
        if not self.pack_tokens:
            loss = super().compute_loss(model, inputs)
            self._check_value(loss, inputs)
            return loss
        *packs, last = micro_batches(inputs, self.pack_tokens, self.padded)
        rows, done = len(inputs["advantages"]), 0.0
        with self._metrics_exchanged_once():
            for pack in packs:
                with self._accumulating(model):
                    part = self._weighted_loss(model, pack, rows, len(packs) + 1)
                    self.accelerator.backward(part)
                done += part.detach()
            loss = self._weighted_loss(model, last, rows, len(packs) + 1) + done
        self._check_value(loss, inputs)
        return loss

    def _compute_loss(self, model, inputs):
        """TRL's loss. With a `policy_loss`, its negative gradient by log π stands in for the advantages, at ratio 1,
        so that the model gets the same gradient; the logged loss is another number.

        Breaks when TRL reads advantages and old log-probabilities before it scores (tests/train/test_losses.py).
        """
        if self.policy_loss is None:
            return super()._compute_loss(model, inputs)
        self._batch = dict(inputs)
        try:
            loss = super()._compute_loss(model, self._batch)
        finally:
            self._batch = None
        low, high = self._stopped
        shares = {"low_mean": low, "low_min": low, "high_mean": high, "high_max": high, "region_mean": low + high}
        for name, share in shares.items():
            self._metrics["train" if self.model.training else "eval"][f"clip_ratio/{name}"][-1] = share
        return loss

    def _take_gradient(self, logps: Tensor) -> None:
        """Puts −∂loss/∂log π, (rows, tokens), in the place of the batch's advantages."""
        batch, mask = self._batch, self._batch["completion_mask"]
        old = batch.get("old_per_token_logps")
        advantages = batch["advantages"].view(len(mask), -1).expand(mask.shape)
        with torch.enable_grad():
            logp = logps.detach().requires_grad_()
            loss = self.policy_loss(Tokens(logp, logps.detach() if old is None else old, advantages, mask))
            (gradient,) = torch.autograd.grad((loss * mask).sum(), logp)
        self._batch |= {"advantages": -gradient, "old_per_token_logps": None}
        stopped = (gradient == 0) & (mask > 0)
        shares = [(stopped & side).sum() / mask.sum().clamp(min=1) for side in (advantages < 0, advantages > 0)]
        self._stopped = self.accelerator.gather(torch.stack(shares)).view(-1, 2).mean(0).tolist()

    def _check_value(self, loss: Tensor, inputs: dict) -> None:
        """Raises InputError if a loss that is not TRL's has another value than the first update's must have.

        With ratio 1 and without KL a clipped loss is the average of −A over the tokens.
        """
        bonus = self._entropy_bonus_enabled or (self.use_vllm and self.vllm_importance_sampling_correction)
        bonus |= self.top_entropy_quantile < 1
        known = self.loss_type in _AVERAGES and not (self.loss_type == "bnpo" and self.pack_tokens)
        if self._foreign is None or self.state.global_step or bonus or not known:
            return
        tokens = inputs["num_items_in_batch"].clamp(min=1) / self.accelerator.num_processes
        tokens = tokens * self.current_gradient_accumulation_steps / self.args.steps_per_generation
        sizes = {"tokens": tokens, "max_tokens": self.max_completion_length}
        advantages, mask = inputs["advantages"], inputs["completion_mask"]
        by_token = advantages[:, None] if advantages.dim() == 1 else advantages
        expected = _AVERAGES[self.loss_type](-(by_token * mask).sum(1), mask, **sizes)
        parts = 1 if self.loss_type == "dapo" else self.current_gradient_accumulation_steps
        difference = (loss.detach() * parts - expected).abs() / advantages.abs().mean().clamp(min=1e-9)
        if not difference < _TOLERANCE:
            raise InputError(
                f"{self._foreign} computes loss_type {self.loss_type!r} as {loss * parts:.6g} in the first update, "
                f"where it must be {expected:.6g}: train with backend 'transformers'"
            )

    def _weighted_loss(self, model, pack: dict, rows: int, packs: int) -> Tensor:
        """The pack's part of the loss: a mean over rows weighs its rows, `bnpo` and the entropy bonus weigh packs
        equally, and the other losses divide by the tokens of the whole batch already."""
        share = len(pack["advantages"]) / rows if self.loss_type in DIVIDED_BY_ROWS else 1.0
        share = 1 / packs if self.loss_type == "bnpo" else share
        self._in_pack = True
        try:
            with self._entropy_bonus_divided(packs * share):
                return share * super().compute_loss(model, pack)
        finally:
            self._in_pack = False

    @contextmanager
    def _entropy_bonus_divided(self, by: float):
        """TRL's entropy bonus divided by a number in this block, and the steps and bounds of an adaptive one, too."""
        bounds = {name: getattr(self.args, f"entropy_coef_{name}") for name in ("delta", "min", "max")}
        coefficient, self.entropy_coef = self.entropy_coef, self.entropy_coef / by
        vars(self.args).update({f"entropy_coef_{name}": value / by for name, value in bounds.items()})
        try:
            yield
        finally:  # TRL moves an adaptive coefficient with the last pack
            self.entropy_coef = self.entropy_coef * by if self.use_adaptive_entropy else coefficient
            vars(self.args).update({f"entropy_coef_{name}": value for name, value in bounds.items()})

    @contextmanager
    def _metrics_exchanged_once(self):
        """TRL gathers metrics of (rows,) after each pack, but processes have packs of different sizes. In this block
        TRL sees one process; at the end the metrics of all packs are exchanged together.

        Breaks when TRL's loss uses another accelerator than `self.accelerator` (tests/train/test_trl_members.py).
        """
        accelerator, metrics = self.accelerator, self._metrics["train" if self.model.training else "eval"]
        if accelerator.num_processes == 1:
            yield
            return
        known = {name: len(values) for name, values in metrics.items()}
        # The coefficient of an adaptive entropy bonus follows from the tokens of all processes.
        self.accelerator = _OneProcess(accelerator, reduces=self.use_adaptive_entropy)
        try:
            yield
        finally:
            self.accelerator = accelerator
        new = [(name, index) for name in sorted(metrics) for index in range(known.get(name, 0), len(metrics[name]))]
        local = torch.tensor([metrics[name][index] for name, index in new], device=accelerator.device)
        of_all = accelerator.gather(local).view(-1, len(new)).unbind(1)
        for (name, index), values in zip(new, of_all, strict=True):
            metrics[name][index] = _reduce_metric(name, values)

    @contextmanager
    def _accumulating(self, model):
        """A backward pass that leaves the exchange of gradients, and DeepSpeed's step, to a later one. FSDP exchanges
        them after every pack, or each process would hold the gradient of the whole model until then."""
        state, exchanges = self.accelerator.gradient_state, self.is_deepspeed_enabled or self.is_fsdp_enabled
        synced = state.sync_gradients
        state._set_sync_gradients(False)
        try:
            with nullcontext() if exchanges else self.accelerator.no_sync(model):
                yield
        finally:
            state._set_sync_gradients(synced)

    def _without_zero_rows(self, inputs: dict) -> dict:
        """Without the rows whose advantage is 0, where that is exact; the logged entropy omits them too. Several
        processes share out the rest; without packs they need equally many rows and keep all of theirs."""
        by_others = self._entropy_bonus_enabled or self.top_entropy_quantile < 1
        by_others |= self.policy_loss is not None and self.policy_loss.__name__ not in OF_TOKENS
        if self.loss_type not in _EXACT_WITHOUT_ZERO_ROWS or self.beta or by_others:
            return inputs
        if self.accelerator.num_processes == 1:
            return rows_of(inputs, trained_rows(inputs["advantages"], 1))
        return _share_rows(inputs, self.accelerator) if self.pack_tokens else inputs

    def _get_per_token_logps_and_entropies(
        self,
        model,
        input_ids,
        attention_mask,
        logits_to_keep,
        batch_size=None,
        compute_entropy=False,
        compute_efficient=False,
        **others,
    ):
        if compute_efficient:  # unsloth (2026.10.6) scores inside its own loss
            return None, None
        layout = (input_ids, attention_mask, logits_to_keep)
        if not self._in_pack:
            self._compare_forwards(model, *layout)
        if self.pack_tokens and not self.padded:
            scores = *self._packed(model, *layout, 0 if self._in_pack else self.pack_tokens, compute_entropy), None
        else:
            if self.padded:
                batch_size = max(1, self.pack_tokens // input_ids.shape[1])
            score = super()._get_per_token_logps_and_entropies
            scores = score(model, *layout, batch_size, compute_entropy, **others)
        if self._batch is not None:
            self._take_gradient(scores[0])
        return scores

    @torch.no_grad()
    def logit_energies(self, output: dict) -> Tensor:
        """(rows, tokens): 1 − 2π + Σπ² of each token of the completions, the squared norm of the gradient of log π with
        respect to the logits. The model's fused head must give `log_sum_sq_probs`."""
        layout = layout_of(output)
        self._compare_forwards(self.model, *layout)
        with self.accelerator.autocast():
            if self.pack_tokens and not self.padded:
                logps, entropies = self._packed(self.model, *layout, self.pack_tokens, 2)
            else:  # TRL's padded forward returns the field `entropy`
                shape = (*layout, self.args.per_device_train_batch_size)
                hook = self.model.register_forward_hook(_second_entropy)
                try:
                    logps, entropies, _ = self._get_per_token_logps_and_entropies(self.model, *shape, True)
                finally:
                    hook.remove()
        # as (1 − π)² + Σπ² of the other tokens, a sum within [0, (1 − π)²]; rounding breaks these bounds for π near 1
        missed = logps.expm1().square()
        others = (-entropies).exp() - (2 * logps).exp()
        return missed + others.clamp(min=0).minimum(missed)

    def _packed(self, model, input_ids, attention_mask, logits_to_keep, token_budget, compute_entropy=0):
        fused = input_ids.is_cuda  # on a CPU, TRL's fused head also scores the prompt's tokens
        shape = (input_ids, attention_mask, logits_to_keep, self.temperature, token_budget)
        return packed_logps(model, *shape, compute_entropy, fused, learned=self._entropy_bonus_enabled)

    @torch.no_grad()
    def _compare_forwards(self, model, *layout) -> None:
        """Compares, once, the fullest pack of this process, and where it differs padded rows, with rows alone."""
        if self._compared or self._foreign:  # a foreign loss scores by its own forward
            return
        self._compared = True
        rows = by_prompt(*layout)
        packs = packs_of(layout[1], self.pack_tokens, rows) if self.pack_tokens else [sorted(rows)]
        pack = max(packs, key=lambda rows: layout[1][rows].sum() if rows else 0)
        some = [pack[place] for place in sampler.spread(len(pack))]
        training, largest = model.training, sampler.largest_gap(model)
        gaps = {}
        model.eval()
        try:
            alone = [self._alone(model, row, *layout) for row in some]
            if self.pack_tokens:
                gaps["packs"] = self._gap(pack, some, alone, lambda *part: self._packed(model, *part, 0)[0], *layout)
                again = self._alone(model, some[0], *layout)  # the switch of the attention must not change it
                if max(gaps["packs"], self._largest([(again - alone[0]).abs().mean()])) <= largest:
                    return
                attend_by_rows(model)
                self.padded = True
            padded = self._get_per_token_logps_and_entropies
            gaps["padded rows"] = self._gap(some, some, alone, lambda *part: padded(model, *part)[0], *layout)
        finally:
            model.train(training)
        name = type(self.accelerator.unwrap_model(self.model)).__name__
        differences = " and ".join(
            f"by {gap:.2g} a token in {where}" for where, gap in gaps.items() if not gap <= largest
        )
        change = f"compared with rows alone, the log-probabilities of {name} differ {differences}"
        if not gaps["padded rows"] <= largest:
            raise InputError(f"{change}: this model cannot be trained in batches")
        if self.padded and self.inexact_packs == "stop":
            raise InputError(f"{change}; inexact_packs 'pad' trains on padded rows")
        if self.padded and self.accelerator.is_main_process:
            print(f"{change}, so rows are padded instead", flush=True)

    def _alone(self, model, row: int, input_ids: Tensor, attention_mask: Tensor, logits_to_keep: int) -> Tensor:
        """The log-probabilities of the last tokens of one row's completion, by a forward of this row."""
        first, kept = input_ids.shape[1] - logits_to_keep, attention_mask[row].bool()
        prompt, completion = input_ids[row, :first][kept[:first]], input_ids[row, first:][kept[first:]]
        return sampler.plain_logps(model, prompt.tolist(), completion.tolist(), self.temperature)

    def _gap(self, rows: list[int], some: list[int], alone: list[Tensor], forward, ids, mask, keep: int) -> float:
        """The largest mean difference in a row between `alone` and `forward` of `rows`, over all processes; infinite
        where the model's forward fails."""
        try:
            logps = forward(ids[rows], mask[rows], keep)
        except torch.OutOfMemoryError:
            raise
        except (AttributeError, IndexError, RuntimeError, TypeError, ValueError):
            logps = torch.full((len(rows), keep), torch.inf, device=ids.device)
        gaps = []
        for row, expected in zip(some, alone, strict=True):
            scored = logps[rows.index(row)][mask[row, -keep:].bool()]
            gaps.append((scored[len(scored) - len(expected) :] - expected).abs().sum() / max(1, len(expected)))
        return self._largest(gaps)

    def _largest(self, gaps: list[Tensor]) -> float:
        worst = torch.stack(gaps).max().to(self.accelerator.device)
        return self.accelerator.gather(worst[None]).max().item()


def _second_entropy(module, inputs, output) -> None:
    """Rényi's entropy of order 2 in the place of Shannon's, in the output of TRL's fused head."""
    output.entropy = -output.log_sum_sq_probs


def give_positions(model) -> None:
    """Gives a model with position ids those of rows that are padded on the left: TRL passes none, and models with
    absolute positions would count the padding."""
    inner = model.get_base_model() if isinstance(model, PeftModel) else model
    if "position_ids" not in inspect.signature(inner.forward).parameters:
        return

    def add(module, args, kwargs):
        mask = kwargs.get("attention_mask")
        plain = all(kwargs.get(name) is None for name in ("position_ids", *sampler.CACHE_NAMES))
        if plain and mask is not None and mask.dim() == 2:
            kwargs["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)
        return args, kwargs

    model.register_forward_pre_hook(add, with_kwargs=True)


_ROWS = 8  # rollouts of each process that are compared


def can_reuse(model: torch.nn.Module, arguments) -> bool:
    """Whether a forward in training gives the numbers of one in evaluation: in float32, without dropout and jitter."""
    config = model.config.get_text_config().to_dict()
    dropout = [value for name, value in config.items() if re.search("drop|jitter", name) and isinstance(value, float)]
    dropout += [part.p for part in model.modules() if isinstance(part, torch.nn.Dropout)]
    float32 = {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    return float32 and not any(dropout) and not (arguments.bf16 or arguments.fp16)


@torch.no_grad()
def gap_to_trainer(trainer, output: dict) -> float:
    """The mean of |log π_vLLM − log π| over the tokens of some rollouts of TRL's scored batch, on all processes."""
    few = rows_of(output, list(range(min(_ROWS, len(output["completion_mask"])))))
    scored = few["completion_mask"].bool()
    trained = few.get("old_per_token_logps")  # TRL's correction of vLLM needs them, too
    if trained is None:
        trained = trainer._get_per_token_logps_and_entropies(trainer.model, *layout_of(few))[0]
    gaps = (trained - few["sampling_per_token_logps"]).abs()[scored].nan_to_num()
    sums = torch.stack([gaps.sum(), scored.sum()])
    total, tokens = trainer.accelerator.gather(sums).view(-1, 2).sum(0).tolist()
    return total / max(tokens, 1)
