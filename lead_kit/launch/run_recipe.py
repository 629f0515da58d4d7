"""`lead reproduce`: runs the unfinished jobs of a recipe through Snakemake, each as a `lead run`.

Which jobs have to run is decided here, by what the runs recorded, never by times or absolute paths: a finished run
stays finished when `runs/` is copied or moved, or lies in another clone of the repository. Snakemake only orders the
jobs (experiments/Snakefile); a `done` file in the run folder shows it that a job is finished. Everything is written
below runs/<recipe>/<scale>/.
"""

import contextlib
import functools
import importlib.util
import itertools
import json
import math
import os
import re
import shlex
import shutil
import signal
import statistics
import sys
import time
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from lead_kit.errors import InputError, nearest_or_all, shorten
from lead_kit.launch import estimates, forkserver, process_tree, ranks
from lead_kit.launch.recipe_model import Recipe, Scale, load_recipe, load_scale
from lead_kit.launch.recipes import Job, as_text, plan, settled
from lead_kit.runs import lock, manifest, provenance
from lead_kit.runs.files import ROOT, RUNS, resolve, run_folder, shown, write_text

_POLL, _SILENCE = 1.0, 60.0  # seconds between two looks at the runs, and at most between two lines on them
_SNAKEFILE = ROOT / "experiments" / "Snakefile"


def _lead_run(job: Job) -> list[str]:
    """The `lead run` of a job, as a user would type it."""
    words = ["lead", "run", shown(job.notebook)]
    for name, value in job.parameters.items():
        words += ["-p", name, as_text(value)]
    words += ["--nproc", str(job.nproc)] if job.nproc > 1 else []
    return words + (["--accelerate", job.accelerate] if job.accelerate else [])


def _set_resources(scale: Scale, pairs: Iterable[str], scale_name: str) -> dict[str, str]:
    """The scale's resources with those of --set NAME=VALUE. Raises InputError for anything else."""
    resources = dict(scale.resources)
    for pair in pairs:
        name, is_pair, value = pair.partition("=")
        if not resources:
            raise InputError(f"--set {pair}: the scale {scale_name!r} submits to no cluster, so it has no resources")
        if not is_pair or not name.isidentifier() or not value:
            raise InputError(f"--set {pair!r}: expected NAME=VALUE, e.g. runtime=60{nearest_or_all(name, resources)}")
        resources[name] = value
    return resources


def _require_plugin(scale: Scale, scale_name: str) -> None:
    """Raises InputError when Snakemake lacks the plug-in of the scale's executor."""
    executor = dict(itertools.pairwise(scale.snakemake)).get("--executor")
    if executor and importlib.util.find_spec(f"snakemake_executor_plugin_{executor.replace('-', '_')}") is None:
        raise InputError(f"scale {scale_name} lacks a plug-in: pip install snakemake-executor-plugin-{executor}")


def _resources_of(job: Job, resources: dict[str, str]) -> dict:
    """The resources of one job: without a model it needs no GPU, and alone it needs no second host."""
    left_out = ["gres"] * (job.notebook.stem not in estimates.WITH_MODEL) + ["nodes"] * (job.nproc == 1)
    return {name: int(v) if v.isdigit() else v for name, v in resources.items() if name not in left_out}


