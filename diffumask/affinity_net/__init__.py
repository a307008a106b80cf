"""AffinityNet: a network that learns from images and heat maps which pixels belong together.

Ahn & Kwak 2018, as Wu et al. 2023 use it: trained on generated images alone, no mask drawn.
"""

from .checkpoint import AffinityNet as AffinityNet
from .checkpoint import load as load
from .checkpoint import save as save
from .predict import affinity_heat as affinity_heat
from .predict import affinity_heats as affinity_heats
from .seeds import SeedSettings as SeedSettings
from .seeds import confident_seeds as confident_seeds
from .training import AffinitySettings as AffinitySettings
from .training import train_affinity as train_affinity
