"""`lead run`: checks a notebook's parameters, holds its folder, and owns the process tree that executes it.

    lead run ── (torchrun, one process per rank) ── lead_kit.launch.kernel (papermill) ── kernel

Papermill executes, it does not supervise: locking, the log, signals and the end of every process are here. Each process
of the chain dies with its parent, so that nothing is left running even when `lead` itself is killed.
"""

import functools
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import yaml

from lead_kit.errors import InputError, nearest
from lead_kit.launch import processes
from lead_kit.params import check, read_parameters
from lead_kit.runs import lock, manifest, provenance
from lead_kit.runs.paths import ROOT, run_folder, shown

LAUNCHED = (
    "RANK",
    "WORLD_SIZE",
    "MASTER_",
    "GROUP_",
    "ROLE_",
    "LOCAL_",
    "TORCHELASTIC_",
    "LEAD_NPROC",
    "LEAD_DISTRIBUTED",
)
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
KINDS = {"MULTI_GPU": "ddp", "FSDP": "fsdp2", "DEEPSPEED": "deepspeed"}
# without that optional check of web addresses papermill is there a second sooner
KERNEL_MAIN = (
    "import sys; sys.modules['rfc3987_syntax'] = None; from lead_kit.launch.kernel import main; sys.exit(main())"
)
PROGRESS = re.compile(r"step \d+/\d+")  # what Run.progress prints


class Stopped(BaseException):
    """A signal asked this process to end."""


def stop(number: int, _frame) -> None:
    raise Stopped(number)


def listen() -> None:
    """Turns the signals that end a program into Stopped; a hang-up stays ignored under nohup."""
    for number in SIGNALS:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, stop)


def find_notebook(name: str) -> Path:
    """The notebook by path, or by the stem of its file in notebooks/. Raises InputError with the nearest name."""
    folder = ROOT / "notebooks"
    for path in (Path(name), ROOT / name, folder / name, folder / f"{name}.ipynb"):
        if path.is_file():
            return path.absolute()
    near = {p.stem: p for p in [*folder.glob("*.ipynb"), *Path(name).absolute().parent.glob("*.ipynb")]}
    raise InputError(
        f"no notebook {name!r}{nearest(Path(name).stem, near) or '; there are: ' + ', '.join(sorted(near))}"
    )


def distributed_kind(plugin: Path) -> str:
    """ddp, fsdp2 or deepspeed, as an accelerate file asks for it. Raises InputError for anything else."""
    if not plugin.is_file():
        beside = sorted(p.name for p in (ROOT / "experiments" / "accelerate").glob("*.yaml"))
        raise InputError(
            f"no accelerate file {shown(plugin)}{nearest(plugin.name, beside)}; there are: {', '.join(beside)}"
        )
    kind = yaml.safe_load(plugin.read_text(encoding="utf-8")).get("distributed_type")
    if kind not in KINDS:
        raise InputError(f"{shown(plugin)}: distributed_type {kind!r} is none of {', '.join(KINDS)}")
    if kind == "DEEPSPEED" and importlib.util.find_spec("deepspeed") is None:
        raise InputError(f"{shown(plugin)} needs DeepSpeed, which is not installed: pip install deepspeed")
    return KINDS[kind]


def has_gpu() -> bool:
    """Whether a CUDA card is there and not hidden; asked of the driver, as importing torch takes seconds."""
    return os.environ.get("CUDA_VISIBLE_DEVICES") != "" and bool(provenance.command_output("nvidia-smi", "-L"))


