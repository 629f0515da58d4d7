"""The data sets that have a name here: where each lies on the hub and what its columns are called."""

from typing import NamedTuple


class Source(NamedTuple):
    """Where a named set lies on the hub and what its columns are called ("a.0.b" reaches into lists and structs)."""

    hub: str
    split: str
    problem: str
    answer: str = ""  # empty: the last box of the solution
    solution: str = ""
    level: str = ""
    id: str = ""
    config: str = ""
    files: str = ""  # one file of a repository that holds several
    wrong: tuple[str, ...] = ()  # columns of the wrong options of a multiple-choice question
    keep: tuple[str, ...] = ()  # columns carried along


# Hub ids and columns are those that public code loads them by; where a column could not be confirmed, it says so.
SETS = {
    "DeepScaleR": Source("agentica-org/DeepScaleR-Preview-Dataset", "train", "problem", "answer", "solution"),
    # unconfirmed: the owner is that of the checkpoint PlanePaper/LEAD-14B; for the columns the common names are tried
    "GRPO-LEAD-SFTData": Source("PlanePaper/GRPO-LEAD-SFTData", "train", ""),
    "DeepMath-103K": Source(
        "zwhe99/DeepMath-103K", "train", "question", "final_answer", "r1_solution_1", "difficulty", keep=("topic",)
    ),
    "MATH-lighteval": Source(
        "DigitalLearningGmbH/MATH-lighteval",
        "train",
        "problem",
        "",
        "solution",
        "level",
        config="default",
        keep=("type",),
    ),
    # the solution is the chat's answer (a trace of R1), on which open-r1 trains; the column "solution" is the human one
    "OpenR1-Math-220k": Source(
        "open-r1/OpenR1-Math-220k", "train", "problem", "answer", "messages", config="default", keep=("problem_type",)
    ),
    # one of two files in the repository; turns are {"from", "value"}, the answer is read from the trace
    "Light-R1-stage2": Source(
        "qihoo360/Light-R1-SFTData",
        "train",
        "conversations.0.value",
        "",
        "conversations.1.value",
        files="stage2-3k.json",
    ),
    # in the course's repository, not on the hub
    "math3k": Source(
        "", "", "prompt", "answer", "", "difficulty", files="GAIR-NLP/cs2916 2025/hw1/data/train/math3k_rl_prompt.jsonl"
    ),
    "AIME24": Source("HuggingFaceH4/aime_2024", "train", "problem", "answer", "solution", id="id"),
    "AIME25": Source("math-ai/aime25", "test", "problem", "answer", id="id"),
    "MATH-500": Source(
        "HuggingFaceH4/MATH-500", "test", "problem", "answer", "solution", "level", "unique_id", keep=("subject",)
    ),
    "AMC23": Source("math-ai/amc23", "test", "question", "answer", id="id"),
    # open-ended, text only, mathematics, English, competition: the only split is called train
    "OlympiadBench": Source(
        "Hothan/OlympiadBench",
        "train",
        "question",
        "final_answer",
        id="id",
        config="OE_TO_maths_en_COMP",
        keep=("subfield",),
    ),
    "GSM8K": Source("openai/gsm8k", "test", "question", "answer", config="main"),
    "Minerva": Source("math-ai/minervamath", "test", "question", "answer"),
    # gated: needs an accepted licence and a token on the machine
    "GPQA-diamond": Source(
        "Idavidrein/gpqa",
        "train",
        "Question",
        "Correct Answer",
        id="Record ID",
        config="gpqa_diamond",
        wrong=("Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3"),
        keep=("Subdomain",),
    ),
}
