"""The named data sets: where each lies, what its columns are called, and the settings of each benchmark."""

import hashlib
import os.path
import re
from pathlib import Path
from typing import NamedTuple

from lead_kit.errors import InputError, lookup
from lead_kit.runs.files import read_yaml, resolve, shown


class BenchmarkSettings(NamedTuple):
    """A benchmark's prompt template, samples a problem and sampling settings. A notebook can override each."""

    template: str
    n: int
    temperature: float
    top_p: float
    min_p: float
    max_tokens: int


class Source(NamedTuple):
    """Where a named set lies on the hub, and its columns; "a.0.b" means field b of the first item of column a."""

    hub: str
    split: str
    problem: str
    gold: str = ""  # empty: the last box of the solution
    solution: str = ""
    level: str = ""
    id: str = ""
    config: str = ""  # several, separated by commas: their rows are joined
    files: str = ""  # one file of a repository with several
    wrong: tuple[str, ...] = ()  # columns of the wrong options of a multiple-choice question
    keep: tuple[str, ...] = ()  # other columns to keep
    asked: BenchmarkSettings | None = None  # settings, if the set is a benchmark


# What GRPO-LEAD states for its tables (2504.09696): 32 samples, temperature .6, min_p .01, 14k tokens for its 14B model
_GRPO_LEAD = BenchmarkSettings("grpo_lead", 32, 0.6, 1.0, 0.01, 14336)
_FOUR_SAMPLES = _GRPO_LEAD._replace(n=4)  # sets of hundreds of problems need fewer samples of each
SUFFIXES = (".json", ".jsonl", ".parquet", ".csv", ".json.gz", ".jsonl.gz", ".csv.gz")  # of data files
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+){0,2}")  # owner/name, owner/name:split or owner/name:config:split
# sets whose files the user downloads: repository, commit, folder, and the files with Git's hashes
DOWNLOADS = read_yaml(Path(__file__).with_name("downloads.yaml"))
_UNSET = -1.0  # the override that leaves a setting unchanged


def is_data_file(name: str | Path) -> bool:
    """Whether the name is a path, not the name of a set: it ends like a data file, or is a folder that exists."""
    return str(name).endswith(SUFFIXES) or name not in (*SETS, *SUITES, "") and os.path.isdir(resolve(name))


def is_on_hub(name: str) -> bool:
    """Whether the hub has the data set: a named one, a suite, or the id of any other, `owner/name:config:split`."""
    if name in SETS or name in SUITES:
        return name in SUITES or bool(SETS[name].hub)
    return _HUB_ID.fullmatch(str(name)) is not None and not is_data_file(name)


def downloaded_files(name: str) -> list[Path]:
    """The local files of a set of DOWNLOADS, in order; empty for any other set.

    Raises InputError where one is missing, with what to download and where it goes, and where one is another file.
    """
    if name not in DOWNLOADS:
        return []
    repository, commit, path, blobs = DOWNLOADS[name].values()
    folder, page = resolve("data") / Path(repository).name, f"https://github.com/{repository}/tree/{commit}/{path}"
    if missing := [file for file in blobs if not (folder / file).is_file()]:
        raise InputError(f"data set {name}: download {', '.join(missing)} of {page} into {shown(folder)}/")
    for file, blob in blobs.items():
        content = (folder / file).read_bytes()
        if hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() != blob:
            raise InputError(f"data set {name}: {shown(folder / file)} is not the file of {page}, download it again")
    return [folder / file for file in blobs]


def hub_source(name: str) -> Source:
    """Where a data set named by its id on the hub lies; its columns are found by their common names."""
    hub, *parts = name.split(":")
    return Source(hub, parts[-1] if parts else "", "", config=parts[0] if len(parts) > 1 else "")


def benchmark_settings(benchmark: str, **overrides) -> BenchmarkSettings:
    """The benchmark's settings with the overrides that are set: those other than "", 0 (`n`, `max_tokens`) or −1.

    A file, or a set by its hub id, has no settings, so template, n, temperature and max_tokens must be given.
    Raises InputError for a set that is no benchmark, naming the nearest one.
    """
    benchmarks = {name: source.asked for name, source in SETS.items() if source.asked}
    unset = {"template": "", "n": 0, "max_tokens": 0, "temperature": _UNSET, "top_p": _UNSET, "min_p": _UNSET}
    changed = {name: value for name, value in overrides.items() if value != unset[name]}
    if benchmark not in (*SETS, *SUITES) and (is_data_file(benchmark) or is_on_hub(benchmark)):
        missing = [name for name in ("template", "n", "temperature", "max_tokens") if name not in changed]
        if missing:
            needed = ", ".join(missing)
            raise InputError(f"benchmark {benchmark!r} is a file or hub id, which sets nothing: give {needed}, too")
        return BenchmarkSettings(**{"top_p": 1.0, "min_p": 0.0} | changed)
    return lookup(benchmarks, benchmark, "benchmark")._replace(**changed)


