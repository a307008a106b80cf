"""AffinityNet: a network that learns from images and heat maps which pixels belong together.

Ahn & Kwak 2018, as Wu et al. 2023 use it: trained on generated images alone, no mask drawn.
"""

from diffumask.affinity_net.checkpoint import AffinityNet as AffinityNet
from diffumask.affinity_net.checkpoint import load as load
from diffumask.affinity_net.checkpoint import save as save
from diffumask.affinity_net.predict import affinity_heat as affinity_heat
from diffumask.affinity_net.predict import affinity_heats as affinity_heats
from diffumask.affinity_net.seeds import SeedSettings as SeedSettings
from diffumask.affinity_net.seeds import confident_seeds as confident_seeds
from diffumask.affinity_net.training import AffinitySettings as AffinitySettings
from diffumask.affinity_net.training import train_affinity as train_affinity
