"""Trackers repeat a run's metrics in the store of a library: wandb, trackio, TensorBoard or MLflow.

A tracker is a class that is called with the run's folder, name and parameters, and has two methods:
`log(step, values)` for the metrics of a rollout batch, and `finish(figures, samples)` at the end, with the paths of the
figures by name and the frame of the last rollouts, or None. The run folder holds all of it in any case.
"""

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from lead_kit.errors import lookup
from lead_kit.runs.files import ROOT
from lead_kit.runs.log_files import has_rollouts, read_rollouts
from lead_kit.safe_text import safe_text

if TYPE_CHECKING:
    import pandas as pd

_STEP = "rollout_step"  # the axis of every metric
_ROWS = 64  # of the table of samples
_COLUMNS = ["step", "group", "id", "sample", "problem", "completion", "status", "reward", "advantage", "length"]
_PATIENCE = 15  # seconds to wait for a server; the libraries' own defaults add up to minutes


class Tracker:
    """The tracker of one run. Whatever fails in it costs a line, never the run, and nothing more is sent after that."""

    def __init__(self, kind: str, folder: Path, name: str, config: dict):
        self.kind, self.folder, self.library = kind, folder, None
        self.library = self._try(_TRACKERS[kind], folder, name, config)

    def _try(self, action, *args):
        try:
            return action(*args)
        except Exception as error:  # of any library, its network and its files
            reason = str(error) or type(error).__name__
            if isinstance(error, ImportError):
                reason += "; pip install -r requirements-trackers.txt"
            print(f"tracker {self.kind} is off from here on, the run folder has everything: {reason}", flush=True)
            self.library = None
            return None

    def log(self, step: int, values: dict) -> None:
        """Sends the metrics of one rollout batch."""
        if self.library:
            self._try(self.library.log, step, {key: x for key, x in values.items() if isinstance(x, int | float)})

    def finish(self) -> None:
        """Sends the figures and the last rollouts, and closes the session."""
        if self.library:
            figures = {f"figures/{path.stem}": path for path in sorted(self.folder.glob("figures/*.png"))}
            self._try(lambda: self.library.finish(figures, self._samples()))

    def _samples(self) -> "pd.DataFrame | None":
        if not has_rollouts(self.folder):
            return None
        rows = read_rollouts(self.folder, newest=True)
        rows = rows[[name for name in _COLUMNS if name in rows]].head(_ROWS)
        return rows.assign(**{name: rows[name].map(safe_text) for name in rows.select_dtypes(exclude="number")})


class _Wandb:
    """Offline unless WANDB_MODE says otherwise. Runs are grouped by experiment, then by arm; the seed is a tag."""

    def __init__(self, folder: Path, name: str, config: dict):
        import wandb  # here and below: it costs seconds, and only its users need it

        self.library, self.step = wandb, 0
        self.session = wandb.init(
            project=config.get("wandb_project", "lead_kit"),
            entity=config.get("wandb_entity") or None,
            name=name,
            group=name.rpartition("/")[0] or name,
            job_type=config.get("arm") or None,
            tags=[f"seed {config.get('seed', 0)}"],
            config=config,
            dir=str(folder),
            mode=os.environ.get("WANDB_MODE", "offline"),
            settings=wandb.Settings(init_timeout=_PATIENCE, finish_timeout=_PATIENCE, silent=True, console="off"),
        )
        self.session.define_metric(_STEP)
        self.session.define_metric("*", step_metric=_STEP)

    def log(self, step: int, values: dict) -> None:
        self.step = step
        self.session.log(values | {_STEP: step})

    def finish(self, figures: dict, samples: "pd.DataFrame | None") -> None:
        sent = {name: self.library.Image(str(path)) for name, path in figures.items()}
        if samples is not None:
            sent["samples"] = self.library.Table(dataframe=samples)
        if sent:
            self.log(self.step, sent)
        self.session.finish()


