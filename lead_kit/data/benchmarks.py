"""How each benchmark is asked: prompt, samples a problem, temperature, cuts and token limit.

The default is what GRPO-LEAD states for its tables (2504.09696: 32 samples, temperature .6, min_p .01, 14k tokens for
its 14B model). A notebook overrides any of it by a parameter of the same name.
"""

from typing import NamedTuple

from lead_kit.errors import InputError, nearest


class Settings(NamedTuple):
    """Sampling settings of one benchmark."""

    template: str
    n: int
    temperature: float
    top_p: float
    min_p: float
    max_tokens: int


GRPO_LEAD = Settings("grpo_lead", 32, 0.6, 1.0, 0.01, 14336)
BENCHMARKS = {
    "arithmetic": Settings("plain", 8, 1.0, 1.0, 0.0, 96),  # the embedded task
    "AIME24": GRPO_LEAD,
    "AIME25": GRPO_LEAD,
    "AMC23": GRPO_LEAD,
    "MATH-500": GRPO_LEAD._replace(n=4),  # 500 problems tell as much with fewer samples each
    "OlympiadBench": GRPO_LEAD._replace(n=4),
    "Minerva": GRPO_LEAD._replace(n=4),
    "GSM8K": GRPO_LEAD._replace(n=1),
    "GPQA-diamond": GRPO_LEAD._replace(template="multiple_choice", n=4),
}
UNSET = -1.0  # a number that leaves a setting as the benchmark has it


def settings(benchmark: str, **overrides) -> Settings:
    """The benchmark's settings with every override that is set (not empty text, 0 samples or tokens, or −1).

    Raises InputError for a benchmark without settings, naming the nearest.
    """
    if benchmark not in BENCHMARKS:
        raise InputError(
            f"no benchmark {benchmark!r}; there are {', '.join(BENCHMARKS)}{nearest(benchmark, BENCHMARKS)}"
        )
    left = {"template": "", "n": 0, "max_tokens": 0, "temperature": UNSET, "top_p": UNSET, "min_p": UNSET}
    return BENCHMARKS[benchmark]._replace(**{k: v for k, v in overrides.items() if v != left[k]})
