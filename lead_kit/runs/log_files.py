"""What a run logs: metrics.jsonl, graded samples as parquet, and the tracker that repeats the metrics elsewhere."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lead_kit.errors import InputError, lookup
from lead_kit.runs.files import atomic, read_jsonl, read_parquet, resolve, shown, write_jsonl
from lead_kit.safe_text import safe_text

if TYPE_CHECKING:
    import pandas as pd


def read_metrics(path: str | Path) -> list[dict]:
    """The lines of a run's metrics.jsonl (folder or file), without a last line that a crash left half written.

    Raises InputError when the file does not exist or another line is malformed.
    """
    path = resolve(path)
    path = path / "metrics.jsonl" if path.is_dir() else path
    if not path.is_file():
        raise InputError(f"no metrics in {shown(path)}: expected the metrics.jsonl of a run")
    return read_jsonl(path, torn=True)


def delete_later_logs(folder: Path, after_step: int) -> None:
    """Deletes what a run wrote after a step: metric lines, rollouts and validation samples."""
    if (folder / "metrics.jsonl").is_file():
        kept = [row for row in read_metrics(folder) if row["step"] <= after_step]
        write_jsonl(folder / "metrics.jsonl", kept)
    for file in [*folder.glob("rollouts/step_*.parquet"), *folder.glob("validation/step_*.parquet")]:
        if int(file.stem.removeprefix("step_")) > after_step:
            file.unlink()


def sample_row(record: dict, sample: int, completion, verdict) -> dict:
    """One graded sample of one problem. `completion` has text, length (tokens, the end token included), truncated."""
    return {
        "id": record["id"],
        "sample": sample,
        "level": record.get("level"),
        "gold": record["gold"],
        "completion": completion.text,
        "answer": verdict.answer,
        "length": completion.length,
        "truncated": completion.truncated,
        "thinking": completion.thinking,
        "correct": verdict.status == "correct",
        "status": verdict.status,
        "reason": verdict.reason,
    }


def write_samples(rows: list[dict], path: Path) -> None:
    """Writes rows as parquet, all of them or none."""
    import pandas as pd  # imported here: `lead run` needs this module, but no frames

    with atomic(path) as part:
        pd.DataFrame(rows).to_parquet(part, index=False)


def has_rollouts(run: Path) -> bool:
    """Whether a run folder holds logged rollouts."""
    return any((run / "rollouts").glob("step_*.parquet"))


def read_rollouts(run: Path, newest: bool = False) -> "pd.DataFrame":
    """All logged rollouts of a run folder in step order, or those of the newest batch. Raises InputError without any.

    Example: `read_rollouts("runs/03_grpo").groupby("step")["correct"].mean()`
    """
    import pandas as pd

    files = sorted((Path(run) / "rollouts").glob("step_*.parquet"))
    if not files:
        raise InputError(f"run {run} has no rollouts; expected {run}/rollouts/step_*.parquet")
    return pd.concat([read_parquet(file).to_pandas() for file in (files[-1:] if newest else files)], ignore_index=True)


_STEP = "rollout_step"  # the axis of every metric
_ROWS = 64  # of the table of samples
_SAMPLED = ["step", "group", "id", "sample", "problem", "completion", "status", "reward", "advantage", "length"]
_PATIENCE = 15  # seconds to wait for a server; the library's own defaults add up to minutes


class _Wandb:
    """Sends metrics to wandb, offline unless WANDB_MODE says otherwise; sends nothing more after its first failure.

    Runs are grouped by experiment (the folder of the run), then by arm; the seed is a tag. Every metric has the rollout
    step as its axis. At the end come a table of the last rollouts and the figures.
    """

    def __init__(self, folder: Path, name: str, config: dict):
        import wandb  # imported here: it costs a second and only its users need it

        self.failures = (OSError, ValueError, TypeError, RuntimeError, wandb.errors.Error)
        self.wandb, self.folder, self.session = wandb, folder, None
        settings = wandb.Settings(init_timeout=_PATIENCE, finish_timeout=_PATIENCE, silent=True, console="off")
        mode, project = os.environ.get("WANDB_MODE", "offline"), config.get("wandb_project", "lead_kit")
        asked = {"project": project, "name": name, "config": config, "dir": str(folder), "mode": mode}
        asked |= {"entity": config.get("wandb_entity") or None, "group": name.rpartition("/")[0] or name}
        asked |= {"job_type": config.get("arm") or None, "tags": [f"seed {config.get('seed', 0)}"]}
        with self._off_after_failure():
            self.session = wandb.init(**asked, settings=settings)
            self.session.define_metric(_STEP)
            self.session.define_metric("*", step_metric=_STEP)

    @contextlib.contextmanager
    def _off_after_failure(self) -> Iterator[None]:
        """Turns the tracker off, with a line, when something fails in it."""
        try:
            yield
        except self.failures as error:
            print(f"wandb is off from here on, the run folder has everything: {error}", flush=True)
            self.session = None

    def log(self, step: int, values: dict) -> None:
        if self.session:
            with self._off_after_failure():
                self.session.log(values | {_STEP: step})

    def finish(self) -> None:
        """Sends the last rollouts and the figures, and closes the session."""
        if self.session:
            with self._off_after_failure():
                self._send_files()
                self.session.finish()

    def _send_files(self) -> None:
        sent = {f"figures/{path.stem}": self.wandb.Image(str(path)) for path in self.folder.glob("figures/*.png")}
        if has_rollouts(self.folder):
            rows = read_rollouts(self.folder, newest=True)
            rows = rows[[name for name in _SAMPLED if name in rows]].head(_ROWS)
            texts = {name: rows[name].map(safe_text) for name in rows.select_dtypes(exclude="number")}
            sent["samples"] = self.wandb.Table(dataframe=rows.assign(**texts))
        if sent:
            self.session.log(sent)


def start_tracker(folder: Path, name: str, config: dict) -> _Wandb | None:
    """The tracker that the parameter `tracker` names, or None. Raises InputError for an unknown one."""
    tracker = lookup(_TRACKERS, config.get("tracker", "none"), "tracker")
    return tracker(folder, name, config) if tracker else None


_TRACKERS = {"none": None, "wandb": _Wandb}