def _write_plan(folder: Path, jobs: list[Job], scale: Scale) -> Path:
    """Writes the jobs for Snakemake: run folder in `folder` → command, folders of the jobs it needs, and its resources.

    `threads` is each job's: Snakemake sets OMP_NUM_THREADS by it, whatever stands in the environment.
    """
    local = "--executor" not in scale.snakemake
    names, entries = {job.name: job.name.rpartition("/")[2] for job in jobs}, {}
    for job in jobs:
        words = [sys.executable, "-P", "-m", "lead_kit.cli", *_lead_run(job)[1:]]
        words += ["--prefix", names[job.name]]
        words += ["--die-with-parent", str(os.getpid()) if local else "0"]
        words += ["--replace"] if _lists_of_runs(job) else []
        needs = [names[name] for name in job.needs if name in names]
        asked = _resources_of(job, scale.resources)
        if (nodes := asked.get("nodes", 1)) > 1:  # one `lead run` on each host
            srun = ["srun", "--overlap", "--nodes", str(nodes), "--ntasks", str(nodes), "--ntasks-per-node", "1"]
            srun += ["--cpus-per-task", str(asked["cpus_per_task"])] if "cpus_per_task" in asked else []
            words = [*srun, *words, "--nodes", str(nodes)]
            asked |= {"tasks": nodes, "mpi": "srun"}  # mpi: Snakemake's own step, which has one host, is left out
        entries[names[job.name]] = {"command": shlex.join(words), "needs": needs, "resources": asked}
    content = {"threads": scale.threads, "jobs": entries}
    return write_text(folder / "plan.json", json.dumps(content, indent=1) + "\n")


def _snakemake_call(folder: Path, plan: Path, at_once: int, scale: Scale) -> list[str]:
    """The Snakemake command: quiet, local unless the scale says otherwise, writing below `folder` only. Paths of
    outputs and settings, which Snakemake reads as formats and as YAML, are relative to `folder`."""
    options = ["--snakefile", str(_SNAKEFILE), "--directory", str(folder), "--jobs", str(at_once)]
    options += ["--cores", str(at_once * scale.threads), "--quiet", "all", "--nocolor", "--nolock", "--keep-going"]
    options += ["--rerun-incomplete", "--rerun-triggers", "mtime", "--scheduler", "greedy", "--latency-wait", "2"]
    options += ["--runtime-source-cache-path", str(folder / ".snakemake" / "sources"), *scale.snakemake]
    return [sys.executable, "-P", "-m", "snakemake", *options, "--config", f"plan={plan.name}"]


def _plan_jobs(
    recipe: str, scale_name: str, seeds: str | None, arms: str | None, settings: Iterable[str], made: Recipe | None
) -> tuple[list[Job], Scale]:
    """The jobs of a recipe, and its scale with the resources of the command line. Raises InputError for a plan that its
    runs or the scale's GPUs would refuse."""
    arms = _parse_list(arms, "--arms", "names of arms separated by commas, e.g. grpo,length")
    seeds = _parse_list(seeds, "--seeds", "whole numbers separated by commas, e.g. 0,1,2", r"[0-9]{1,18}")
    seeds = seeds and [int(seed) for seed in seeds]
    scale = load_scale(scale_name)
    scale = scale.model_copy(update={"resources": _set_resources(scale, settings, scale_name)})
    jobs = estimates.share_cards(plan(recipe, scale_name, seeds, arms, made), scale)
    names = [job.name for job in jobs]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"two runs would have the name {twice[0]!r}: rename a stage, arm or benchmark")
    estimates.require(jobs, scale, lambda name: plan(recipe, name, seeds, arms, made))
    return jobs, scale


