"""Segmentation networks of transformers: made, trained on labelled images, and asked."""

from diffumask.labelled.labels import Labels as Labels

from .fit import fit as fit
from .fit_settings import FitSettings as FitSettings
from .network import Network as Network
from .networks import NETWORKS as NETWORKS
from .networks import new_network as new_network
from .networks import save_network as save_network
from .predict import class_maps as class_maps
from .predict import class_probabilities as class_probabilities
