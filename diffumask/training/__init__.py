"""The one training: seeded by step, resumable in a folder of its own, shared among processes."""

from .distributed import shared as shared
from .loop import train as train
from .schedule import Schedule as Schedule
