"""How heat becomes a class map: all choices that masks depend on."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from diffumask.errors import InputError
from diffumask.types import Heat, Image

from .refine import REFINERS
from .sources import MaskSource
from .thresholds import DEFAULT, ThresholdMethod

# What to ask for where absent objects matter. A word that explains nothing of a picture has a
# presence of 1/2, and noise moves it: at 0.5 10 % of the objects that are there were emptied on
# dev, at 0.49 2 % (`python -m benchmarks fit_masks`). Not the default: it empties wrong words, but
# hardly any object that a model failed to draw, and takes a tenth more time.
LEAST_PRESENCE = 0.49


@dataclass(frozen=True, slots=True)
class MaskSettings:
    """How heat becomes a class map.

    `heat` says which heat map has the threshold: "attention", or "affinity", that after
    propagation to alike pixels. `refiner` names one of `diffumask.masks.refine`. `affinity_of`
    makes the affinity of a heat map from the image (an AffinityNet), in place of the sample's own.
    `uncertain_band` is how far, in heat, a threshold could be wrong: pixels whose label changes
    within it become 255. `min_area` is the share of the image below which a component
    (4-connected) becomes background, `least_warmth` how warm one must be, as a share of the warmest
    one of its word: others are objects that nobody named. A target whose presence
    (`diffumask.sampling.presence`) is at most `least_presence` is absent. `source` sees objects
    beside attention, or in its place. `device` is that of a refiner with a model.
    """

    heat: Literal["attention", "affinity"] = "affinity"
    threshold: ThresholdMethod = DEFAULT
    refiner: str = "crf-wide"
    affinity_of: Callable[[Image, Heat], Heat] | None = None
    uncertain_band: float = 0.02
    min_area: float = 0.002
    source: MaskSource | None = None
    device: str = "auto"
    least_warmth: float = 0.5
    least_presence: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.uncertain_band < 1:
            raise InputError(f"expected an uncertain band in [0, 1), got {self.uncertain_band}")
        if not 0 <= self.min_area <= 1:
            raise InputError(f"expected a min_area in [0, 1], got {self.min_area}")
        if not 0 <= self.least_warmth <= 1:
            raise InputError(f"expected a least_warmth in [0, 1], got {self.least_warmth}")
        if not 0 <= self.least_presence <= 1:
            raise InputError(f"expected a least_presence in [0, 1], got {self.least_presence}")

    @property
    def is_of_arrays(self) -> bool:
        """Whether masks follow from a sample's arrays alone, without a network."""
        return self.affinity_of is None and self.source is None and self.refiner in REFINERS