def launcher(nproc: int, plugin: Path | None) -> list[str]:
    """What starts one process per rank on this host; nothing for a single plain process."""
    if plugin:
        options = ["--config_file", str(plugin), "--num_processes", str(nproc), "--num_machines", "1"]
        return [sys.executable, "-m", "accelerate.commands.launch", *options, "--main_process_port", "0", "--no_python"]
    if nproc == 1:
        return []
    options = ["--nproc-per-node", str(nproc), "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    return [sys.executable, "-m", "torch.distributed.run", *options, "--local-addr", "127.0.0.1", "--no-python"]


def environment(nproc: int, plugin: Path | None) -> dict[str, str]:
    """The environment of the kernels: this one's, without what an outer launcher or notebook left in it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith((*LAUNCHED, "JPY_"))}
    kept |= {"LEAD_OWNER": lock.identity(), "LEAD_ROOT": str(ROOT), "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    if nproc > 1 or plugin:
        kept |= {"LEAD_NPROC": str(nproc), "LEAD_DISTRIBUTED": distributed_kind(plugin) if plugin else "ddp"}
        # without it, processes on a machine that has no GPU would run alone, each believing to be the only one
        kept |= {} if has_gpu() else {"ACCELERATE_USE_CPU": "true"}
    return kept


def finished(folder: Path, settled: Mapping, notebook: Path) -> str:
    """A sentence when the very same run is done already; empty otherwise."""
    known = manifest.read_record(folder)
    if not known or not (folder / "done").is_file() or manifest.changes(known, settled, notebook):
        return ""
    same = known["attempts"][-1]["code"] == provenance.code_hash(notebook)
    code = "" if same else " (by other code than the notebook has now)"
    return f"{shown(folder)} is finished{code}; --again makes it anew"


def run_command(
    notebook: str,
    parameters: Mapping,
    run_name: str | None = None,
    nproc: int = 1,
    accelerate: str | None = None,
    again: bool = False,
    replace: bool = False,
    wait: bool = False,
    brief: bool = False,
    prefix: str = "",
) -> int:
    """`lead run`: runs a notebook in its folder; exit code 0, 1 (a cell failed), 2 (bad input), 128 + signal.

    `parameters` are text or values. Raises InputError before anything starts when they do not fit.
    """
    prefix = f"[{prefix}] " if prefix else ""
    notebook, plugin = find_notebook(notebook), Path(accelerate).absolute() if accelerate else None
    given = dict(parameters) | ({"run_name": run_name} if run_name else {})
    if nproc < 1:
        raise InputError(f"--nproc {nproc}: expected at least 1")
    declared = read_parameters(notebook)
    values = check(given, declared)
    settled = {name: one.default for name, one in declared.items()} | values
    folder = run_folder(settled.get("run_name", notebook.stem))
    command, variables = launcher(nproc, plugin), environment(nproc, plugin)
    listen()
    try:
        lock.hold(folder, wait)
        if not again and (sentence := finished(folder, settled, notebook)):
            print(prefix + sentence, flush=True)
            return 0
        opened = manifest.open_attempt(folder, settled, values, notebook, replace)
        print(f"{prefix}{shown(notebook)} → {shown(folder)}, attempt {len(opened['attempts'])}", flush=True)
        job = {"notebook": str(notebook), "folder": str(folder), "parameters": values}
        command += [sys.executable, "-c", KERNEL_MAIN, json.dumps(job)]
        return supervise(folder, command, variables, prefix, brief)
    except Stopped as stopped:
        return 128 + stopped.args[0]
    finally:
        lock.release(folder)


def supervise(folder: Path, command: list[str], variables: dict[str, str], prefix: str, brief: bool) -> int:
    """Starts the process tree of an opened attempt, shows and logs its lines, ends it and closes the attempt."""
    (folder / ".error.json").unlink(missing_ok=True)
    processes.adopt_orphans()
    status, reason = "failed", "lead was stopped"
    try:
        with tempfile.TemporaryDirectory(prefix="lead-") as scratch:  # sockets, and no start-up files of the user's
            variables |= {"JUPYTER_RUNTIME_DIR": scratch, "IPYTHONDIR": scratch}
            code = stream(folder, command, variables, prefix, brief)
        word = read_word(folder, code)
        status, reason = ("failed", word["sentence"]) if word else ("done", "")
        return tell(folder, word) if word else 0
    except Stopped as stopped:
        reason = f"stopped by {signal.Signals(stopped.args[0]).name}"
        print(f"{prefix}{reason}; the same command takes {shown(folder)} up again", file=sys.stderr, flush=True)
        raise
    finally:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        processes.end_children()
        keep_notebooks(folder)
        manifest.close_attempt(folder, status, reason)


def stream(folder: Path, command: list[str], variables: dict[str, str], prefix: str, brief: bool) -> int:
    """Runs the command; its stdout goes to the terminal (`brief`: progress only) and log.txt, its stderr to log.txt."""
    with (folder / "log.txt").open("ab", buffering=0) as log:
        log.write(f"--- {manifest.now()}\n".encode())
        child = subprocess.Popen(
            command,
            cwd=ROOT,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,  # a Ctrl-C in the terminal reaches this process alone, which ends the tree in order
            preexec_fn=functools.partial(processes.die_with_parent, os.getpid()),
        )
        # a thread, because a process left behind could keep the pipe open after the child has ended
        lines = threading.Thread(target=show_lines, args=(child.stdout, log, prefix, brief), daemon=True)
        lines.start()
        code = child.wait()
        lines.join(timeout=processes.PATIENCE)
        return code


def show_lines(source: BinaryIO, log: BinaryIO, prefix: str, brief: bool) -> None:
    """Copies lines to the log and, behind the prefix, to the terminal; of a line redrawn with \\r the last state."""
    gone = False
    for line in source:
        log.write(line)
        if gone:
            continue
        text = line.decode(errors="replace").rstrip("\n").rpartition("\r")[2]
        if not brief or PROGRESS.match(text):
            gone = not say(prefix + text)


def say(line: str) -> bool:
    """Prints a line; False once nobody reads any more (`lead run … | head`), which is no reason to stop a run."""
    try:
        print(line, flush=True)
    except BrokenPipeError:
        return False
    return True


def read_word(folder: Path, code: int) -> dict | None:
    """What went wrong, by the rank that failed first; None when nothing did."""
    path = folder / ".error.json"
    if path.is_file():
        word = json.loads(path.read_text(encoding="utf-8"))
        path.unlink()
        return word
    if code == 0:
        return None
    tail = "\n".join((folder / "log.txt").read_text(encoding="utf-8", errors="replace").splitlines()[-30:])
    return {"name": "", "sentence": f"the process ended with code {code}", "traceback": tail, "rank": 0}


def tell(folder: Path, word: dict) -> int:
    """Prints the failure: one sentence (exit code 2) for bad input, the traceback (1) for anything else."""
    # the system's own FileNotFoundError begins with [Errno 2]; the kit's is a sentence
    expected = word["name"] == "InputError" or (word["name"] == "FileNotFoundError" and word["sentence"][:1] != "[")
    if expected:
        print(f"lead: {word['sentence']}", file=sys.stderr, flush=True)
        return 2
    where = f" on rank {word['rank']}" if word["rank"] else ""
    told = ": ".join(part for part in (word["name"], word["sentence"]) if part)
    print(f"{word['traceback']}\nlead: {told}{where} (see {shown(folder)}/log.txt)", file=sys.stderr, flush=True)
    return 1


def keep_notebooks(folder: Path) -> None:
    """Gives a notebook whose execution was cut short its name, if it was written whole."""
    for part in [folder / ".notebook.ipynb", *folder.glob("ranks/.*.ipynb")]:
        if not part.is_file():
            continue
        try:
            json.loads(part.read_text(encoding="utf-8"))
            part.replace(part.with_name(part.name[1:]))
        except ValueError:
            part.unlink()
