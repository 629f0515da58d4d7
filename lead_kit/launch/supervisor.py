"""`lead run`: checks a notebook's parameters, locks its run folder and supervises the processes that execute it.

    lead run ── (torchrun, one process per rank) ── lead_kit.launch.kernel (papermill) ── kernel

Papermill only executes. Locking, the log, signals and the end of every process are here. Each process of the chain
dies with its parent, so that nothing keeps running even when `lead` itself is killed.
"""

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

from lead_kit.errors import InputError, chosen, nearest_or_all
from lead_kit.launch import processes
from lead_kit.launch.shape import read_yaml
from lead_kit.params import check, read_parameters
from lead_kit.runs import lock, manifest, provenance
from lead_kit.runs.paths import ROOT, run_folder, shown

# variables that an outer launcher or notebook sets, by their beginnings
INHERITED = ("RANK", "WORLD_SIZE", "MASTER_", "GROUP_", "ROLE_", "LOCAL_", "TORCHELASTIC_", "LEAD_NPROC")
INHERITED += ("LEAD_DISTRIBUTED", "JPY_")
KINDS = {"MULTI_GPU": "ddp", "FSDP": "fsdp2", "DEEPSPEED": "deepspeed"}
PROGRESS = re.compile(r"step \d+/\d+")  # the beginning of a line of Run.progress


def find_notebook(name: str) -> Path:
    """The notebook by path, or by the stem of its file in notebooks/. Raises InputError with the nearest name."""
    folder = ROOT / "notebooks"
    for path in (Path(name), ROOT / name, folder / name, folder / f"{name}.ipynb"):
        if path.is_file():
            return path.absolute()
    stems = sorted({p.stem for place in (folder, Path(name).absolute().parent) for p in place.glob("*.ipynb")})
    raise InputError(f"no notebook {name!r}{nearest_or_all(Path(name).stem, stems)}")


def distributed_kind(plugin: Path) -> str:
    """The kind that an accelerate file asks for: ddp, fsdp2 or deepspeed. Raises InputError for any other."""
    if not plugin.is_file():
        names = sorted(p.name for p in (ROOT / "experiments" / "accelerate").glob("*.yaml"))
        raise InputError(f"no accelerate file {shown(plugin)}{nearest_or_all(plugin.name, names)}")
    kind = read_yaml(plugin).get("distributed_type")
    if kind == "DEEPSPEED" and importlib.util.find_spec("deepspeed") is None:
        raise InputError(f"{shown(plugin)} needs DeepSpeed, which is not installed: pip install deepspeed")
    return chosen(KINDS, kind, f"{shown(plugin)}: distributed_type")


def has_gpu() -> bool:
    """Whether a CUDA card is present and visible. Asks the driver, because importing torch takes seconds."""
    return os.environ.get("CUDA_VISIBLE_DEVICES") != "" and bool(provenance.command_output("nvidia-smi", "-L"))