def reproduce_recipe(
    recipe: str,
    scale_name: str,
    seeds: str | None,
    arms: str | None,
    at_once: int | None,
    dry_run: bool,
    settings: Iterable[str],
    made: Recipe | None = None,
) -> int:
    """Runs the unfinished jobs of a recipe, or of `made`, which is in no file. Returns 0, 1 when a run failed, or
    128 + signal when stopped."""
    jobs, scale = _plan_jobs(recipe, scale_name, seeds, arms, settings, made)
    if dry_run:
        print(estimates.dry_run(jobs, scale, [shlex.join(_lead_run(job)) for job in jobs]))
        return 0
    _require_plugin(scale, scale_name)
    folder = RUNS / recipe / scale_name
    lock.acquire(folder)
    reasons = _jobs_to_run(jobs)
    left = [job for job in jobs if job.name in reasons]
    if missing := next(filter(None, map(estimates.missing_data, left)), ""):
        raise InputError(missing)
    finished = f"{len(jobs) - len(left)} finished"
    print(f"{recipe} at {scale_name}: {len(jobs)} runs in {shown(folder)}, {finished}", flush=True)
    for name in filter(reasons.get, reasons):
        print(f"runs/{name} is repeated: {reasons[name]}", flush=True)
        (run_folder(name) / "done").unlink()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    at_once = at_once or scale.jobs or cores
    variables = os.environ | {"OMP_NUM_THREADS": str(scale.threads), "XDG_CACHE_HOME": str(folder / ".snakemake")}
    call = _snakemake_call(folder, _write_plan(folder, left, scale), at_once, scale)
    planned = (made or load_recipe(recipe)).planned  # each run copies it into its run.json
    write_text(folder / "planned.json", json.dumps(planned.record() if planned else None, indent=1) + "\n")
    several = sum(job.notebook.stem in estimates.WITH_MODEL for job in left) > 1  # whose kernels may be forks
    chosen = {"--executor", forkserver.VARIABLE} & {*scale.snakemake, *os.environ}
    forks = several and not chosen and not ranks.has_gpu()
    with forkserver.serve(variables) if forks else contextlib.nullcontext({}) as server:
        code = _run_snakemake(call, variables | server, folder, jobs, at_once) if left else 0
    if code > 1 or _print_failures(jobs, folder):
        return max(code, 1)
    _print_results(jobs)
    return 0


def _lists_of_runs(job: Job) -> list[str]:
    """The parameters that list folders of other runs; they change when seeds or arms are added."""
    folders = tuple(f"runs/{name}" for name in job.needs)
    lists = {name: value for name, value in job.parameters.items() if isinstance(value, list)}
    return [name for name, value in lists.items() if any(str(item).startswith(folders) for item in value)]


def _jobs_to_run(jobs: list[Job]) -> dict[str, str]:
    """The names of the jobs that have to run, each with the reason if it had finished before; writes nothing.

    A finished run is repeated when an input or output that it recorded has another hash now, when a run that it needs
    is repeated, or when only its list of runs changed. Raises InputError for a run folder with other parameters than
    the recipe gives.
    """
    reasons: dict[str, str] = {}
    fingerprint = functools.cache(provenance.fingerprint)  # the output of one run is the input of others
    for job in jobs:  # a job stands behind those that it needs
        folder = run_folder(job.name)
        earlier = manifest.read_manifest(folder, complete=True)
        changed = manifest.changes_from_run(earlier, settled(job), job.notebook) if earlier else {}
        if set(changed) - set(_lists_of_runs(job)):
            raise manifest.name_taken_error(folder, changed, "delete the folder")
        if earlier is None or earlier["status"] != "done" or not (folder / "done").is_file():
            reasons[job.name] = ""
            continue
        files = {resolve(name): kept for name, kept in earlier["inputs"].items()}
        files |= {folder / name: kept for name, kept in earlier["outputs"].items()}
        differing = [path for path, kept in files.items() if kept and path.exists() and fingerprint(path) != kept]
        if changed:
            reasons[job.name] = f"{', '.join(changed)} changed"
        elif repeated := [name for name in job.needs if name in reasons]:
            reasons[job.name] = f"it needs runs/{repeated[0]}"
        elif differing:  # a file that was deleted to save space does not differ
            reasons[job.name] = f"{shown(differing[0])} changed"
    return reasons


def _parse_list(text: str | None, option: str, expected: str, pattern: str = ".+") -> list[str] | None:
    """`a,b` as texts that fit the pattern; None stays None. Raises InputError for another one and for one twice."""
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch(pattern, part) for part in parts):
        raise InputError(f"{option} {shorten(text)!r}: expected {expected}")
    if twice := [part for part in parts if parts.count(part) > 1]:
        raise InputError(f"{option} {shorten(text)!r} names {twice[0]!r} twice")
    return parts


def _finished(jobs: list[Job]) -> set[str]:
    return {job.name for job in jobs if (run_folder(job.name) / "done").is_file()}


