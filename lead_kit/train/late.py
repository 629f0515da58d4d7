"""wandb for TRL until somebody uses it: it is there, and no run of it is active.

TRL asks at its import whether wandb is installed, and transformers answers that by importing it, which takes half a
second in each run. Few runs use it.
"""

import importlib
import sys
from importlib.util import find_spec
from types import ModuleType

NAME = "wandb"


class Late(ModuleType):
    """Stands in `sys.modules` for a module, which is imported when something of it is asked for, but for `run`."""

    @property
    def run(self):
        """wandb's active run, or None."""
        real = sys.modules.get(NAME, self)
        return None if real is self else real.run

    def __getattr__(self, name: str):
        if sys.modules.get(NAME) is self:
            del sys.modules[NAME]
        return getattr(importlib.import_module(NAME), name)


def install() -> None:
    """Puts it in wandb's place, where wandb is installed and not yet imported."""
    if NAME not in sys.modules and (spec := find_spec(NAME)) and spec.origin:  # a mere folder has none
        late = Late(NAME, "wandb, imported at its first use.")
        late.__spec__, late.__file__ = spec, spec.origin  # which others look up in every module
        sys.modules[NAME] = late