def launcher(nproc: int, plugin: Path | None) -> list[str]:
    """The command that starts one process per rank on this host; empty for a single process without a plugin."""
    if plugin:
        options = ["--config_file", str(plugin), "--num_processes", str(nproc), "--num_machines", "1"]
        return [sys.executable, "-m", "accelerate.commands.launch", *options, "--main_process_port", "0", "--no_python"]
    if nproc == 1:
        return []
    options = ["--nproc-per-node", str(nproc), "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    return [sys.executable, "-m", "torch.distributed.run", *options, "--local-addr", "127.0.0.1", "--no-python"]


def environment(nproc: int, plugin: Path | None) -> dict[str, str]:
    """The environment of the kernels: that of this process, without the variables of an outer launcher or notebook."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(INHERITED)}
    variables |= {"LEAD_OWNER": lock.identity(), "LEAD_ROOT": str(ROOT), "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    if nproc > 1 or plugin:
        variables |= {"LEAD_NPROC": str(nproc), "LEAD_DISTRIBUTED": distributed_kind(plugin) if plugin else "ddp"}
        # without it, the processes of a machine that has no GPU would run alone, each as if it were the only one
        variables |= {} if has_gpu() else {"ACCELERATE_USE_CPU": "true"}
    return variables


def finished_message(folder: Path, settled: Mapping, notebook: Path) -> str:
    """The message that the very same run is already finished; empty when it is not."""
    earlier = manifest.read_manifest(folder, complete=True)
    if not earlier or not (folder / "done").is_file() or manifest.changes(earlier, settled, notebook):
        return ""
    same_code = earlier["attempts"][-1]["code"] == provenance.code_hash(notebook)
    note = "" if same_code else " (with other code than the notebook has now)"
    return f"{shown(folder)} is finished{note}; use --again to repeat it"


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
    """`lead run`: runs a notebook in its folder. Returns 0, 1 (a cell failed), 2 (bad input) or 128 + signal.

    `parameters` are text or values. Raises InputError before anything starts when they do not fit.
    """
    prefix = f"[{prefix}] " if prefix else ""
    notebook, plugin = find_notebook(notebook), Path(accelerate).absolute() if accelerate else None
    if nproc < 1:
        raise InputError(f"--nproc {nproc}: expected at least 1")
    declared = read_parameters(notebook)
    given = check(dict(parameters) | ({} if run_name is None else {"run_name": run_name}), declared)
    settled = {name: parameter.default for name, parameter in declared.items()} | given
    folder = run_folder(settled.get("run_name", notebook.stem))
    command, variables = launcher(nproc, plugin), environment(nproc, plugin)
    processes.raise_on_signals()
    try:
        lock.hold(folder, wait)
        if not again and (message := finished_message(folder, settled, notebook)):
            print(prefix + message, flush=True)
            return 0
        attempts = manifest.open_attempt(folder, settled, given, notebook, replace)["attempts"]
        print(f"{prefix}{shown(notebook)} → {shown(folder)}, attempt {len(attempts)}", flush=True)
        job = {"notebook": str(notebook), "folder": str(folder), "parameters": given}
        command += [sys.executable, "-m", "lead_kit.launch.kernel", json.dumps(job)]
        return supervise(folder, command, variables, prefix, brief)
    except processes.Stopped as stopped:
        return 128 + stopped.args[0]
    finally:
        lock.release(folder)


def supervise(folder: Path, command: list[str], variables: dict[str, str], prefix: str, brief: bool) -> int:
    """Starts the process tree of an opened attempt, shows and logs its output, ends it and closes the attempt."""
    (folder / ".error.json").unlink(missing_ok=True)
    processes.adopt_orphans()
    status, reason = "failed", "lead was stopped"
    try:
        with tempfile.TemporaryDirectory(prefix="lead-") as scratch:  # for sockets; hides the user's start-up files
            variables |= {"JUPYTER_RUNTIME_DIR": scratch, "IPYTHONDIR": scratch}
            code = stream(folder, command, variables, prefix, brief)
        error = read_error(folder, code)
        status, reason = ("failed", error["sentence"]) if error else ("done", "")
        return print_error(folder, error) if error else 0
    except processes.Stopped as stopped:
        reason = f"stopped by {signal.Signals(stopped.args[0]).name}"
        print(f"{prefix}{reason}; the same command continues {shown(folder)}", file=sys.stderr, flush=True)
        raise
    finally:
        processes.end_children()
        keep_notebooks(folder)
        manifest.close_attempt(folder, status, reason)


def stream(folder: Path, command: list[str], variables: dict[str, str], prefix: str, brief: bool) -> int:
    """Runs the command; its stdout goes to the terminal (`brief`: progress only) and log.txt, its stderr to log.txt."""
    with (folder / "log.txt").open("ab", buffering=0) as log:
        log.write(f"--- {manifest.timestamp()}\n".encode())
        child = processes.start(command, cwd=ROOT, env=variables, stdout=subprocess.PIPE, stderr=log)
        # a thread, because a process left behind could keep the pipe open after the child has ended
        lines = threading.Thread(target=show_lines, args=(child.stdout, log, prefix, brief), daemon=True)
        lines.start()
        code = child.wait()
        lines.join(timeout=processes.PATIENCE)
        return code


def show_lines(source: BinaryIO, log: BinaryIO, prefix: str, brief: bool) -> None:
    """Copies lines to the log and, with the prefix, to the terminal; prints the last state of a line redrawn by \\r."""
    terminal_open = True
    for line in source:
        log.write(line)
        text = line.decode(errors="replace").rstrip("\n").rpartition("\r")[2]
        if terminal_open and (not brief or PROGRESS.match(text)):
            try:
                print(prefix + text, flush=True)
            except BrokenPipeError:  # the reader has left (`lead run … | head`), which must not stop the run
                terminal_open = False


def read_error(folder: Path, code: int) -> dict | None:
    """The error of the rank that failed first; None when the command succeeded."""
    path = folder / ".error.json"
    if path.is_file():
        error = json.loads(path.read_text(encoding="utf-8"))
        path.unlink()
        return error
    if code == 0:
        return None
    tail = "\n".join((folder / "log.txt").read_text(encoding="utf-8", errors="replace").splitlines()[-30:])
    return {"name": "", "sentence": f"the process ended with code {code}", "traceback": tail, "rank": 0}


def print_error(folder: Path, error: dict) -> int:
    """Prints one sentence for bad input and returns 2; for any other error, prints the traceback and returns 1."""
    name, sentence = error["name"], error["sentence"]
    # a FileNotFoundError of the system begins with [Errno 2]; one of the kit is a sentence
    if name == "InputError" or (name == "FileNotFoundError" and sentence[:1] != "["):
        print(f"lead: {sentence}", file=sys.stderr, flush=True)
        return 2
    where = f" on rank {error['rank']}" if error["rank"] else ""
    cause = ": ".join(filter(None, (name, sentence)))
    print(f"{error['traceback']}\nlead: {cause}{where} (see {shown(folder)}/log.txt)", file=sys.stderr, flush=True)
    return 1


def keep_notebooks(folder: Path) -> None:
    """Gives the notebook of an interrupted execution its name, unless it is only half written."""
    for part in [folder / ".notebook.ipynb", *folder.glob("ranks/.*.ipynb")]:
        if not part.is_file():
            continue
        try:
            json.loads(part.read_text(encoding="utf-8"))
            part.replace(part.with_name(part.name[1:]))
        except ValueError:
            part.unlink()
