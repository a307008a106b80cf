"""The Segmentator: a light head on the hidden states of a frozen VAE decoder that gives masks."""

from .file import Segmentator as Segmentator
from .file import load as load
from .file import read_facts as read_facts
from .file import save as save
from .heads import HEADS as HEADS
from .heads import new_head as new_head
from .predict import Predictor as Predictor
from .source import SegmentatorSource as SegmentatorSource
from .training import TrainSettings as TrainSettings
from .training import train_segmentator as train_segmentator
