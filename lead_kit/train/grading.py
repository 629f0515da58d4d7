"""Completions as graded rollouts: one path for training, dynamic sampling and validation."""

from collections.abc import Callable

from lead_kit.method.rewards import Rollout
from lead_kit.models.sampler import Completion


class Grader:
    """Grades completions against the gold answers and scores them with the chosen rewards.

    `reward_table` maps names to functions of one Rollout. `end_marker` is the text that a completion must hold to count
    as complete (GRPO-LEAD, released code: </think>); empty, an end token decides.
    """

    def __init__(self, reward_table: dict[str, Callable[[Rollout], float]], verifier, end_marker: str = ""):
        self.reward_table, self.verifier, self.end_marker = reward_table, verifier, end_marker

    def completion(self, text: str, tokens: list[int], ends: list[int]) -> Completion:
        """A completion as text; `ends` are the tokens that end one."""
        complete = self.end_marker in text if self.end_marker else bool(tokens) and tokens[-1] in ends
        return Completion(text, len(tokens), not complete)

    def verdicts(self, records: list[dict], completions: list[Completion]) -> list:
        """The verifier's verdict on each completion of its record."""
        return self.verifier.check_many([c.text for c in completions], [record["gold"] for record in records])

    def grade(self, records: list[dict], completions: list[Completion]) -> list[Rollout]:
        """One Rollout for each record and its completion. A gold that cannot be graded raises in the reward."""
        return [
            Rollout(
                record["problem"], completion.text, record["gold"], completion.length, completion.truncated, verdict
            )
            for record, completion, verdict in zip(
                records, completions, self.verdicts(records, completions), strict=True
            )
        ]

    def scores(self, name: str, rollouts: list[Rollout]) -> list[float]:
        """The reward of that name for each rollout."""
        return [self.reward_table[name](rollout) for rollout in rollouts]
