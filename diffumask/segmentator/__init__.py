"""The Segmentator: a light head on the hidden states of a frozen VAE decoder that gives masks.

Names are imported when they are first asked for: most load torch.
"""

from typing import TYPE_CHECKING

from diffumask.on_demand import on_demand

if TYPE_CHECKING:
    from .facts import read_facts as read_facts
    from .file import Segmentator as Segmentator
    from .file import load as load
    from .file import save as save
    from .heads import HEADS as HEADS
    from .heads import new_head as new_head
    from .predict import Predictor as Predictor
    from .source import SegmentatorSource as SegmentatorSource
    from .training import TrainSettings as TrainSettings
    from .training import train_segmentator as train_segmentator

_MODULES = {
    "Segmentator": "file",
    "load": "file",
    "read_facts": "facts",
    "save": "file",
    "HEADS": "heads",
    "new_head": "heads",
    "Predictor": "predict",
    "SegmentatorSource": "source",
    "TrainSettings": "training",
    "train_segmentator": "training",
}

__getattr__ = on_demand(__name__, _MODULES)
