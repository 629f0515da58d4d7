"""`lead reproduce`, `lead recipe`, `lead list`: runs the jobs of a recipe through Snakemake; shows recipes and tables.

Which jobs have to run is decided here (standing.py). Snakemake only orders them (experiments/Snakefile); a `done` file
in the run folder tells it that a job has ended well. Each job is a `lead run`. Everything is written below
runs/<recipe>/<scale>/.
"""

import contextlib
import json
import os
import re
import shlex
import signal
import sys
from pathlib import Path

from lead_kit.errors import InputError, nearest_or_all, shorten
from lead_kit.launch import estimates, process_tree, ranks, recipe_model, recipes, stale_jobs, warm
from lead_kit.runs import lock, manifest, provenance
from lead_kit.runs.files import ROOT, RUNS, run_folder, shown, write_text

_SNAKEFILE = ROOT / "experiments" / "Snakefile"


def command(job: recipes.Job) -> list[str]:
    """The `lead run` of a job, as a user would type it."""
    words = ["lead", "run", shown(job.notebook)]
    for name, value in job.parameters.items():
        words += ["-p", name, recipes.as_text(value)]
    words += ["--nproc", str(job.nproc)] if job.nproc > 1 else []
    return words + (["--accelerate", job.accelerate] if job.accelerate else [])


def _refuse_twice(jobs: list[recipes.Job]) -> None:
    """Raises InputError when two jobs would write the same run folder."""
    seen: dict[str, recipes.Job] = {}
    for job in jobs:
        other = seen.setdefault(job.name, job)
        if other is not job:
            places = " and ".join(f"stage {j.stage}, arm {j.arm}, benchmark {j.benchmark}" for j in (other, job))
            raise InputError(f"two runs would have the name {job.name!r}: {places}; rename a stage, arm or benchmark")


def split_resources(options: list) -> tuple[list[str], dict[str, str]]:
    """A scale's options for Snakemake without --default-resources, and the resources that it names."""
    words = [str(option) for option in options]
    if "--default-resources" not in words:
        return words, {}
    start = words.index("--default-resources")
    end = next((i for i in range(start + 1, len(words)) if words[i].startswith("--")), len(words))
    return words[:start] + words[end:], dict(word.split("=", 1) for word in words[start + 1 : end])


def set_resources(given: dict[str, str], pairs: list[str], scale_name: str) -> dict[str, str]:
    """The scale's resources with those of --set NAME=VALUE. Raises InputError for anything else."""
    for pair in pairs:
        name, is_pair, value = pair.partition("=")
        if not given:
            raise InputError(f"--set {pair}: the scale {scale_name!r} submits to no cluster, so it has no resources")
        if not is_pair or not name.isidentifier() or not value:
            raise InputError(f"--set {pair!r}: expected NAME=VALUE, e.g. runtime=60{nearest_or_all(name, given)}")
        given = given | {name: value}
    return given


def own_resources(job: recipes.Job, given: dict[str, str]) -> dict:
    """The resources of one job: without a model it needs no GPU, and alone it needs no second host."""
    left_out = ["gres"] * (job.notebook.stem not in estimates.WITH_MODEL) + ["nodes"] * (job.nproc == 1)
    return {name: int(v) if v.isdigit() else v for name, v in given.items() if name not in left_out}


