"""The optional tracker: a sink for metrics whose every failure is a warning, never the end of a run."""

import os
import warnings
from pathlib import Path

from lead_kit.errors import InputError, nearest

TRACKERS = ("none", "wandb")
PATIENCE = 15  # seconds to wait for a server; the library's own defaults add up to minutes


class Wandb:
    """Sends metrics to wandb, offline unless WANDB_MODE says otherwise; goes quiet after its first failure."""

    def __init__(self, folder: Path, name: str, config: dict):
        # imported here: it costs a second and only those who ask for it need it
        import wandb

        self.failures = (OSError, ValueError, TypeError, RuntimeError, wandb.errors.Error)
        self.session = None
        settings = wandb.Settings(init_timeout=PATIENCE, finish_timeout=PATIENCE, silent=True, console="off")
        mode = os.environ.get("WANDB_MODE", "offline")
        self.session = self.attempt(
            wandb.init, project="lead_kit", name=name, config=config, dir=str(folder), mode=mode, settings=settings
        )

    def attempt(self, action, *args, **kwargs):
        """The action's result, or None and a warning when it fails, after which nothing more is sent."""
        try:
            return action(*args, **kwargs)
        except self.failures as error:
            warnings.warn(f"wandb is off from here on, the run folder has everything: {error}", stacklevel=2)
            self.session = None
            return None

    def log(self, step: int, values: dict) -> None:
        if self.session:
            self.attempt(self.session.log, values | {"rollout_step": step})

    def finish(self) -> None:
        if self.session:
            self.attempt(self.session.finish)


def start(kind: str, folder: Path, name: str, config: dict) -> Wandb | None:
    """The tracker of that name. Raises InputError for one that does not exist."""
    if kind not in TRACKERS:
        raise InputError(f"tracker {kind!r} is none of {', '.join(TRACKERS)}{nearest(kind, TRACKERS)}")
    if kind == "none":
        return None
    try:
        return Wandb(folder, name, config)
    except ImportError as error:
        warnings.warn(f"no wandb, the run folder has everything: {error}", stacklevel=2)
        return None
