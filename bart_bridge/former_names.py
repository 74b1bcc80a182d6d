"""Modules by the names they had until version 0.2.0, for files that `pickle` wrote then, such as submitted jobs.

`pickle` keeps the module of each class by name. Only what was pickled is listed; other code uses the present names.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

FORMER_NAMES = {
    "bart_bridge.settings": ("bart_bridge.reconet.network_settings", "bart_bridge.reconet.training_settings"),
    "bart_bridge.simulate": ("bart_bridge.data.simulation",),
    "compare.config": ("compare.settings.experiment",),
    "compare.jobs": ("compare.running.submit",),
    "compare.optimizer_study": ("compare.study.settings",),
}


class FormerNames(MetaPathFinder, Loader):
    """Import the content of today's modules under a name in `FORMER_NAMES`."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return a spec for a former name, None for others."""
        return ModuleSpec(fullname, self) if fullname in FORMER_NAMES else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return a module of the former name with the content of today's modules."""
        module = ModuleType(spec.name)
        for present in FORMER_NAMES[spec.name]:
            module.__dict__.update(vars(importlib.import_module(present)))
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing: the content is there."""


def install() -> None:
    """Let `import` find former names, after all others; called when a package is imported that had them."""
    if not any(isinstance(finder, FormerNames) for finder in sys.meta_path):
        sys.meta_path.append(FormerNames())