def _write_plan(folder: Path, jobs: list[recipes.Job], scale: recipe_model.Scale, given: dict[str, str]) -> Path:
    """Writes the jobs for Snakemake: name → command, the names of the jobs it needs, and its resources.

    `threads` is each job's: Snakemake sets OMP_NUM_THREADS by it, whatever stands in the environment.
    """
    local = "--executor" not in scale.snakemake
    names, plan = {job.name for job in jobs}, {}
    for job in jobs:
        words = [sys.executable, "-m", "lead_kit.cli", *command(job)[1:]]
        words += ["--brief", "--prefix", job.name.rpartition("/")[2]]
        words += ["--die-with-parent", str(os.getpid()) if local else "0"]
        words += ["--replace"] if stale_jobs.lists_of_runs(job) else []
        needs = [name for name in job.needs if name in names]
        own = own_resources(job, given)
        if (nodes := own.get("nodes", 1)) > 1:  # one `lead run` on each host
            srun = ["srun", "--overlap", "--nodes", str(nodes), "--ntasks", str(nodes), "--ntasks-per-node", "1"]
            words = [*srun, *words, "--nodes", str(nodes)]
            own |= {"tasks": nodes, "mpi": "srun"}  # mpi: Snakemake's own step, which has one host, is left out
        plan[job.name] = {"command": shlex.join(words), "needs": needs, "resources": own}
    written = {"runs": str(RUNS), "threads": scale.threads, "jobs": plan}
    return write_text(folder / "plan.json", json.dumps(written, indent=1) + "\n")


def snakemake(folder: Path, plan: Path, at_once: int, threads: int, extra: list[str]) -> list[str]:
    """The Snakemake command: quiet, local unless the scale says otherwise, writing below `folder` only."""
    options = ["--snakefile", str(_SNAKEFILE), "--directory", str(folder), "--jobs", str(at_once)]
    options += ["--cores", str(at_once * threads), "--quiet", "all", "--nocolor", "--nolock", "--keep-going"]
    options += ["--rerun-incomplete", "--rerun-triggers", "mtime", "--scheduler", "greedy", "--latency-wait", "2"]
    options += ["--runtime-source-cache-path", str(folder / ".snakemake" / "sources"), *map(str, extra)]
    return [sys.executable, "-m", "snakemake", *options, "--config", f"plan={plan}"]


def reproduce_recipe(
    recipe: str,
    scale_name: str,
    seeds: str | None,
    arms: str | None,
    at_once: int | None,
    dry_run: bool,
    resources: list[str],
    cold: bool = False,
) -> int:
    """Runs the unfinished jobs of a recipe. Returns 0, 1 when a run failed, or 128 + signal when stopped."""
    if at_once is not None and at_once < 1:
        raise InputError(f"--jobs {at_once}: expected at least 1")
    jobs = recipes.plan(recipe, scale_name, _parse_seeds(seeds), _parse_arms(arms))
    _refuse_twice(jobs)
    scale = recipe_model.load_scale(scale_name)
    options, given = split_resources(scale.snakemake)
    given = set_resources(given, resources, scale_name)
    if dry_run:
        print(estimates.dry_run(jobs, scale, [shlex.join(command(job)) for job in jobs]))
        return 0
    estimates.require(jobs, scale)
    folder = RUNS / recipe / scale_name
    lock.acquire(folder)
    reasons = stale_jobs.reasons(jobs)
    finished, left = ([job for job in jobs if (job.name in reasons) == runs] for runs in (False, True))
    print(f"{recipe} at {scale_name}: {len(jobs)} runs in {shown(folder)}, {_told_finished(finished)}", flush=True)
    for name in filter(reasons.get, reasons):
        print(f"runs/{name} is repeated: {reasons[name]}", flush=True)
        (run_folder(name) / "done").unlink()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    at_once = at_once or scale.jobs or cores
    variables = os.environ | {"OMP_NUM_THREADS": str(scale.threads), "XDG_CACHE_HOME": str(folder / ".snakemake")}
    call = snakemake(folder, _write_plan(folder, left, scale, given), at_once, scale.threads, options)
    shared = not cold and _is_warm(left, options)
    code = _run_snakemake(call, variables, folder, shared) if left else 0
    if code > 1:
        return code
    if _print_failures(jobs, folder):
        return 1
    _print_results(jobs)
    return 0


def _is_warm(jobs: list[recipes.Job], options: list[str]) -> bool:
    """Whether the jobs are to be forks of a warm process: several with a model, on this Linux host, without a GPU."""
    models = [job for job in jobs if job.notebook.stem in estimates.WITH_MODEL]
    several = len(models) > 1 and hasattr(os, "pidfd_open")
    return several and not {"--executor", warm.VARIABLE} & {*options, *os.environ} and not ranks.has_gpu()


