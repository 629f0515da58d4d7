"""The optional tracker. It only receives metrics: when it fails, the run warns and goes on."""

import os
import warnings
from pathlib import Path

from lead_kit.errors import lookup
from lead_kit.runs import log_files
from lead_kit.safe_text import safe_text

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
        self.session = self._try(wandb.init, **asked, settings=settings)
        if self.session:
            self._try(self.session.define_metric, _STEP)
            self._try(self.session.define_metric, "*", step_metric=_STEP)

    def _try(self, action, *args, **kwargs):
        """The action's result; when it fails, warns, turns the tracker off and returns None."""
        try:
            return action(*args, **kwargs)
        except self.failures as error:
            warnings.warn(f"wandb is off from here on, the run folder has everything: {error}", stacklevel=2)
            self.session = None
            return None

    def log(self, step: int, values: dict) -> None:
        if self.session:
            self._try(self.session.log, values | {_STEP: step})

    def finish(self) -> None:
        """Sends the last rollouts and the figures, and closes the session."""
        if self.session:
            self._try(self._send_files)
        if self.session:
            self._try(self.session.finish)

    def _send_files(self) -> None:
        sent = {f"figures/{path.stem}": self.wandb.Image(str(path)) for path in self.folder.glob("figures/*.png")}
        if log_files.has_rollouts(self.folder):
            rows = log_files.read_rollouts(self.folder, newest=True)
            rows = rows[[name for name in _SAMPLED if name in rows]].head(_ROWS)
            texts = {name: rows[name].map(safe_text) for name in rows.select_dtypes(exclude="number")}
            sent["samples"] = self.wandb.Table(dataframe=rows.assign(**texts))
        if sent:
            self.session.log(sent)


def start_tracker(folder: Path, name: str, config: dict) -> _Wandb | None:
    """The tracker that the parameter `tracker` names, or None. Raises InputError for an unknown one."""
    tracker = lookup(_TRACKERS, config.get("tracker", "none"), "tracker")
    try:
        return tracker(folder, name, config) if tracker else None
    except ImportError as error:
        warnings.warn(f"no wandb, the run folder has everything: {error}", stacklevel=2)
        return None


_TRACKERS = {"none": None, "wandb": _Wandb}
