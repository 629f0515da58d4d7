"""LeadTrainer: TRL's GRPOTrainer with the advantages of a pure estimator over the gathered groups.

It has no formulas: rewards and advantages come from lead_kit.method, the loss from TRL. Gathered rows are in TRL's
order: the group_size samples of a prompt are consecutive.
"""

import copy
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import torch
from accelerate.utils import gather_object
from peft import PeftModel
from torch import Tensor
from trl.trainer.utils import add_fused_lm_head

from lead_kit.errors import InputError, lookup
from lead_kit.method.advantages import ENERGY, GREEDY, VOTING, Group, rollouts_kept
from lead_kit.method.curricula import History, no_curriculum
from lead_kit.method.diagnostics import diagnose
from lead_kit.method.estimators import KL_PRICE_ARGUMENT, Estimate, require_correct
from lead_kit.method.rewards import Rollout, finite, repeats_in_chain
from lead_kit.models import sampler
from lead_kit.models.engines import sample_colocated, sync_exactly
from lead_kit.models.sampler import Completion, GeneratedTokens, SamplingSettings
from lead_kit.runs import log_files
from lead_kit.train import packed_loss
from lead_kit.train.batch_sizes import check_engine
from lead_kit.train.draw_problems import ProblemDraw
from lead_kit.train.dynamic_sampling import DynamicSampling
from lead_kit.train.grading import Grader
from lead_kit.train.packed_loss import DIVIDED_BY_ROWS, PackedUpdate
from lead_kit.train.packing import layout_of
from lead_kit.train.validation import SealCheckpoint, equal_part
from lead_kit.verify import cluster

_PAIRS = {"sapo_temperatures": "sapo_temperature", "vespo_powers": "vespo_k", "vespo_decays": "vespo_lambda"}
_CORRECTIONS = dict.fromkeys(("sequence_mask", "sequence_truncate", "token_mask", "token_truncate"))