def _told_finished(done: list[recipes.Job]) -> str:
    """How many runs are finished, and how many of these ran other code than their notebooks have now."""
    codes = {job.name: manifest.read_manifest(run_folder(job.name))["attempts"][-1]["code"] for job in done}
    old = [job for job in done if codes[job.name] != provenance.code_hash(job.notebook)]
    note = f" ({len(old)} with other code than their notebooks have now; to repeat one, delete its folder)"
    return f"{len(done)} finished{note if old else ''}"


def _parse_seeds(text: str | None) -> list[int] | None:
    """`0,1,2` as numbers; None stays None. Raises InputError for anything else."""
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch("[0-9]{1,18}", part) for part in parts):
        raise InputError(f"--seeds {shorten(text)!r}: expected whole numbers separated by commas, e.g. 0,1,2")
    return list(dict.fromkeys(map(int, parts)))


def _parse_arms(text: str | None) -> list[str] | None:
    """`grpo,lead` as names; None stays None. Raises InputError for an empty name and for one that comes twice."""
    if text is None:
        return None
    arms = [part.strip() for part in text.split(",")]
    if twice := [arm for arm in arms if arm and arms.count(arm) > 1]:
        raise InputError(f"--arms {shorten(text)!r} names {twice[0]!r} twice")
    if "" in arms:
        raise InputError(f"--arms {shorten(text)!r}: expected names of arms separated by commas, e.g. grpo,length")
    return arms


def _run_snakemake(call: list[str], variables: dict[str, str], folder: Path, shared: bool) -> int:
    """Runs Snakemake to its end, its runs as forks of one process if `shared`. A signal stops every run below it."""
    process_tree.raise_on_signals()
    process_tree.adopt_orphans()
    try:
        with (folder / "snakemake.log").open("ab") as log, contextlib.ExitStack() as stack:
            if shared:
                variables = variables | stack.enter_context(warm.server(variables))
            child = process_tree.start(call, env=variables, stderr=log if "--executor" not in call else None)
            return 1 if child.wait() else 0
    except process_tree.Stopped as stopped:
        name = signal.Signals(stopped.args[0]).name
        print(f"stopped by {name}; the same command continues from here", file=sys.stderr, flush=True)
        return 128 + stopped.args[0]
    finally:
        process_tree.end_children(patience=10.0)  # each `lead run` below ends its own tree first


def _print_failures(jobs: list[recipes.Job], folder: Path) -> bool:
    """Prints a line on stderr for each run that failed or was left out; returns whether there is one."""
    unfinished = {job.name: job for job in jobs if not (run_folder(job.name) / "done").is_file()}
    for name, job in unfinished.items():
        attempts = (manifest.read_manifest(run_folder(name)) or {}).get("attempts")
        waits = any(need in unfinished for need in job.needs)
        without = "a run that it needs is missing" if waits else "its job ended before `lead run` had begun"
        # an attempt that was cancelled by force could not say how it ended
        reason = f"failed: {attempts[-1].get('reason', 'it was killed')}" if attempts else f"not run: {without}"
        print(f"lead: runs/{name} {reason}", file=sys.stderr)
    if unfinished:
        logs = folder / ".snakemake" / "slurm_logs"
        place = f"{shown(folder)}/snakemake.log" + (f", those of the cluster's jobs in {shown(logs)}" * logs.is_dir())
        print(f"lead: Snakemake's own messages are in {place}", file=sys.stderr)
    return bool(unfinished)


def _print_results(jobs: list[recipes.Job]) -> None:
    """Prints the results of the last stage: the table.md of each run, or its summary when it wrote none."""
    needed = {name for job in jobs for name in job.needs}
    for folder in [run_folder(job.name) for job in jobs if job.name not in needed]:
        table = folder / "table.md"
        if table.is_file():
            print(f"\n{shown(table)}\n{table.read_text(encoding='utf-8').rstrip()}")
        else:
            print(f"\n{shown(folder)}\n{json.dumps((manifest.read_manifest(folder) or {}).get('summary', {}))}")
