"""The method of a run: its estimator, rewards and group filter, with the arguments that the parameters give them."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import Tensor

from lead_kit.data.reasoning_gym import REWARDS as GYM_REWARDS
from lead_kit.method.advantages import Group
from lead_kit.method.estimators import Estimate, bind_estimator
from lead_kit.method.group_filters import GROUP_FILTERS
from lead_kit.method.rewards import bind_rewards
from lead_kit.parameters import select_function, with_user_functions
from lead_kit.runs.user_code import user_functions
from lead_kit.train.grading import Grader

_PARTS = ("estimator", "group_shape", "group_baseline", "group_weight", "group_filter")  # each may be your own function


class Method(NamedTuple):
    """What turns completions into advantages."""

    estimate: Estimate  # a Group in, one advantage a rollout out
    grader: Grader  # verdicts and rewards of completions
    group_filter: Callable[[Group], Tensor]  # which groups train

    def __repr__(self) -> str:
        """The functions with their arguments, one a line."""
        return "\n".join(map(repr, (self.estimate, *self.grader.reward_table.values(), self.group_filter)))


def bind_method(config: Mapping, run, verifier, cells: Mapping) -> Method:
    """The method that the parameters of 03_grpo name.

    `cells` is the notebook's `globals()`: a function of yours that a cell defines is found by its name, and `run` keeps
    its source. Raises InputError for an unknown name, a wrong or missing argument, and parts that do not fit together.
    """
    mine = user_functions([*config["rewards"], *(config[part] for part in _PARTS)], run, cells) | GYM_REWARDS
    estimate = bind_estimator(config, mine)
    rewards = bind_rewards(config["rewards"], mine, seed=config["seed"])
    filters = with_user_functions(GROUP_FILTERS, mine, "group_filter")
    group_filter = select_function(config["group_filter"], filters, "group_filter")
    reading = (config["end_marker"], config["answer_region"], config["reject_restated_problem"])
    return Method(estimate, Grader(rewards, verifier, *reading), group_filter)
