"""The method of a run, bound to its parameters: the grader of completions, the estimator and the group filter."""

import json
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from lead_kit.errors import InputError, lookup
from lead_kit.method.advantages import GROUP_FILTERS, Group
from lead_kit.method.curricula import CURRICULA, History
from lead_kit.method.estimators import Estimate, bind_estimator
from lead_kit.method.losses import LOSSES, TRL_LOSSES, Tokens, trl_loss
from lead_kit.method.rewards import Rollout, bind_rewards
from lead_kit.models.sampler import Completion
from lead_kit.parameters import call_name, select_function, with_user_functions
from lead_kit.runs.user_code import user_functions


class Grader:
    """Grades completions against the gold answers and scores them with the chosen rewards.

    `reward_table` maps names to functions of one Rollout. A completion is complete if it contains `end_marker`
    (GRPO-LEAD, released code: </think>); with an empty one, if it ends with an end token or contains a `stop`.
    `answer_region` is the verifier's: after_think, or before_think (GRPO-LEAD, released code). With
    `reject_restated_problem`, rollouts in training earn nothing for an answer that stands in the problem, unless it is
    the gold answer as written.
    """

    def __init__(
        self, reward_table, verifier, end_marker="", answer_region="after_think", reject_restated_problem=False, stop=()
    ):
        self.reward_table, self.verifier = reward_table, verifier
        self.end_marker, self.answer_region = end_marker, answer_region
        self.reject_restated_problem, self.stop = reject_restated_problem, stop

    def completion(self, text: str, tokens: list[int], ends: list[int], thinking: bool) -> Completion:
        """A Completion from its text and tokens; `ends` are the end tokens."""
        ended = bool(tokens) and tokens[-1] in ends or any(stop in text for stop in self.stop)
        complete = self.end_marker in text if self.end_marker else ended
        return Completion(text, len(tokens), not complete, thinking)

    def verdicts(self, records: list[dict], completions: list[Completion], problems: list[str] | None = None) -> list:
        """The verdict on the completion of each record; one copied from its problem in `problems` is wrong."""
        texts = [c.graded_text for c in completions]
        golds = [record.get("golds") or [record["gold"]] for record in records]
        return self.verifier.check_any(texts, golds, answer_region=self.answer_region, problems=problems)

    def grade(self, records: list[dict], completions: list[Completion]) -> list[Rollout]:
        """One Rollout for each trainer's row and its completion, with the columns that `chat.training_row` packed.

        The reward raises for a gold that cannot be graded.
        """
        records = [json.loads(record.get("others", "{}")) | record for record in records]
        problems = [record["problem"] for record in records] if self.reject_restated_problem else None
        verdicts = self.verdicts(records, completions, problems)
        return [
            Rollout(record["problem"], one.text, record["gold"], one.length, one.truncated, verdict, record)
            for record, one, verdict in zip(records, completions, verdicts, strict=True)
        ]


# each may be your own function
_PARTS = ("estimator", "group_shape", "group_baseline", "group_weight", "group_filter", "curriculum", "loss_type")


class Method(NamedTuple):
    """What turns completions into advantages and a loss."""

    estimate: Estimate  # a Group in, one advantage a rollout out
    grader: Grader  # verdicts and rewards of completions
    group_filter: Callable[[Group], Tensor]  # which groups train
    curriculum: Callable[[History], Tensor]  # which problems are drawn
    policy_loss: Callable[[Tokens], Tensor] | None  # of losses.py, or yours; None for one of TRL's
    trl_loss: str  # TRL's loss, or the one with the average of policy_loss

    def __repr__(self) -> str:
        """The functions with their arguments, one a line."""
        parts = (self.estimate, *self.grader.reward_table.values(), *self[2:-1])
        return "\n".join(repr(part) for part in parts if part is not None)


def _try_estimator(estimate: Estimate, group_filter: Callable, group_size: int, rewards: int) -> None:
    """Raises InputError where the estimator cannot take groups of this size, before anything is sampled."""
    correct = torch.eye(2, group_size)
    components = correct[..., None].expand(-1, -1, rewards)
    tokens = correct[..., None]
    extra = {"truncated": 1 - correct, "repetitive": correct, "components": components, "kl": tokens, "mask": tokens}
    extra |= {"greedy": correct[:, :1], "energy": tokens}
    group = Group(correct, 1 + correct, correct, weights=torch.ones(rewards), answer=correct, **extra)
    try:
        group_filter(estimate.steps(group)[0])
    except ValueError as error:
        raise InputError(f"estimator with group_size {group_size}: {error}") from None


def bind_method(config: Mapping, run, verifier, cells: Mapping) -> Method:
    """The method that the parameters of 03_grpo name.

    `cells` is the notebook's `globals()`: a function of yours that a cell defines is found by its name, and `run` keeps
    its source. Raises InputError for an unknown name, a wrong or missing argument, and parts that do not fit together.
    """
    mine = user_functions([*config["rewards"], *(config[part] for part in _PARTS)], run, cells)
    estimate = bind_estimator(config, mine)
    rewards = bind_rewards(config["rewards"], mine, seed=config["seed"])
    filters = with_user_functions(GROUP_FILTERS, mine, "group_filter")
    group_filter = select_function(config["group_filter"], filters, "group_filter")
    _try_estimator(estimate, group_filter, config["group_size"], len(rewards))
    curricula = with_user_functions(CURRICULA, mine, "curriculum")
    curriculum = select_function(config["curriculum"], curricula, "curriculum", config)
    losses = with_user_functions(TRL_LOSSES | LOSSES, mine, "loss_type")
    loss = call_name(config["loss_type"], "loss_type")
    lookup(losses, loss, "loss_type")
    policy_loss = None if loss in TRL_LOSSES else select_function(config["loss_type"], losses, "loss_type", config)
    if config["curriculum"] != "none" and config["refill_batches"]:
        raise InputError("curriculum and refill_batches both choose the problems of a batch: turn one of them off")
    if "" in config["stop"]:
        raise InputError("stop holds an empty text, expected texts that end a completion")
    reading = (config["end_marker"], config["answer_region"], config["reject_restated_problem"])
    grader = Grader(rewards, verifier, *reading, tuple(config["stop"]))
    return Method(estimate, grader, group_filter, curriculum, policy_loss, trl_loss(loss))
