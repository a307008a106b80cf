"""Which heat is foreground? Every method finds one threshold for one word of one image."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float64

from diffumask.errors import InputError
from diffumask.types import Heat, Image, Mask

from .refine import refine
from .unary import label_probabilities

# Wu et al. 2023 sweep 0.35 to 0.54 in steps of 0.01.
GAMMAS = tuple(round(0.35 + 0.01 * index, 2) for index in range(20))


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a threshold is chosen from: arrays of one height and width.

    `affinity` is the heat map after propagation to alike pixels, None where there is none.
    """

    image: Image
    heat: Heat
    affinity: Heat | None
    class_name: str


@runtime_checkable
class ThresholdMethod(Protocol):
    """A way to find a threshold; what lies above it is foreground."""

    def __call__(self, evidence: Evidence) -> float:
        """Return a threshold in [0, 1]."""
        ...

    def describe(self) -> str:
        """Return what distinguishes the method's masks from those of another, for run.json."""
        ...


@dataclass(frozen=True, slots=True)
class Fixed:
    """The same threshold for every image."""

    threshold: float

    def __post_init__(self) -> None:
        if not 0 <= self.threshold < 1:
            raise ValueError(f"expected a threshold in [0, 1), got {self.threshold}")

    def __call__(self, evidence: Evidence) -> float:
        """Return the threshold."""
        return self.threshold

    def describe(self) -> str:
        """Return the number."""
        return f"{self.threshold:g}"


def _otsu(heat: Heat) -> float:
    from skimage.filters import threshold_otsu  # it takes a while to import

    return float(threshold_otsu(heat))


@dataclass(frozen=True, slots=True)
class Otsu:
    """The threshold that parts the heat into two groups with the least variance (Otsu 1979).

    It is lowered by `less`: a cell of attention that an object fills in part is cooler than its
    share of it, so that half way between the groups is inside the outline.
    """

    less: float = 0.0

    def __call__(self, evidence: Evidence) -> float:
        """Return the threshold; 0 for a map of zeros."""
        return max(0.0, _otsu(evidence.heat) - self.less)

    def describe(self) -> str:
        """Return the name, with what it is lowered by."""
        return f"otsu - {self.less:g}" if self.less else "otsu"


DEFAULT = Otsu(less=0.05)


@dataclass(frozen=True, slots=True)
class Calibrated:
    """The threshold of the class in a table, or `DEFAULT`; see `diffumask.calibration.fit`."""

    threshold_of: Callable[[str], float | None]
    name: str

    def __call__(self, evidence: Evidence) -> float:
        """Return the threshold. Raises InputError for a class that the table lacks."""
        threshold = self.threshold_of(evidence.class_name)
        return DEFAULT(evidence) if threshold is None else threshold

    def describe(self) -> str:
        """Return the name of the table."""
        return self.name


@dataclass(frozen=True, slots=True)
class Adaptive:
    """The threshold whose refined mask agrees best with the affinity mask (Wu et al. 2023, eq. 4).

    All candidates are refined at once. Deviations: the affinity mask is that of the heat map
    propagated along the UNet's self-attention, at Otsu's threshold, unless an AffinityNet is given;
    and the agreement is the IoU (the released code takes half the Dice coefficient, which ranks
    the same). Where no candidate overlaps the affinity mask Otsu's threshold is taken. Meant for
    the heat of attention: that of the affinity would be compared with itself.
    """

    refiner: str = "crf"
    gammas: Sequence[float] = GAMMAS

    def __call__(self, evidence: Evidence) -> float:
        """Return the best of the thresholds."""
        if evidence.affinity is None:
            raise InputError("expected an affinity for the threshold 'adaptive', got none")
        reference = evidence.affinity > _otsu(evidence.affinity)
        agreement = ious(self.candidates(evidence), reference)
        if not agreement.any():
            return Otsu()(evidence)
        return self.gammas[int(agreement.argmax())]

    def candidates(self, evidence: Evidence) -> Bool[np.ndarray, "gamma h w"]:
        """Return the refined mask at every threshold."""
        rough = label_probabilities(evidence.heat[None], [[gamma] for gamma in self.gammas])
        return refine(self.refiner, evidence.image, rough)[:, 1] > 0.5

    def describe(self) -> str:
        """Return the name with the refiner."""
        return f"adaptive ({self.refiner})"


def ious(masks: Bool[np.ndarray, "n h w"], reference: Mask) -> Float64[np.ndarray, " n"]:
    """Return the IoU of each mask with one reference; 0 where both are empty."""
    intersection = (masks & reference).sum((1, 2))
    union = (masks | reference).sum((1, 2))
    return intersection / np.maximum(union, 1)