class LeadTrainer(PackedUpdate):
    """GRPO by TRL, with lead_kit's estimator, rewards, group filter, sampler and logs.

    `train_dataset` rows are those of `chat.training_row`. `group_filter` takes the shaped Group. `engine` is a name of
    lead_kit.models.engines.ENGINES. `refill_batches` is off at 0. A `curriculum` weighs the problems for
    the draw. Every `rollouts_every` batches the rollouts are logged. Other arguments are PackedUpdate's.
    """

    @staticmethod
    def trl_settings(loss, vllm, adapter: str) -> dict:
        """TRL's settings of the arguments that `loss_type` and `engine` have in 03_grpo beyond those of every loss.

        SAPO (2511.20347) and VESPO take a constant where A > 0 and one elsewhere. Raises InputError for a list that is
        no pair, a share of tokens outside (0, 1], an unknown mode of the correction, and a reference that is mixed
        (TR-DPO) where there is none.
        """
        settings = {"off_policy_mask_threshold": loss.off_policy_mask or None}
        if not 0 < loss.top_entropy_quantile <= 1:
            raise InputError(f"top_entropy_quantile is {loss.top_entropy_quantile}, expected a share of tokens above 0")
        if not 0 < loss.cov_share <= 1:
            raise InputError(f"cov_share is {loss.cov_share}, expected a share of tokens above 0")
        settings |= {"top_entropy_quantile": loss.top_entropy_quantile}
        if len(loss.cov_bounds) != 2:
            raise InputError(f"cov_bounds is {loss.cov_bounds}, expected the least and the largest covariance")
        if loss.entropy_target:
            settings |= {"use_adaptive_entropy": True, "entropy_target": loss.entropy_target}
        for name, theirs in _PAIRS.items():
            if len(pair := getattr(loss, name)) != 2:
                raise InputError(f"{name} is {pair}, expected two numbers: where A > 0, and elsewhere")
            settings |= {f"{theirs}_pos": pair[0], f"{theirs}_neg": pair[1]}
        if loss.reference_sync:
            if not loss.beta or adapter != "full":
                raise InputError("reference_sync mixes the reference of beta above 0, with adapter full: set both")
            settings |= {"sync_ref_model": True, "ref_model_sync_steps": loss.reference_sync}
        lookup(_CORRECTIONS, vllm.vllm_correction_mode, "vllm_correction_mode")
        settings |= {"vllm_importance_sampling_correction": vllm.vllm_correction}
        settings |= {"vllm_importance_sampling_mode": vllm.vllm_correction_mode}
        return settings | {"vllm_importance_sampling_clip_max": vllm.vllm_correction_max}

    def __init__(
        self,
        *args,
        estimate: Estimate,
        group_filter: Callable[[Group], Tensor],
        grader: Grader,
        run,
        engine: str = "sampler",
        refill_batches: int = 0,
        curriculum: Callable[[History], Tensor] | None = None,
        loss_type: str = "dapo",
        rollouts_every: int = 10,
        **kwargs,
    ):
        self.estimate, self.group_filter, self.grader, self.run = estimate, group_filter, grader, run
        self.engine, self.rollouts_every = engine, rollouts_every
        self.prompt_mean = loss_type == "prompt_mean"
        price = KL_PRICE_ARGUMENT.get(estimate.baseline.__name__)
        self.pays_kl = bool(price and estimate.baseline.keywords[price])
        self._diagnostics: dict[str, float] = {}
        self._sampler_gap = None
        self._sampler_exact = False  # whether the first samples were compared with a plain forward
        self._completions = None  # sampled by dynamic sampling ahead of TRL's own call
        rewards = [self._trl_reward(name, score) for name, score in grader.reward_table.items()]
        rollout = self._sample if engine == "sampler" else None
        kwargs["args"].router_aux_loss_coef = 0.0  # of a mixture of experts; TRL's is a mean over padded rows
        # copied before TRL replaces the forward by one that is bound to the original
        reference = copy.deepcopy(kwargs["model"]) if self.pays_kl else None
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="You are using 'rollout_func'")  # TRL calls it experimental
            super().__init__(*args, reward_funcs=rewards, rollout_func=rollout, **kwargs)
        self._check_engine()
        if self.use_vllm and isinstance(self.model, PeftModel):
            self.vllm_generation.sync_weights = sync_exactly(self.model, self.vllm_generation.sync_weights)
        self.sampler_scores = engine == "sampler" and packed_loss.can_reuse(self.model, self.args)
        self._check_loss(group_filter)
        require_correct(estimate, dict(zip(grader.reward_table, self.reward_weights.tolist(), strict=True)))
        self.refill = DynamicSampling(self, refill_batches) if refill_batches else None
        draws = curriculum and curriculum.__name__ != no_curriculum.__name__
        self.problem_draw = ProblemDraw(self, curriculum) if draws else None
        for callback in filter(None, (self.problem_draw, SealCheckpoint)):  # a seal covers what was written before it
            self.add_callback(callback)
        if estimate.baseline.__name__ in ENERGY:
            base = self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model
            scored = ("log_probs", "entropy", "log_sum_sq_probs")
            add_fused_lm_head(base, temperature=self.temperature, outputs=scored)
        if self.pays_kl:
            self.reference = reference.to(self.accelerator.device).eval().requires_grad_(False)
            add_fused_lm_head(self.reference, temperature=self.temperature)
            packed_loss.give_positions(self.reference)

    def _check_engine(self) -> None:
        kind = str(self.accelerator.distributed_type).split(".")[-1]
        kind = kind.lower() if kind in ("FSDP", "DEEPSPEED") else ""
        four_bits = any(getattr(part, "is_loaded_in_4bit", False) for part in self.model.modules())
        check_engine(self.engine, kind, pays_kl=self.pays_kl, four_bits=four_bits)
        if self.grader.stop and self.engine not in ("sampler", "vllm_colocate"):
            raise InputError(f"engine {self.engine!r} knows no stop in training: use sampler or vllm_colocate")
        if self.engine == "sampler" and (self.args.top_p < 1 or self.args.top_k):
            raise InputError("engine 'sampler' draws from the whole distribution in training: set top_p 1 and top_k 0")

    def _check_loss(self, group_filter: Callable) -> None:
        if self.loss_type == "cispo" and self.epsilon_high < 1:
            raise InputError(
                f"loss_type cispo caps the ratio itself at clip_high, which is {self.epsilon_high:g} and would shrink "
                "every update; ScaleRL takes 4 to 8"
            )
        options = {"ratio_level": self.importance_sampling_level != "token", "ratio_bound_negative": self.args.delta}
        options |= {"off_policy_mask": self.off_policy_mask_threshold}
        options |= {"top_entropy_quantile": self.top_entropy_quantile < 1}
        changed = [name for name, value in options.items() if value]
        if self.policy_loss and changed:
            name = self.policy_loss.__name__
            raise InputError(
                f"loss_type {name!r} takes no {changed[0]}, which is an option of TRL's losses: leave it off"
            )
        if self.beta and self.loss_type in DIVIDED_BY_ROWS and group_filter.__name__ != "every_group":
            raise InputError(
                f"group_filter {group_filter.__name__!r} drops rollouts from loss_type {self.loss_type!r}, whose "
                "mean over rows then no longer weighs the KL as beta says: set beta to 0, or loss_type to dapo"
            )

    def train(self, resume_from_checkpoint: str | None = None, **kwargs):
        """TRL's training; a checkpoint also holds what a curriculum has seen."""
        if self.problem_draw and resume_from_checkpoint:
            self.problem_draw.load(Path(resume_from_checkpoint))
        return super().train(resume_from_checkpoint, **kwargs)

    @property
    def batches_done(self) -> int:
        """Rollout batches trained on so far: the step in metrics and figures."""
        return self.state.global_step // self.args.logging_steps

    def _sample(self, prompts: list, trainer=None) -> dict:
        """TRL's rollout_func: one completion for each row by the kit's sampler, each with its own seed."""
        first = self.accelerator.process_index * len(prompts)
        name = f"batch {self.batches_done}.{self.refill.round if self.refill else 0}"
        seeds = [sampler.row_seed(self.args.seed, name, first + row) for row in range(len(prompts))]
        ids = [row["prompt_ids"] for row in self._rows]
        sampled = self.complete(ids, seeds, SamplingSettings(self.max_completion_length, self.temperature))
        completions = {"completion_ids": [s.ids for s in sampled], "logprobs": [s.logprobs for s in sampled]}
        return {"prompt_ids": ids} | completions

    def complete(self, ids: list[list[int]], seeds: list[int], sampling: SamplingSettings) -> list[GeneratedTokens]:
        """One sample for each row at these settings, which ends with the grader's stop where it holds one. `generate`
        and `vllm_server` draw all rows from the first row's seed."""
        ends, sampling = list(self.eos_token_ids), sampling._replace(stop=self.grader.stop)
        if self.engine == "vllm_colocate":
            self._give_weights_to_vllm()
            return sample_colocated(self.vllm_generation, ids, seeds, sampling)
        if self.engine != "sampler":
            with self._settings(sampling, seeds[0]):
                tokens, logprobs = self._generate_single_turn(ids, None, {}, 1)
            logprobs = logprobs or [None] * len(tokens)
            return [GeneratedTokens(t, p, t[-1] not in ends) for t, p in zip(tokens, logprobs, strict=True)]
        model = self.accelerator.unwrap_model(self.model)
        training = model.training
        model.eval()  # without dropout
        try:
            sampled = sampler.generate(model, ids, seeds, sampling, eos=ends, pad=self._tokenizer.pad_token_id)
            if not self._sampler_exact:
                sampler.require_exact(model, ids, sampled, sampling)
                self._sampler_exact = True
            return [sampling.until_stop(one, self._tokenizer) for one in sampled]
        finally:
            model.train(training)

    def _give_weights_to_vllm(self) -> None:
        asleep = self.vllm_generation.enable_sleep_mode and self.vllm_generation._llm_weights_sleeping
        if self.state.global_step != self._last_loaded_step or asleep:  # as in TRL's own call
            self.vllm_generation.sync_weights()
            self._last_loaded_step = self.state.global_step

    @contextmanager
    def _settings(self, sampling: SamplingSettings, seed: int):
        """TRL's generators at these settings and this seed, then at those of training again."""
        if self.use_vllm:
            holder = self.vllm_generation
            asked = {"temperature": sampling.temperature, "max_completion_length": sampling.max_tokens}
            asked |= {"generation_kwargs": holder.generation_kwargs | {"seed": seed}}
        else:
            holder, greedy = self.generation_config, sampling.temperature == 0
            asked = {"max_new_tokens": sampling.max_tokens, "do_sample": not greedy}
            asked |= {} if greedy else {"temperature": sampling.temperature}
        usual = {name: getattr(holder, name) for name in asked}
        vars(holder).update(asked)
        try:
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                yield
        finally:
            vars(holder).update(usual)

    def _generate(self, prompts: list):
        if self._completions is not None:
            completions, self._completions = self._completions, None
            return completions
        return super()._generate(prompts)

    def _trl_reward(self, name: str, score: Callable[[Rollout], float]):
        def reward(completions, **_):
            return [finite(name, score(rollout), rollout) for rollout in self._rollouts]

        reward.__name__ = name
        return reward

    def grade(self, records: list[dict], completions: list, ids: list[list[int]]) -> list[Rollout]:
        """This process's rollouts with their verdicts; `completions` as TRL's chat messages."""
        ends = self.eos_token_ids
        texts = [completion[0]["content"] for completion in completions]
        rows = zip(texts, ids, records, strict=True)
        parts = [self.grader.completion(text, tokens, ends, record["thinking"]) for text, tokens, record in rows]
        return self.grader.grade(records, parts)

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        self._rollouts = self.grade(inputs, completions, completion_ids_list)
        scores = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        self._group = self.as_group(self._rollouts, scores)
        return scores

    def as_group(self, rollouts: list[Rollout], scores: Tensor) -> Group:
        """The gathered batch as (prompts, group) fields; `scores` (rows, rewards) is already gathered."""
        facts = [[r.verdict.correct, r.length, r.truncated, repeats_in_chain(r.completion)] for r in rollouts]
        gathered = self.accelerator.gather(torch.tensor(facts, dtype=torch.float32, device=self.accelerator.device))
        correct, length, truncated, repetitive = gathered.view(-1, self.num_generations, 4).unbind(-1)
        components = scores.view(*correct.shape, -1)
        weights = self.reward_weights.to(scores.device)
        group = Group(correct, length, (components * weights).sum(-1), truncated, repetitive, components, weights)
        return (
            group._replace(answer=self._answer_classes(rollouts)) if self.estimate.shape.__name__ in VOTING else group
        )

    def _answer_classes(self, rollouts: list[Rollout]) -> Tensor:
        """(prompts, group): the class of each answer in its group, as `verify.cluster` numbers them."""
        answers, size = gather_object([rollout.verdict.answer for rollout in rollouts]), self.num_generations
        groups = [answers[first : first + size] for first in range(0, len(answers), size)]
        classes = [cluster(group, self.grader.verifier) for group in groups]
        return torch.tensor(classes, device=self.accelerator.device)

    def _get_dataloader(self, dataset, *args, **kwargs):
        """The loader of the numbers of the training rows. TRL asks for the whole batch at every update and reads it
        once, and accelerate would walk through each of its token ids."""
        rows = range(len(dataset)) if dataset is self.train_dataset else dataset
        return super()._get_dataloader(rows, *args, **kwargs)

    def _prepare_inputs(self, generation_batch: list):
        if self.model.training:
            different = list(dict.fromkeys(generation_batch))
            rows = dict(zip(different, self.train_dataset.__getitems__(different), strict=True))
            generation_batch = [rows[number] for number in generation_batch]
        return super()._prepare_inputs(generation_batch)

    def _generate_and_score_completions(self, inputs):
        if self.problem_draw:
            inputs = self.problem_draw.draw(inputs)
        if self.refill:
            inputs = self.refill.fill(inputs)
        self._rows = inputs
        output = self._scored_batch(inputs)
        if self.use_vllm:
            self._sampler_gap = packed_loss.gap_to_trainer(self, output)
        group = self._for_baseline(self._group, output)
        shaped, before, advantages = self.estimate.steps(group)
        kept = rollouts_kept(self.group_filter(shaped), self.num_generations)
        local = self._local(self._scaled(advantages, kept, output))
        if local.dim() == 2:  # one advantage per token: cut to the width of this process's completions
            local = local[:, : output["completion_ids"].shape[1]]
        output["advantages"] = local.contiguous()
        self._logs["advantages"].extend(self._per_rollout(advantages).flatten().tolist())  # replaces TRL's own tail
        self._log_batch(shaped, advantages, before, kept)
        if self.problem_draw:
            self._diagnostics |= self.problem_draw.note(inputs, group.correct)
        return output

    def _scored_batch(self, inputs: list[dict]) -> dict:
        """TRL's scored batch. Where `sampler_scores`, the old log-probabilities are the sampler's, without a forward.

        TRL makes none where the micro-batches of an update are a multiple of those of a generation, since the policy
        has not moved; so it is given 0 micro-batches here. Breaks when TRL decides by other numbers (test_rollouts
        counts the forwards).
        """
        accumulation = self.args.gradient_accumulation_steps
        if self.sampler_scores:
            self.args.gradient_accumulation_steps = 0
        try:
            output = super()._generate_and_score_completions(inputs)
        finally:
            self.args.gradient_accumulation_steps = accumulation
        if self.sampler_scores and accumulation % (self.args.steps_per_generation * self.num_iterations):
            output["old_per_token_logps"] = output["sampling_per_token_logps"]
        return output

    def _scaled(self, advantages: Tensor, kept: Tensor, output: dict) -> Tensor:
        """Advantages for TRL's loss: dropped rollouts leave the batch, and a prompt mean becomes a factor of each row.

        The loss is linear in a positive factor of A, so a factor is equivalent to another normaliser.
        """
        per_token = [1] * (advantages.dim() - 2)
        if not kept.all():
            output["completion_mask"] = output["completion_mask"] * self._local(kept)[:, None]
            output["num_items_in_batch"] = self.accelerator.gather(output["completion_mask"].sum()).sum()
            advantages = advantages * kept.view(*kept.shape, *per_token)
            counted = kept.any(1) if self.prompt_mean else kept
            if self.loss_type in DIVIDED_BY_ROWS and kept.any():
                advantages = advantages * counted.numel() / counted.sum()
        if self.prompt_mean:
            tokens = (self._group.length * kept).sum(1, keepdim=True).clamp(min=1)
            factor = self.num_generations * self.max_completion_length / tokens
            advantages = advantages * factor.view(*factor.shape, *per_token)
        return advantages

    def _local(self, values: Tensor) -> Tensor:
        """This process's rows of (prompts, group, …), flattened to (rows, …)."""
        flat = values.reshape(-1, *values.shape[2:])
        rows = len(flat) // self.accelerator.num_processes
        return flat[self.accelerator.process_index * rows :][:rows]

    def _per_rollout(self, advantages: Tensor) -> Tensor:
        """(prompts, group): a per-token advantage as its mean over the generated tokens."""
        if advantages.dim() == 2:
            return advantages
        return advantages.sum(-1) / self._group.length.clamp(min=1)

    def _for_baseline(self, group: Group, output: dict) -> Group:
        """The group with the fields that its baseline alone takes."""
        baseline = self.estimate.baseline.__name__
        if baseline in GREEDY:
            return group._replace(greedy=self._greedy_rewards())
        if baseline in ENERGY:
            return self._with_tokens(group, "energy", self.logit_energies(output), output)
        return self._with_kl(group, output) if baseline in KL_PRICE_ARGUMENT else group

    def _greedy_rewards(self) -> Tensor:
        """(prompts, 1): the weighted reward of one greedy completion for each prompt of the batch, which the processes
        share out. These completions are not trained on."""
        every = gather_object(self._rows)[:: self.num_generations]
        rows, _ = equal_part(every, self.accelerator.process_index, self.accelerator.num_processes)
        sampling = SamplingSettings(self.max_completion_length, 0.0)
        ids = [one.ids for one in self.complete([row["prompt_ids"] for row in rows], [0] * len(rows), sampling)]
        texts = self.processing_class.batch_decode(ids, skip_special_tokens=True)
        rollouts = self.grade(rows, [[{"content": text}] for text in texts], ids)
        table = self.grader.reward_table.items()
        scores = [[finite(name, score(rollout), rollout) for name, score in table] for rollout in rollouts]
        scores = torch.tensor(scores, device=self.accelerator.device)
        rewards = (scores * self.reward_weights.to(scores.device)).sum(-1, keepdim=True)
        return self.accelerator.gather(rewards)[: len(every)]

    def _with_kl(self, group: Group, output: dict) -> Group:
        """The group with k1 = log π − log π_ref of each token. Where it costs nothing it is 0, without a reference."""
        k1 = torch.zeros_like(output["completion_mask"], dtype=torch.float32)
        if self.pays_kl:
            layout = layout_of(output)
            with torch.no_grad(), self.accelerator.autocast():
                policy = output.get("old_per_token_logps")
                if policy is None:
                    policy = self._get_per_token_logps_and_entropies(self.model, *layout)[0]
                k1 = policy - self._get_per_token_logps_and_entropies(self.reference, *layout)[0]
        return self._with_tokens(group, "kl", k1, output)

    def _with_tokens(self, group: Group, field: str, values: Tensor, output: dict) -> Group:
        """The group with a field of (rows, tokens) and the mask, (prompts, group, tokens of the longest), gathered."""
        both = torch.stack([values, output["completion_mask"].to(values.dtype)], 1)
        both = self.accelerator.gather(self.accelerator.pad_across_processes(both, dim=2))
        values, mask = both.view(-1, self.num_generations, *both.shape[1:]).unbind(2)
        return group._replace(**{field: values * mask, "mask": mask})

    def _log_batch(self, group: Group, advantages: Tensor, before: Tensor, kept: Tensor) -> None:
        weighted, unweighted = self._per_rollout(advantages), self._per_rollout(before)
        self._diagnostics = diagnose(group, weighted, kept, list(self.grader.reward_table))
        if self.refill:
            self._diagnostics.update(self.refill.report)
        step = self.batches_done + 1
        if self.rollouts_every and (step == 1 or step % self.rollouts_every == 0):
            rows = gather_object(self._ledger_rows(step, group.reward))
            pairs = zip(rows, unweighted.flatten().tolist(), weighted.flatten().tolist(), strict=True)
            rows = [row | {"advantage_before": before, "advantage": after} for row, before, after in pairs]
            if self.accelerator.is_main_process:
                log_files.write_samples(rows, self.run.path / "rollouts" / f"step_{step:06d}.parquet")

    def _ledger_rows(self, step: int, shaped: Tensor) -> list[dict]:
        """This process's rollouts; `reward` is the weighted sum of the rewards, `shaped` what the estimator takes."""
        tensors = (self._group.components, self._group.reward, shaped)
        columns = (self._rows, self._rollouts, *(self._local(tensor).tolist() for tensor in tensors))
        names = [f"reward_{name}" for name in self.grader.reward_table]
        rows = []
        first = self.accelerator.process_index * len(self._rollouts)
        for number, (record, rollout, scores, reward, after) in enumerate(zip(*columns, strict=True), first):
            group, member = divmod(number, self.num_generations)
            completion = Completion(rollout.completion, rollout.length, rollout.truncated, record["thinking"])
            row = {"step": step, "group": group} | log_files.sample_row(record, member, completion, rollout.verdict)
            row |= {"problem": rollout.problem, "reward": reward, "shaped": after}
            rows.append(row | dict(zip(names, scores, strict=True)))
        return rows

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """One line of metrics for each rollout batch, besides TRL's own logs."""
        if "loss" in logs:
            trl = self._metrics["train"]
            self.run.log(
                step=self.batches_done,
                split="train",
                **self._diagnostics,
                entropy=_mean(trl.get("entropy")),
                kl=_mean(trl.get("kl")),
                clip_low=_mean(trl.get("clip_ratio/low_mean")),
                clip_high=_mean(trl.get("clip_ratio/high_mean")),
                loss=logs["loss"],
                grad_norm=logs.get("grad_norm"),
                learning_rate=logs.get("learning_rate"),
                num_tokens=trl["num_tokens"][-1] if trl.get("num_tokens") else None,
                sampler_gap=self._sampler_gap,
                seconds=sum(trl.get("step_time", [])) or None,
                memory_gib=torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else None,
            )
            shown = {name: self._diagnostics[name] for name in ("reward", "length") if name in self._diagnostics}
            self.run.progress(self.batches_done, self.args.max_steps // self.args.logging_steps, **shown)
        super().log(logs, start_time)


def _mean(values: list[float] | None) -> float | None:
    return sum(values) / len(values) if values else None
