"""The one training: seeded by step, resumable in a folder of its own, shared among processes.

Names are imported when they are first asked for: most load torch.
"""

from typing import TYPE_CHECKING

from diffumask.on_demand import on_demand

if TYPE_CHECKING:
    from .distributed import shared as shared
    from .loop import train as train
    from .schedule import Schedule as Schedule

_MODULES = {
    "shared": "distributed",
    "train": "loop",
    "Schedule": "schedule",
}

__getattr__ = on_demand(__name__, _MODULES)
