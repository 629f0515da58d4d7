"""Where a run came from: facts about its code, machine and files. Reads only."""

import contextlib
import hashlib
import json
import os
import platform
import re
import shutil
import socket
import subprocess
from importlib import metadata
from pathlib import Path

from lead_kit.errors import InputError, lookup

_OPTIONAL = ("vllm", "unsloth", "deepspeed", "bitsandbytes", "liger-kernel", "flash-attn")
_WHOLE = 1 << 30  # bytes; larger files, such as weights, take minutes to read, so only their size and ends are hashed
_END = 1 << 26  # bytes hashed at each end


def code_hash(notebook: Path) -> str | None:
    """SHA-256 of the code cells, which does not change with prose or outputs; None without a notebook."""
    if not notebook.is_file():
        return None
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    return hashlib.sha256("\n# %%\n".join(code).encode()).hexdigest()


def fingerprint(path: Path) -> dict:
    """`sha256` and `bytes` of a file, or of all files below a folder together with their names."""
    if path.is_file():
        return {"sha256": file_hash(path), "bytes": path.stat().st_size}
    digest, total = hashlib.sha256(), 0
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        digest.update(f"{file.relative_to(path).as_posix()} {file_hash(file)}\n".encode())
        total += file.stat().st_size
    return {"sha256": digest.hexdigest(), "bytes": total}


def file_hash(path: Path) -> str:
    """SHA-256 of a file. Above WHOLE bytes, `ends:` and the SHA-256 of its size and two ends."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= _WHOLE:
            return hashlib.file_digest(file, "sha256").hexdigest()
        digest = hashlib.sha256(str(size).encode() + file.read(_END))
        file.seek(-_END, os.SEEK_END)
        digest.update(file.read(_END))
        return "ends:" + digest.hexdigest()


def command_output(*command: str) -> str | None:
    """What a command prints, or None when it is missing, fails or takes over 10 seconds."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def git_state(root: Path) -> dict:
    """The commit, and whether the working tree differs from it (dirty), or None; `error`: why git refuses both."""
    commit = command_output("git", "-C", str(root), "rev-parse", "HEAD")
    changes = command_output("git", "--no-optional-locks", "-C", str(root), "status", "--porcelain")
    state = {"commit": commit, "dirty": None if changes is None else bool(changes)}
    if changes is None and shutil.which("git") and (root / ".git").exists():
        refused = subprocess.run(["git", "-C", str(root), "status"], capture_output=True, text=True, check=False)
        state["error"] = " ".join(refused.stderr.split())
    return state


def packages() -> dict[str, str]:
    """Installed versions of the kit, its requirements and the optional engines."""
    required = [re.match(r"[\w.-]+", line)[0] for line in metadata.requires("lead_kit") or []]
    versions = {}
    for name in ["lead_kit", *required, *_OPTIONAL]:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


def machine() -> dict:
    """Host, system, Python, processor and graphics cards."""
    cards = command_output("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines() if info.is_file() else []
    cpus = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "host": socket.gethostname(),
        "os": platform.platform(),
        "python": platform.python_version(),
        "cpu": cpus[0] if cpus else platform.machine(),
        "cores": os.cpu_count(),
        "gpus": cards.splitlines() if cards else [],
    }


_DISTRIBUTED = {"ddp": ("MULTI_CPU", "MULTI_GPU"), "fsdp2": ("FSDP",), "deepspeed": ("DEEPSPEED",)}


def rank() -> int:
    """The rank of this process; 0 when it is the only one."""
    return int(os.environ.get("RANK", "0"))


def processes() -> int:
    """How many processes train together, as the launcher set it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def sharded() -> str:
    """What spreads weights or optimiser state over the processes, fsdp2 or deepspeed; empty when nothing does."""
    kind = os.environ.get("LEAD_DISTRIBUTED", "ddp")
    return "" if kind == "ddp" else kind


def check_processes(accelerator=None) -> None:
    """Raises InputError unless the number and the kind of processes are those that `lead run --nproc` promised.

    Run checks the environment. Call it again with the trainer's accelerator, which knows whether FSDP or DeepSpeed is
    on: when a backend is missing, accelerate falls back silently.
    """
    expected = int(os.environ.get("LEAD_NPROC", "0"))
    started = accelerator.num_processes if accelerator else processes()
    if expected and started != expected:
        raise InputError(f"{expected} processes were expected and {started} started: check --nproc and the launcher")
    kind = os.environ.get("LEAD_DISTRIBUTED")
    if not kind or accelerator is None:
        return
    allowed, actual = lookup(_DISTRIBUTED, kind, "LEAD_DISTRIBUTED"), accelerator.distributed_type.value
    if actual not in allowed or (kind == "fsdp2" and accelerator.state.fsdp_plugin.fsdp_version != 2):
        raise InputError(f"{kind} was asked for, but accelerate runs {actual}: check the plugin file and the backend")
