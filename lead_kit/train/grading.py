"""Grading of completions, shared by training, dynamic sampling and validation."""

from lead_kit.method.rewards import Rollout
from lead_kit.models.sampler import Completion


class Grader:
    """Grades completions against the gold answers and scores them with the chosen rewards.

    `reward_table` maps names to functions of one Rollout. A completion is complete if it contains `end_marker`
    (GRPO-LEAD, released code: </think>); with an empty one, if it ends with an end token. `answer_region` is the
    verifier's: after_think, or before_think (GRPO-LEAD, released code). With `reject_restated_problem`, rollouts in
    training earn nothing for an answer that stands in the problem, unless it is the gold answer as written.
    """

    def __init__(
        self,
        reward_table: dict,
        verifier,
        end_marker: str = "",
        answer_region="after_think",
        reject_restated_problem=False,
    ):
        self.reward_table, self.verifier = reward_table, verifier
        self.end_marker, self.answer_region, self.reject_restated_problem = (
            end_marker,
            answer_region,
            reject_restated_problem,
        )

    def completion(self, text: str, tokens: list[int], ends: list[int], thinking: bool) -> Completion:
        """A Completion from its text and tokens; `ends` are the end tokens."""
        complete = self.end_marker in text if self.end_marker else bool(tokens) and tokens[-1] in ends
        return Completion(text, len(tokens), not complete, thinking)

    def verdicts(self, records: list[dict], completions: list[Completion], problems: list[str] | None = None) -> list:
        """The verdict on the completion of each record; one copied from its problem in `problems` is wrong."""
        texts, golds = [c.graded_text for c in completions], [record["gold"] for record in records]
        return self.verifier.check_many(texts, golds, answer_region=self.answer_region, problems=problems)

    def grade(self, records: list[dict], completions: list[Completion]) -> list[Rollout]:
        """One Rollout for each record and its completion. The reward raises for a gold that cannot be graded."""
        problems = [record["problem"] for record in records] if self.reject_restated_problem else None
        verdicts = self.verdicts(records, completions, problems)
        return [
            Rollout(record["problem"], one.text, record["gold"], one.length, one.truncated, verdict, record)
            for record, one, verdict in zip(records, completions, verdicts, strict=True)
        ]
