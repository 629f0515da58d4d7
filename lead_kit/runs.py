"""Run: what a notebook writes, and the record of how it came about, in one folder (laid out in record.py).

The same object serves `lead run`, plain papermill and JupyterLab. On ranks other than 0 it is silent, so that no cell
has to ask for its rank.
"""

import atexit
import json
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path

from lead_kit import provenance, record, tracking
from lead_kit.params import Config, InputError, nearest, read_parameters, refuse_secrets
from lead_kit.record import ROOT, RUNS, atomic, latest_checkpoint, plain, read_metrics, resolve, shown, write_text

__all__ = ["ROOT", "RUNS", "Run", "atomic", "check_processes", "ensure", "latest_checkpoint", "read_metrics", "resolve"]

DISTRIBUTED = {"ddp": ("MULTI_CPU", "MULTI_GPU"), "fsdp2": ("FSDP",), "deepspeed": ("DEEPSPEED",)}
PROGRESS_SECONDS = 2.0  # plain lines come no faster than this


def rank() -> int:
    """This process's place among those of torchrun; 0 when there is only one."""
    return int(os.environ.get("RANK", "0"))


def check_processes(accelerator=None) -> None:
    """Raises InputError unless there are as many processes, spread in the way, as `lead run --nproc` promised.

    Run calls it with the environment alone; call it again with the trainer's accelerator, which can tell whether
    FSDP or DeepSpeed is really on (a missing backend makes accelerate fall back without a word).
    """
    asked = int(os.environ.get("LEAD_NPROC", "0"))
    found = accelerator.num_processes if accelerator else int(os.environ.get("WORLD_SIZE", "1"))
    if asked and found != asked:
        raise InputError(f"{asked} processes were asked for and {found} came: check --nproc and the launcher")
    kind = os.environ.get("LEAD_DISTRIBUTED")
    if not kind or accelerator is None:
        return
    if kind not in DISTRIBUTED:
        raise InputError(f"LEAD_DISTRIBUTED {kind!r} is none of {', '.join(DISTRIBUTED)}{nearest(kind, DISTRIBUTED)}")
    real = accelerator.distributed_type.value
    if real not in DISTRIBUTED[kind] or (kind == "fsdp2" and accelerator.state.fsdp_plugin.fsdp_version != 2):
        raise InputError(f"{kind} was asked for, but accelerate runs {real}: check the plugin file and the backend")