class _Trackio(_Wandb):
    """Writes to trackio's folder on this machine, or where TRACKIO_SPACE_ID or TRACKIO_SERVER_URL says."""

    def __init__(self, folder: Path, name: str, config: dict):
        import trackio

        self.library, self.step = trackio, 0
        group, project = name.rpartition("/")[0] or name, config.get("wandb_project", "lead_kit")
        self.session = trackio.init(project, name, group, config=config, resume="allow", embed=False)

    def log(self, step: int, values: dict) -> None:
        self.step = step
        self.session.log(values, step=step)


class _TensorBoard:
    """Event files in the run's folder `tensorboard`; a resumed run takes back the steps that it repeats."""

    def __init__(self, folder: Path, name: str, config: dict):
        from torch.utils.tensorboard import SummaryWriter

        self.open, self.writer, self.step = SummaryWriter, None, 0
        self.folder = folder / "tensorboard"

    def log(self, step: int, values: dict) -> None:
        if self.writer is None:
            self.writer = self.open(str(self.folder), purge_step=step)
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()
        self.step = step

    def finish(self, figures: dict, samples: "pd.DataFrame | None") -> None:
        import numpy as np
        from PIL import Image

        if self.writer is None:
            return
        for name, path in figures.items():
            self.writer.add_image(name, np.asarray(Image.open(path)), self.step, dataformats="HWC")
        if samples is not None:
            lines = samples.to_json(orient="records", lines=True).splitlines()
            block = "\n".join(f"    {line}" for line in lines)  # of Markdown, in which nothing is markup
            self.writer.add_text("samples", block, self.step)
        self.writer.close()


class _MLflow:
    """Writes to runs/mlflow.db, or where MLFLOW_TRACKING_URI says. An attempt is a run of its own."""

    def __init__(self, folder: Path, name: str, config: dict):
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(_PATIENCE))
        from mlflow.entities import Metric, Param
        from mlflow.tracking import MlflowClient

        self.metric, runs = Metric, ROOT / "runs"
        uri, figures = os.environ.get("MLFLOW_TRACKING_URI"), None
        if not uri:
            uri, figures = f"sqlite:///{runs / 'mlflow.db'}", (runs / "mlflow").as_uri()
        project = config.get("wandb_project", "lead_kit")
        with FileLock(runs / "mlflow.lock", timeout=4 * _PATIENCE):  # of two first runs, one makes the tables
            self.client = MlflowClient(uri)
            experiment = self.client.get_experiment_by_name(project)
            number = experiment.experiment_id if experiment else self.client.create_experiment(project, figures)
        tags = {"experiment": name.rpartition("/")[0] or name, "arm": str(config.get("arm", ""))}
        self.run = self.client.create_run(number, run_name=name, tags=tags).info.run_id
        parameters = [Param(key, str(value)[:6000]) for key, value in config.items()]
        for start in range(0, len(parameters), 100):  # the most that a server takes at once
            self.client.log_batch(self.run, params=parameters[start : start + 100])

    def log(self, step: int, values: dict) -> None:
        now = int(time.time() * 1000)
        self.client.log_batch(self.run, [self.metric(name, value, now, step) for name, value in values.items()])

    def finish(self, figures: dict, samples: "pd.DataFrame | None") -> None:
        for path in figures.values():
            self.client.log_artifact(self.run, str(path), "figures")
        if samples is not None:
            self.client.log_table(self.run, samples, "samples.json")
        self.client.set_terminated(self.run)


_TRACKERS = {"none": None, "wandb": _Wandb, "trackio": _Trackio, "tensorboard": _TensorBoard, "mlflow": _MLflow}


def start_tracker(folder: Path, name: str, config: dict) -> Tracker | None:
    """The tracker that the parameter `tracker` names, or None. Raises InputError for an unknown one."""
    kind = config.get("tracker", "none")
    return Tracker(kind, folder, name, config) if lookup(_TRACKERS, kind, "tracker") else None
