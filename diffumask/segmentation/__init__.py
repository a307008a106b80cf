"""Segmentation networks of transformers: made, trained on labelled images, and asked."""

from diffumask.segmentation.fit import FitSettings as FitSettings
from diffumask.segmentation.fit import fit as fit
from diffumask.segmentation.labels import Labels as Labels
from diffumask.segmentation.networks import NETWORKS as NETWORKS
from diffumask.segmentation.networks import Network as Network
from diffumask.segmentation.networks import new_network as new_network
from diffumask.segmentation.networks import save_network as save_network
from diffumask.segmentation.predict import class_maps as class_maps
from diffumask.segmentation.predict import class_probabilities as class_probabilities