def _overview(jobs: list[Job], done: set[str], at_once: int) -> str:
    """`7 of 24 done, 2 running, about 4 min left`: a run takes as long as those of its stage took.

    A single run of a stage may take as long as any took; without a finished run of a larger stage, no time is given.
    """
    records = {job.name: manifest.read_manifest(run_folder(job.name)) or {} for job in jobs}
    times: dict[str, list[float]] = {}
    for job in [job for job in jobs if job.name in done and records[job.name].get("end")]:
        start, end = (datetime.fromisoformat(records[job.name][key]) for key in ("start", "end"))
        times.setdefault(job.stage, []).append((end - start).total_seconds())
    usual = [seconds for of_stage in times.values() for seconds in of_stage]
    waiting = [job.stage for job in jobs if job.name not in done]
    known = usual and all(stage in times or waiting.count(stage) == 1 for stage in waiting)
    left = sum(statistics.mean(times.get(stage, usual)) for stage in waiting) if known else 0
    running = sum(record.get("status") == "running" for record in records.values())
    about = f", about {math.ceil(left / at_once / 60)} min left" if left else ""
    return f"{len(done)} of {len(jobs)} done, {running} running{about}"


def _run_snakemake(call: list[str], variables: dict[str, str], folder: Path, jobs: list[Job], at_once: int) -> int:
    """Runs Snakemake to its end; prints each run that ends, and how many have. A signal stops every run below it."""
    process_tree.raise_on_signals()
    process_tree.adopt_orphans()
    shutil.rmtree(folder / ".snakemake" / "sources", ignore_errors=True)  # it would run its copy of an older Snakefile
    try:
        with (folder / "snakemake.log").open("ab") as log:
            child = process_tree.start(call, env=variables, stderr=log if "--executor" not in call else None)
            done, printed = _finished(jobs), time.monotonic()
            while child.poll() is None:
                time.sleep(_POLL)
                if (now := _finished(jobs)) != done or time.monotonic() > printed + _SILENCE:
                    print(*(f"runs/{name} is done" for name in sorted(now - done)), sep="\n", end="\n" * (now > done))
                    print(_overview(jobs, now, at_once), flush=True)
                    done, printed = now, time.monotonic()
            return 1 if child.returncode else 0
    except process_tree.Stopped as stopped:
        name = signal.Signals(stopped.args[0]).name
        print(f"stopped by {name}; the same command continues from here", file=sys.stderr, flush=True)
        return 128 + stopped.args[0]
    finally:
        process_tree.end_children(patience=10.0)  # each `lead run` below ends its own tree first


def _print_failures(jobs: list[Job], folder: Path) -> bool:
    """Prints a line on stderr for each run that failed or was left out; returns whether there is one."""
    done = _finished(jobs)
    unfinished = [job for job in jobs if job.name not in done]
    for job in unfinished:
        attempts = (manifest.read_manifest(run_folder(job.name)) or {}).get("attempts")
        if attempts:  # one that was cancelled by force could not say how it ended
            reason = f"failed: {attempts[-1].get('reason', 'it was killed')}"
        elif done.issuperset(job.needs):
            reason = "not run: the job ended before `lead run` started"
        else:
            reason = "not run: a run that it needs is missing"
        print(f"lead: runs/{job.name} {reason}", file=sys.stderr)
    if unfinished:
        logs = folder / ".snakemake" / "slurm_logs"
        path = f"{shown(folder)}/snakemake.log" + (f", those of the cluster's jobs in {shown(logs)}" * logs.is_dir())
        print(f"lead: Snakemake's own messages are in {path}", file=sys.stderr)
    return bool(unfinished)


def _print_results(jobs: list[Job]) -> None:
    """Prints the results of the last stage: the table.md of each run, or its summary when it wrote none."""
    needed = {name for job in jobs for name in job.needs}
    for folder in [run_folder(job.name) for job in jobs if job.name not in needed]:
        table = folder / "table.md"
        if table.is_file():
            print(f"\n{shown(table)}\n{table.read_text(encoding='utf-8').rstrip()}")
        else:
            print(f"\n{shown(folder)}\n{json.dumps((manifest.read_manifest(folder) or {}).get('summary', {}))}")
