"""`lead reproduce`, `lead recipe`, `lead list`: the jobs of a recipe handed to Snakemake, and what there is to run.

Snakemake only orders the jobs (experiments/Snakefile) and knows by the `done` file of a run folder that it is finished;
each job is a `lead run`. Everything it writes lies below runs/<recipe>/<scale>/.
"""

import functools
import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from lead_kit.errors import InputError
from lead_kit.launch import catalog, memory, processes, recipes, supervisor
from lead_kit.params import read_parameters
from lead_kit.runs import lock, manifest, provenance
from lead_kit.runs.files import write_text
from lead_kit.runs.paths import ROOT, RUNS, run_folder, shown

SNAKEFILE = ROOT / "experiments" / "Snakefile"


def command(job: recipes.Job) -> list[str]:
    """The `lead run` of a job, as a user would type it."""
    words = ["lead", "run", shown(job.notebook)]
    for name, value in job.parameters.items():
        words += ["-p", name, recipes.as_text(value)]
    words += ["--nproc", str(job.nproc)] if job.nproc > 1 else []
    return words + (["--accelerate", job.accelerate] if job.accelerate else [])


def gathers(job: recipes.Job) -> list[str]:
    """The parameters that list folders of other runs: they change when seeds or arms are added."""
    folders = tuple(f"runs/{need}" for need in job.needs)
    lists = {name: value for name, value in job.parameters.items() if isinstance(value, list)}
    return [name for name, value in lists.items() if any(str(item).startswith(folders) for item in value)]


def refuse_changed(jobs: list[recipes.Job]) -> None:
    """Raises InputError when a run folder holds a run with other parameters than the recipe now gives.

    A run that gathers others (an evaluation, a figure) is due again instead when only the gathered runs are others.
    """
    for job in jobs:
        folder = run_folder(job.name)
        if known := manifest.read_record(folder):
            settled = {name: one.default for name, one in read_parameters(job.notebook).items()} | job.parameters
            changed = manifest.changes(known, settled, job.notebook)
            if set(changed) - set(gathers(job)):
                raise manifest.refuse(folder, changed, "delete the folder")
            if changed:
                (folder / "done").unlink(missing_ok=True)


def write_plan(folder: Path, jobs: list[recipes.Job]) -> Path:
    """The jobs as Snakemake reads them: name → command and the names it needs."""
    lead = [sys.executable, "-m", "lead_kit.cli"]
    plan = {}
    for job in jobs:
        options = ["--brief", "--prefix", job.name.rpartition("/")[2], "--die-with-parent", "0"]
        options += ["--replace"] if gathers(job) else []
        words = [*lead, *command(job)[1:], *options]
        plan[job.name] = {"command": shlex.join(words), "needs": job.needs}
    return write_text(folder / "plan.json", json.dumps({"runs": str(RUNS), "jobs": plan}, indent=1) + "\n")


def snakemake(folder: Path, plan: Path, at_once: int, extra: list[str]) -> list[str]:
    """The call of Snakemake: quiet, local unless the scale says otherwise, writing below `folder` only."""
    options = ["--snakefile", str(SNAKEFILE), "--directory", str(folder), "--jobs", str(at_once)]
    options += [
        "--cores",
        str(at_once),
        "--quiet",
        "all",
        "--nocolor",
        "--nolock",
        "--keep-going",
        "--rerun-incomplete",
    ]
    options += ["--rerun-triggers", "mtime", "--scheduler", "greedy", "--latency-wait", "2"]
    options += ["--runtime-source-cache-path", str(folder / ".snakemake" / "sources"), *map(str, extra)]
    return [sys.executable, "-m", "snakemake", *options, "--config", f"plan={plan}"]


def reproduce_recipe(
    recipe: str, scale_name: str, seeds: str | None, arms: str | None, at_once: int | None, dry_run: bool
) -> int:
    """Runs what is not finished of a recipe; 0 when all of it is, 1 when a run failed, 128 + signal when stopped."""
    jobs = recipes.plan(recipe, scale_name, parse_seeds(seeds), arms.split(",") if arms else None)
    scale = recipes.load_scale(scale_name)
    if dry_run:
        print(memory.dry_run(jobs, scale, [shlex.join(command(job)) for job in jobs]))
        return 0
    if at_once is not None and at_once < 1:
        raise InputError(f"--jobs {at_once}: expected at least 1")
    refuse_changed(jobs)
    folder = RUNS / recipe / scale_name
    lock.hold(folder)
    print(f"{recipe} at {scale_name}: {len(jobs)} runs in {shown(folder)}, {how_far(jobs)}", flush=True)
    at_once = at_once or scale["jobs"] or cores()
    variables = os.environ | {"OMP_NUM_THREADS": str(scale["threads"]), "XDG_CACHE_HOME": str(folder / ".snakemake")}
    code = run_snakemake(snakemake(folder, write_plan(folder, jobs), at_once, scale["snakemake"]), variables, folder)
    return code if code > 1 else (tell_failures(jobs, folder) or tell(jobs))