# Hub ids and columns as in public code that loads these sets. Unconfirmed columns are marked.
SETS = {
    # the embedded tasks, drawn by lead_kit.data.arithmetic and lead_kit.data.word_problems
    "arithmetic": Source("", "", "problem", asked=BenchmarkSettings("plain", 8, 1.0, 1.0, 0.0, 96)),
    "words": Source("", "", "problem", asked=BenchmarkSettings("plain", 8, 1.0, 1.0, 0.0, 160)),
    "DeepScaleR": Source("agentica-org/DeepScaleR-Preview-Dataset", "train", "problem", "answer", "solution"),
    # the columns are found by common names
    "GRPO-LEAD-SFTData": Source("PlanePaper/GRPO-LEAD-SFTData", "train", ""),
    "DeepMath-103K": Source("zwhe99/DeepMath-103K", "train", "question", "final_answer", "r1_solution_1", "difficulty",
                            keep=("topic",)),
    "MATH-lighteval": Source("DigitalLearningGmbH/MATH-lighteval", "train", "problem", "", "solution", "level",
                             config="default", keep=("type",)),
    # the solution is the chat's answer (a trace of R1), on which open-r1 trains; the column "solution" is a human's
    "OpenR1-Math-220k": Source("open-r1/OpenR1-Math-220k", "train", "problem", "answer", "messages",
                               config="default", keep=("problem_type",)),
    # one of two files in the repository; turns are {"from", "value"}, the answer is read from the trace
    "Light-R1-stage2": Source("qihoo360/Light-R1-SFTData", "train", "conversations.0.value", "",
                              "conversations.1.value", files="stage2-3k.json"),
    # not on the hub (downloads.yaml); correctness: hits among sixteen samples of stage 1
    "DeepScaleR-difficulty": Source("", "", "problem", "answer", "solution", "difficulty"),
    "GRPO-LEAD-combined-27": Source("", "", "problem", "answer", id="id"),
    "GRPO-LEAD-stage1": Source("", "", "problem", "answer", "solution", "difficulty"),
    "GRPO-LEAD-stage2-3": Source("", "", "problem", "answer", "solution", "difficulty", keep=("correctness",)),
    "math3k": Source("", "", "prompt", "answer", "", "meta.difficulty"),
    "math3k-cot": Source("", "", "prompt", "answer", "solution", "meta.difficulty"),
    "AIME24": Source("HuggingFaceH4/aime_2024", "train", "problem", "answer", "solution", id="id", asked=_GRPO_LEAD),
    "AIME25": Source("math-ai/aime25", "test", "problem", "answer", id="id", asked=_GRPO_LEAD),
    # the copies that RLite's recipes load; their columns are found by common names
    "AIME24-sea-snell": Source("sea-snell/aime-2024", "test", "", asked=_GRPO_LEAD),
    "AIME25-opencompass": Source("opencompass/AIME2025", "test", "", config="AIME2025-I,AIME2025-II", asked=_GRPO_LEAD),
    # MathArena's copies of the contests: the only split is called train
    "AIME26": Source("MathArena/aime_2026", "train", "problem", "answer", id="problem_idx", asked=_GRPO_LEAD),
    "HMMT25": Source("MathArena/hmmt_feb_2025", "train", "problem", "answer", id="problem_idx", asked=_GRPO_LEAD),
    "HMMT25-November": Source("MathArena/hmmt_nov_2025", "train", "problem", "answer", id="problem_idx",
                              asked=_GRPO_LEAD),
    "HMMT26": Source("MathArena/hmmt_feb_2026", "train", "problem", "answer", id="problem_idx", asked=_GRPO_LEAD),
    "BRUMO25": Source("MathArena/brumo_2025", "train", "problem", "answer", id="problem_idx", asked=_GRPO_LEAD),
    "CMIMC25": Source("MathArena/cmimc_2025", "train", "problem", "answer", id="problem_idx", asked=_GRPO_LEAD),
    "BeyondAIME": Source("ByteDance-Seed/BeyondAIME", "test", "problem", "answer", asked=_GRPO_LEAD),
    "OlymMATH-easy": Source("RUC-AIBOX/OlymMATH", "test", "problem", "answer", config="en-easy", asked=_GRPO_LEAD),
    "OlymMATH-hard": Source("RUC-AIBOX/OlymMATH", "test", "problem", "answer", config="en-hard", asked=_GRPO_LEAD),
    "Omni-MATH": Source("KbsdJames/Omni-MATH", "test", "problem", "answer", "solution", "difficulty",
                        asked=_FOUR_SAMPLES),
    "MATH-500": Source("HuggingFaceH4/MATH-500", "test", "problem", "answer", "solution", "level", "unique_id",
                       keep=("subject",), asked=_FOUR_SAMPLES),
    "AMC23": Source("math-ai/amc23", "test", "question", "answer", id="id", asked=_GRPO_LEAD),
    # open-ended, text only, mathematics, English, competition: the only split is called train
    "OlympiadBench": Source("Hothan/OlympiadBench", "train", "question", "final_answer", id="id",
                            config="OE_TO_maths_en_COMP", keep=("subfield",), asked=_FOUR_SAMPLES),
    "GSM8K": Source("openai/gsm8k", "test", "question", "answer", config="main", asked=_GRPO_LEAD._replace(n=1)),
    "Minerva": Source("math-ai/minervamath", "test", "question", "answer", asked=_FOUR_SAMPLES),
    # gated: needs an accepted licence and a token on the machine
    "GPQA-diamond": Source("Idavidrein/gpqa", "train", "Question", "Correct Answer", id="Record ID",
                           config="gpqa_diamond", keep=("Subdomain",),
                           wrong=("Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3"),
                           asked=_FOUR_SAMPLES._replace(template="multiple_choice")),
}  # fmt: skip
SUITES = {  # one name for several evaluation sets
    "DeepScaleR-evaluation": ("AIME24", "AMC23", "MATH-500", "Minerva", "OlympiadBench"),
    # contests held from November 2025, after most open models and their training data
    "fresh": ("AIME26", "HMMT26", "HMMT25-November"),
}
