"""The optional tracker. It only receives metrics: when it fails, the run warns and goes on."""

import os
import warnings
from pathlib import Path

from lead_kit.errors import chosen

PATIENCE = 15  # seconds to wait for a server; the library's own defaults add up to minutes


class Wandb:
    """Sends metrics to wandb, offline unless WANDB_MODE says otherwise; sends nothing more after its first failure."""

    def __init__(self, folder: Path, name: str, config: dict):
        import wandb  # imported here: it costs a second and only its users need it

        self.failures = (OSError, ValueError, TypeError, RuntimeError, wandb.errors.Error)
        self.session = None
        settings = wandb.Settings(init_timeout=PATIENCE, finish_timeout=PATIENCE, silent=True, console="off")
        mode, project = os.environ.get("WANDB_MODE", "offline"), config.get("wandb_project", "lead_kit")
        asked = {"project": project, "name": name, "config": config, "dir": str(folder), "mode": mode}
        self.session = self._try(wandb.init, **asked, settings=settings)

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
            self._try(self.session.log, values | {"rollout_step": step})

    def finish(self) -> None:
        if self.session:
            self._try(self.session.finish)


def start(kind: str, folder: Path, name: str, config: dict) -> Wandb | None:
    """The tracker called `kind`, or None. Raises InputError for an unknown kind."""
    tracker = chosen(TRACKERS, kind, "tracker")
    try:
        return tracker(folder, name, config) if tracker else None
    except ImportError as error:
        warnings.warn(f"no wandb, the run folder has everything: {error}", stacklevel=2)
        return None


TRACKERS = {"none": None, "wandb": Wandb}