def how_far(jobs: list[recipes.Job]) -> str:
    """How many runs are finished, and how many of them by other code than their notebooks have now."""
    done = [job for job in jobs if (run_folder(job.name) / "done").is_file()]
    made = {job.name: manifest.read_record(run_folder(job.name))["attempts"][-1]["code"] for job in done}
    old = [job for job in done if made[job.name] != provenance.code_hash(job.notebook)]
    note = f" ({len(old)} by other code than their notebooks have now: delete a folder to make it anew)" if old else ""
    return f"{len(done)} finished{note}"


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def parse_seeds(text: str | None) -> list[int] | None:
    """`0,1,2` as numbers; None stays None. Raises InputError for anything else."""
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() for part in parts):
        raise InputError(f"--seeds {text!r}: expected whole numbers separated by commas, e.g. 0,1,2")
    return list(dict.fromkeys(map(int, parts)))


def run_snakemake(call: list[str], variables: dict[str, str], folder: Path) -> int:
    """Runs Snakemake to its end, or ends it and every run below it when a signal comes."""
    supervisor.listen()
    processes.adopt_orphans()
    try:
        with (folder / "snakemake.log").open("ab") as log:
            child = subprocess.Popen(
                call,
                env=variables,
                stdin=subprocess.DEVNULL,
                stderr=log if "--executor" not in call else None,
                start_new_session=True,
                preexec_fn=functools.partial(processes.die_with_parent, os.getpid()),
            )
            return 1 if child.wait() else 0
    except supervisor.Stopped as stopped:
        name = signal.Signals(stopped.args[0]).name
        print(f"stopped by {name}; the same command goes on from here", file=sys.stderr, flush=True)
        return 128 + stopped.args[0]
    finally:
        for number in supervisor.SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        processes.end_children(patience=10.0)  # each `lead run` below ends its own tree first


def tell_failures(jobs: list[recipes.Job], folder: Path) -> int:
    """1 and a line on stderr for each run that failed or had to be left out; 0 when all are done."""
    waiting = [job.name for job in jobs if not (run_folder(job.name) / "done").is_file()]
    for name in waiting:
        known = manifest.read_record(run_folder(name))
        reason = (
            f"failed: {known['attempts'][-1].get('reason', '')}" if known else "not run, as what it needs is missing"
        )
        print(f"lead: runs/{name} {reason}", file=sys.stderr)
    if waiting:
        print(f"lead: Snakemake's own messages are in {shown(folder)}/snakemake.log", file=sys.stderr)
    return 1 if waiting else 0


def tell(jobs: list[recipes.Job]) -> int:
    """Prints what the last stage found: its table.md where it wrote one, else its summary."""
    needed = {name for job in jobs for name in job.needs}
    for job in jobs:
        if job.name in needed:
            continue
        folder = run_folder(job.name)
        found, summary = folder / "table.md", (manifest.read_record(folder) or {}).get("summary", {})
        print(f"\n{shown(found if found.is_file() else folder)}")
        print(found.read_text(encoding="utf-8").rstrip() if found.is_file() else json.dumps(summary))
    return 0


def show(rows: list[list[str]]) -> None:
    """Rows as columns, each as wide as its widest cell."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def show_recipe(name: str) -> int:
    """`lead recipe NAME`: each parameter, its value in each arm, its source."""
    recipe = recipes.load_recipe(name)
    print(recipe["title"])
    for arm, content in recipe["arms"].items():
        print(
            f"  {arm}: {content.get('label', arm)}{' (only when named with --arms)' if content.get('optional') else ''}"
        )
    print("`value` is every arm's; a value in brackets is the notebook's own\n")
    show(recipes.table(name))
    return 0


def show_list() -> int:
    """`lead list`: recipes, scales, and what the method offers by name, a line each."""
    for kind in ("recipes", "scales"):
        print(kind)
        names = sorted(p.stem for p in (recipes.EXPERIMENTS / kind).glob("*.yaml"))
        show([[f"  {name}", str(recipes.load(kind, name).get("title", ""))] for name in names] or [["  none"]])
    for title, (module, table) in catalog.TABLES.items():
        print(title)
        show([[f"  {name}", text] for name, text in catalog.entries(module, table).items()])
    return 0
