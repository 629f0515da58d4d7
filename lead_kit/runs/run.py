"""Run: what a notebook writes to its run folder.

The same object serves `lead run`, plain papermill and JupyterLab. On ranks other than 0 it writes nothing, so no cell
needs to check its rank.
"""

import atexit
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from lead_kit.errors import InputError, Interrupted, nearest
from lead_kit.parameters import Config
from lead_kit.runs import lock, log_files, manifest, provenance
from lead_kit.runs.checkpoints import chosen_checkpoint, latest_checkpoint
from lead_kit.runs.files import ROOT, append_jsonl, atomic, resolve, run_folder, shown, to_json_value, write_text
from lead_kit.runs.find import notebook_that_writes
from lead_kit.runs.progress import Progress, in_live_notebook
from lead_kit.runs.provenance import check_processes, rank
from lead_kit.runs.trackers import start_tracker

_PIXELS = 1100  # of the least width of an image, before its empty border is cut off
_FIGURE_METADATA = {"pdf": {"CreationDate": None}, "png": {"Software": None}}  # equal figures give equal bytes


class Run:
    """The folder of one run, opened by the notebook's third cell and closed by its last.

    Raises InputError when the name is invalid, is being written by another process, or belongs to other parameters.
    """

    def __init__(self, config: Config, notebook: str, steps: int = 0):
        """`config` comes from `settle`; `notebook` is the stem of its file in notebooks/ (or a path). Before so many
        `steps` are reached the run cannot be finished.
        """
        if "run_name" not in config:
            raise InputError("a run needs the parameter 'run_name': str, its folder under runs/")
        check_processes()
        self.config, self.path = config, run_folder(config["run_name"])
        self.silent = rank() != 0
        self.tracker = None
        self.reached = (0, steps)  # the step that is reached, and the last one
        self._progress = Progress(self.path / "log.txt")
        if not self.silent:
            self._open(Path(notebook) if notebook.endswith(".ipynb") else ROOT / "notebooks" / f"{notebook}.ipynb")
            self.tracker = start_tracker(self.path, config["run_name"], dict(config))

    def _open(self, notebook: Path) -> None:
        """Opens an attempt, or joins the one that `lead run` opened for this kernel."""
        opened = os.environ.get("LEAD_RUN", "").rpartition(" host ")[0]
        if opened and opened != str(self.path):
            reason = f"`lead run` opened {shown(Path(opened))}, but a cell sets run_name to {self.config['run_name']!r}"
            raise InputError(f"{reason}: pass it by -p run_name, or take the assignment out")
        self._supervised = not lock.acquire(self.path)
        if self._supervised:
            self.manifest = manifest.read_manifest(self.path)
            if changed := ", ".join(manifest.differing_parameters(self.manifest["parameters"], self.config).values()):
                raise InputError(f"the notebook settled on other parameters than `lead run` read: {changed}")
            return
        try:
            self.manifest = manifest.open_attempt(self.path, self.config, self.config.passed, notebook)
        except InputError:
            lock.release(self.path)
            raise
        atexit.register(self._close_unfinished)

    def _close_unfinished(self) -> None:
        """Marks the attempt as failed when the kernel ends before `finish`; the next kernel continues the run."""
        if lock.acquired_here(self.path) and (manifest.read_manifest(self.path) or {}).get("status") == "running":
            manifest.close_attempt(self.path, "failed", "the kernel ended before the run was finished")

    def log(self, step: int, split: str, **metrics: float) -> None:
        """Appends one line to metrics.jsonl; `step` counts rollout batches, `split` is train or validation."""
        if split not in ("train", "validation"):
            raise ValueError(f"split {split!r} is neither 'train' nor 'validation'")
        if self.silent:
            return
        lock.check_not_replaced(self.path)
        metrics = to_json_value(metrics)
        append_jsonl(self.path / "metrics.jsonl", [{"step": step, "split": split} | metrics])
        if self.tracker:
            self.tracker.log(step, {f"{split}/{name}": value for name, value in metrics.items()})

    def record_tripwire(self, step: int, wire: str, sentence: str) -> None:
        """Notes in run.json, under `tripwires`, that a run shows a sign of failing, and prints a line."""
        if self.silent:
            return
        print(f"tripwire {wire}, step {step}: {sentence}", flush=True)
        noted = [trip for trip in self.manifest.get("tripwires", []) if trip["wire"] != wire]
        self.record_fact("tripwires", [*noted, {"step": step, "wire": wire, "sentence": sentence}])

    def record_fact(self, name: str, value) -> None:
        """Writes a fact about this attempt into run.json."""
        if not self.silent:
            lock.check_not_replaced(self.path)
            self.manifest[name] = value
            manifest.write_manifest(self.path, self.manifest)

    def truncate_metrics(self, after_step: int) -> None:
        """Deletes metrics, rollouts and validation samples of later steps; call it when resuming from a checkpoint."""
        if not self.silent:
            log_files.delete_later_logs(self.path, after_step)

    def checkpoint(self, resume_from: str = "") -> Path | None:
        """The checkpoint to continue from: the named folder, else the newest complete one of this run, or None."""
        return chosen_checkpoint(resume_from, self.path / "checkpoints")

    def input(self, path: str | Path) -> Path:
        """The absolute path of a file or folder that the run reads; its hash is kept. Raises InputError if missing."""
        target = resolve(path)
        if not target.exists():
            notebook, siblings = notebook_that_writes(target), (p.name for p in target.parent.glob("*"))
            remedy = f"; it is made by `lead run {shown(notebook)}`" if notebook else nearest(target.name, siblings)
            raise InputError(f"input {shown(target)} does not exist{remedy}")
        if not self.silent:
            self.record_fact("inputs", self.manifest["inputs"] | {shown(target): provenance.fingerprint(target)})
        return target

    def output(self, path: str | Path) -> Path:
        """The absolute path of a file or folder that the run will write in its folder; `finish` keeps its hash."""
        target = (self.path / path).resolve()
        if not target.is_relative_to(self.path.resolve()):
            raise ValueError(f"output {str(path)!r} lies outside the run folder {shown(self.path)}")
        if not self.silent:
            target.parent.mkdir(parents=True, exist_ok=True)
            self.record_fact("outputs", self.manifest["outputs"] | {str(path): None})
        return target

    def keep_source(self, name: str, source: str, origin: str = "") -> None:
        """Keeps the source of a user function as own/`name`.py, with its hash and file in run.json.

        Raises InputError where the run is continued from a checkpoint of another source.
        """
        if self.silent:
            return
        target = self.path / "own" / f"{name}.py"
        changed = target.is_file() and target.read_text(encoding="utf-8") != source
        if changed and latest_checkpoint(self.path / "checkpoints"):
            remedy = "choose another run_name, or delete the folder"
            raise InputError(f"{shown(self.path)} was begun with another source of {name!r}; {remedy}")
        write_text(target, source)
        kept = {"file": shown(target), "from": origin, "sha256": provenance.file_hash(target)}
        self.record_fact("own", self.manifest.get("own", {}) | {name: kept})

    def save_text(self, path: str, text: str) -> Path:
        """Writes a text file of this run, completely or not at all."""
        target = self.output(path)
        return target if self.silent else write_text(target, text)

    def save_table(self, path: str, frame) -> Path:
        """Writes a data frame as .parquet, .csv or .jsonl, whichever the path ends in, completely or not at all."""
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

    def save_figure(self, name: str, figure, frame=None, folder: str | Path | None = None, pdf: bool = True) -> Path:
        """Writes `name`.png and, unless `pdf` is off, `name`.pdf, the plotted points of `frame` as `name`.csv, and the
        caption as `name`.txt if the figure has one (its label); returns the path of the .png.

        They go to the run's figures/, or to `folder` (relative to the repository root).
        """
        target = self.path / "figures" if folder is None else resolve(folder)
        image = target / f"{name}.png"
        if self.silent:
            return image
        for kind in ("pdf", "png") if pdf else ("png",):
            with atomic(target / f"{name}.{kind}") as part:
                dots = max(150, _PIXELS / figure.get_figwidth())  # an inch
                figure.savefig(part, format=kind, metadata=_FIGURE_METADATA[kind], bbox_inches="tight", dpi=dots)
        if frame is not None:
            with atomic(target / f"{name}.csv") as part:
                frame.to_csv(part, index=False)
        if caption := figure.get_label():
            write_text(target / f"{name}.txt", caption + "\n")
        self.record_fact("outputs", self.manifest["outputs"] | {shown(image): provenance.fingerprint(image)})
        return image

    def progress(self, step: int, total: int, **values) -> None:
        """Shows how far the run is, and numbers by name: in its views or as a bar in a live notebook, else as a plain
        line (at most one every two seconds).
        """
        self.reached = (step, total)
        if not self.silent:
            self._progress.show(step, total, values)

    def add_view(self, view: Callable[[str, bool, dict], None]) -> None:
        """From now on `view(line, last, values)` is called with each progress of the run."""
        self._progress.views.append(view)

    def interruption(self, sentence: str) -> Interrupted:
        """The error that ends the cell of an interrupted run, whose record keeps the sentence as the reason."""
        if not self.silent:
            self.manifest["attempts"][-1]["reason"] = sentence
            manifest.write_manifest(self.path, self.manifest)
            if in_live_notebook():
                self._progress.write(sentence)
        return Interrupted(sentence)

    def finish(self, **summary) -> None:
        """Closes the run: hashes its outputs, keeps the summary and releases the lock.

        An attempt in which this was not called is not done, whatever else happened in it. Raises InputError before the
        last step.
        """
        if self.silent:
            return
        lock.check_not_replaced(self.path)
        if self.reached[0] < self.reached[1]:
            step, last = self.reached
            raise InputError(f"{shown(self.path)} is at step {step} of {last}, so it is not done: Run All goes on")
        if self.tracker:
            self.tracker.finish()
        for name, fingerprint in self.manifest["outputs"].items():
            if fingerprint is None and (self.path / name).exists():
                self.manifest["outputs"][name] = provenance.fingerprint(self.path / name)
        if not self.config.get("save_steps", 1):  # the checkpoint of the last step was for errors behind the training
            shutil.rmtree(self.path / "checkpoints", ignore_errors=True)
        self.manifest["summary"] |= to_json_value(summary)
        self.manifest["attempts"][-1].pop("reason", None)  # of an interruption after which a cell was run again
        self.manifest["attempts"][-1]["finished"] = manifest.timestamp()
        manifest.write_manifest(self.path, self.manifest)
        if not self._supervised:
            manifest.close_attempt(self.path, "done")
