"""Segmentation networks of transformers: made, trained on labelled images, and asked.

Names are imported when they are first asked for: most load torch.
"""

from typing import TYPE_CHECKING

from diffumask.on_demand import on_demand

if TYPE_CHECKING:
    from diffumask.labelled.labels import Labels as Labels

    from .fit_settings import FitSettings as FitSettings
    from .fitting import fit as fit
    from .network import Network as Network
    from .networks import NETWORKS as NETWORKS
    from .networks import new_network as new_network
    from .networks import save_network as save_network
    from .predict import class_maps as class_maps
    from .predict import class_probabilities as class_probabilities

_MODULES = {
    "Labels": ".labelled.labels",
    "fit": "fitting",
    "FitSettings": "fit_settings",
    "Network": "network",
    "NETWORKS": "networks",
    "new_network": "networks",
    "save_network": "networks",
    "class_maps": "predict",
    "class_probabilities": "predict",
}

__getattr__ = on_demand(__name__, _MODULES)