class Run:
    """The folder of one run, opened by the notebook's third cell and closed by its last.

    Raises InputError when the name is bad, is being written by another process, or belongs to other parameters.
    """

    def __init__(self, config: Config, notebook: str):
        """`config` comes from `settle`; `notebook` is the stem of its file in notebooks/ (or a path)."""
        if "run_name" not in config:
            raise InputError("a run needs the parameter 'run_name': str, its folder under runs/")
        check_processes()
        refuse_secrets(config)
        self.config, self.path = config, record.run_folder(config["run_name"])
        self.silent = rank() != 0
        self.tracker = self.bar = None
        self._shown, self._first, self._printed = {}, None, 0.0
        if not self.silent:
            self._claim(Path(notebook) if notebook.endswith(".ipynb") else ROOT / "notebooks" / f"{notebook}.ipynb")
            self.tracker = tracking.start(config.get("tracker", "none"), self.path, config["run_name"], dict(config))

    def _claim(self, notebook: Path) -> None:
        """Takes the folder, or joins the attempt that `lead run` opened for this kernel."""
        self._supervised = not record.hold(self.path)
        if self._supervised:
            self.record = record.read_record(self.path)
            if changed := ", ".join(record.differences(self.record["parameters"], self.config).values()):
                raise InputError(f"the notebook settled on other parameters than `lead run` read: {changed}")
            return
        try:
            self.record = record.open_attempt(self.path, self.config, self.config.given, notebook)
        except InputError:
            record.release(self.path)
            raise
        atexit.register(self._end_unfinished)

    def _end_unfinished(self) -> None:
        """A kernel that ends before `finish` leaves a failed attempt, which the next one takes up."""
        if self.path / "lock" in record.held and (record.read_record(self.path) or {}).get("status") == "running":
            record.close_attempt(self.path, "failed", "the kernel ended before the run was finished")

    def log(self, step: int, split: str, **metrics: float) -> None:
        """Appends one line to metrics.jsonl; `step` counts rollout batches, `split` is train or validation."""
        if split not in ("train", "validation"):
            raise ValueError(f"split {split!r} is neither 'train' nor 'validation'")
        if self.silent:
            return
        row = plain({"step": step, "split": split, **metrics})
        record.append_line(self.path / "metrics.jsonl", json.dumps(row))
        if self.tracker:
            self.tracker.log(
                step, {f"{split}/{name}": value for name, value in row.items() if name not in ("step", "split")}
            )

    def truncate_metrics(self, after_step: int) -> None:
        """Drops metrics, rollouts and validation samples of later steps: call it when resuming from a checkpoint."""
        if not self.silent:
            record.truncate(self.path, after_step)

    def input(self, path: str | Path) -> Path:
        """The absolute path of a file or folder this run reads, whose hash is kept. Raises InputError if missing."""
        found = resolve(path)
        if not found.exists():
            beside = [p.name for p in found.parent.iterdir()] if found.parent.is_dir() else []
            maker = maker_of(found)
            made = f"; it is made by `lead run {shown(maker)}`" if maker else nearest(found.name, beside)
            raise InputError(f"input {shown(found)} does not exist{made}")
        if not self.silent:
            self._note("inputs", shown(found), provenance.fingerprint(found))
        return found

    def output(self, path: str | Path) -> Path:
        """The absolute path of a file or folder this run will write in its folder; its hash is kept at `finish`."""
        target = (self.path / path).resolve()
        if not target.is_relative_to(self.path.resolve()):
            raise ValueError(f"output {str(path)!r} lies outside the run folder {shown(self.path)}")
        if not self.silent:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._note("outputs", str(path), None)
        return target

    def save_text(self, path: str, text: str) -> Path:
        """Writes a text file of this run, whole."""
        target = self.output(path)
        return target if self.silent else write_text(target, text)

    def save_table(self, path: str, frame) -> Path:
        """Writes a data frame as .parquet, .csv or .jsonl by the path's ending, whole."""
        writers = {
            ".parquet": lambda part: frame.to_parquet(part, index=False),
            ".csv": lambda part: frame.to_csv(part, index=False),
            ".jsonl": lambda part: frame.to_json(part, orient="records", lines=True, force_ascii=False),
        }
        target = self.output(path)
        if target.suffix not in writers:
            raise ValueError(f"table {str(path)!r} must end in {', '.join(writers)}")
        if not self.silent:
            with atomic(target) as part:
                writers[target.suffix](part)
        return target

    def save_figure(self, name: str, figure, frame=None, folder: str | Path | None = None) -> Path:
        """Writes `name`.png and .pdf and, beside them, the plotted points of `frame` as .csv; returns the image.

        They go to the run's figures/, or to `folder` (relative to the repository root).
        """
        target = self.path / "figures" if folder is None else resolve(folder)
        if self.silent:
            return target / f"{name}.png"
        for kind, metadata in (
            ("pdf", {"CreationDate": None}),
            ("png", {"Software": None}),
        ):  # same picture, same bytes
            with atomic(target / f"{name}.{kind}") as part:
                figure.savefig(part, format=kind, metadata=metadata, bbox_inches="tight", dpi=150)
        if frame is not None:
            with atomic(target / f"{name}.csv") as part:
                frame.to_csv(part, index=False)
        self._note("outputs", shown(target / f"{name}.png"), provenance.fingerprint(target / f"{name}.png"))
        return target / f"{name}.png"

    def progress(self, step: int, total: int, **values) -> None:
        """Shows how far the run is: a bar in a live notebook, else a plain line (at most one each two seconds)."""
        if self.silent:
            return
        self._shown |= values
        clock = time.monotonic()
        if "JPY_SESSION_NAME" in os.environ and "LEAD_OWNER" not in os.environ:
            return self._advance_bar(step, total)
        self._first = self._first or (step, clock)
        if step < total and clock - self._printed < PROGRESS_SECONDS:
            return
        done, spent = step - self._first[0], clock - self._first[1]
        left = (
            f"{int(spent / done * (total - step)) // 60}:{int(spent / done * (total - step)) % 60:02d} left"
            if done
            else ""
        )
        pairs = [f"{name} {show(value)}" for name, value in self._shown.items()]
        print("  ".join([f"step {step}/{total}", *pairs, left]).rstrip(), flush=True)
        self._printed = clock

    def _advance_bar(self, step: int, total: int) -> None:
        # imported here: the widgets behind it are of use in a live notebook only
        from tqdm.auto import tqdm

        self.bar = self.bar or tqdm(total=total)
        self.bar.n = step
        self.bar.set_postfix({name: show(value) for name, value in self._shown.items()})
        if step >= total:
            self.bar.close()

    def _note(self, part: str, name: str, value) -> None:
        self.record[part][name] = value
        record.write_record(self.path, self.record)

    def finish(self, **summary) -> None:
        """Closes the run: hashes what it wrote, keeps the summary, lets the folder go."""
        if self.silent:
            return
        if self.tracker:
            self.tracker.finish()
        for name, known in self.record["outputs"].items():
            path = self.path / name
            if known is None and path.exists():
                self.record["outputs"][name] = provenance.fingerprint(path)
            elif known is None:
                warnings.warn(f"output {name} was announced but never written", stacklevel=2)
        self.record["summary"] |= plain(summary)
        record.write_record(self.path, self.record)
        if not self._supervised:
            record.close_attempt(self.path, "done")


def show(value) -> str:
    """A number with three digits that matter; anything else as it is."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def maker_of(path: Path) -> Path | None:
    """The notebook in notebooks/ whose run, at its defaults, writes `path`; None when no run folder holds it."""
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        declared = read_parameters(notebook)
        if "run_name" in declared and path.is_relative_to(RUNS / str(declared["run_name"].default)):
            return notebook
    return None


def ensure(path: str | Path) -> Path:
    """The absolute path of an input; one that a notebook writes at its defaults is made first if need be.

    The notebook runs through `lead run` in a process of its own; a second asker waits for the first. Raises InputError
    when nothing in notebooks/ makes the path, or the notebook that should have fails.
    """
    found = resolve(path)
    maker = maker_of(found) if found.is_relative_to(RUNS) else None
    if maker is None:
        if not found.exists():
            raise InputError(f"{shown(found)} does not exist, and no notebook makes it at its defaults")
        return found
    folder = RUNS / str(read_parameters(maker)["run_name"].default)
    if found.exists() and not record.is_held(folder):
        return found
    print(f"{shown(found)} is not there yet: running {shown(maker)} at its defaults", flush=True)
    command = [sys.executable, "-m", "lead_kit.cli", "run", str(maker), "--wait", "--die-with-parent", str(os.getpid())]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        for line in child.stdout:
            print(f"  {maker.stem}: {line}", end="", flush=True)
    if child.returncode or not found.exists():
        raise InputError(f"`lead run {shown(maker)}` (exit code {child.returncode}) did not make {shown(found)}")
    return found
