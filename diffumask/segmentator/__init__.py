"""The Segmentator: a light head on the hidden states of a frozen VAE decoder that gives masks."""

from diffumask.segmentator.file import Segmentator as Segmentator
from diffumask.segmentator.file import load as load
from diffumask.segmentator.file import read_facts as read_facts
from diffumask.segmentator.file import save as save
from diffumask.segmentator.heads import HEADS as HEADS
from diffumask.segmentator.heads import new_head as new_head
from diffumask.segmentator.predict import Predictor as Predictor
from diffumask.segmentator.source import SegmentatorSource as SegmentatorSource
from diffumask.segmentator.training import TrainSettings as TrainSettings
from diffumask.segmentator.training import train_segmentator as train_segmentator
