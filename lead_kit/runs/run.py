"""Run: what a notebook writes to its run folder.

The same object serves `lead run`, plain papermill and JupyterLab. On ranks other than 0 it writes nothing, so no cell
has to ask for its rank.
"""

import atexit
import os
import time
import warnings
from pathlib import Path

from lead_kit.errors import InputError, nearest
from lead_kit.params import Config, refuse_secrets
from lead_kit.runs import lock, log, manifest, provenance, tracking
from lead_kit.runs.files import append_jsonl, atomic, plain, write_text
from lead_kit.runs.find import maker_of
from lead_kit.runs.paths import ROOT, resolve, run_folder, shown
from lead_kit.runs.ranks import check_processes, rank

PROGRESS_SECONDS = 2.0  # plain lines come no faster than this


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
        self.config, self.path = config, run_folder(config["run_name"])
        self.silent = rank() != 0
        self.tracker = self.bar = None
        self._shown, self._first, self._printed = {}, None, 0.0
        if not self.silent:
            self._claim(Path(notebook) if notebook.endswith(".ipynb") else ROOT / "notebooks" / f"{notebook}.ipynb")
            self.tracker = tracking.start(config.get("tracker", "none"), self.path, config["run_name"], dict(config))

    def _claim(self, notebook: Path) -> None:
        """Takes the folder, or joins the attempt that `lead run` opened for this kernel."""
        self._supervised = not lock.hold(self.path)
        if self._supervised:
            self.record = manifest.read_record(self.path)
            if changed := ", ".join(manifest.differences(self.record["parameters"], self.config).values()):
                raise InputError(f"the notebook settled on other parameters than `lead run` read: {changed}")
            return
        try:
            self.record = manifest.open_attempt(self.path, self.config, self.config.given, notebook)
        except InputError:
            lock.release(self.path)
            raise
        atexit.register(self._end_unfinished)

    def _end_unfinished(self) -> None:
        """A kernel that ends before `finish` leaves a failed attempt, which the next one takes up."""
        if self.path / "lock" in lock.held and (manifest.read_record(self.path) or {}).get("status") == "running":
            manifest.close_attempt(self.path, "failed", "the kernel ended before the run was finished")

    def log(self, step: int, split: str, **metrics: float) -> None:
        """Appends one line to metrics.jsonl; `step` counts rollout batches, `split` is train or validation."""
        if split not in ("train", "validation"):
            raise ValueError(f"split {split!r} is neither 'train' nor 'validation'")
        if self.silent:
            return
        row = plain({"step": step, "split": split, **metrics})
        append_jsonl(self.path / "metrics.jsonl", [row])
        if self.tracker:
            self.tracker.log(
                step, {f"{split}/{name}": value for name, value in row.items() if name not in ("step", "split")}
            )

    def truncate_metrics(self, after_step: int) -> None:
        """Drops metrics, rollouts and validation samples of later steps: call it when resuming from a checkpoint."""
        if not self.silent:
            log.truncate(self.path, after_step)

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
        manifest.write_record(self.path, self.record)

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
        manifest.write_record(self.path, self.record)
        if not self._supervised:
            manifest.close_attempt(self.path, "done")


def show(value) -> str:
    """A number with three digits that matter; anything else as it is."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
