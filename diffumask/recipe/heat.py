"""The choices by which heat becomes masks: the threshold, the affinity, and the refiner."""

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffumask.errors import InputError
from diffumask.masks.refine import MODEL_REFINERS, REFINERS
from diffumask.masks.settings import MaskSettings
from diffumask.masks.thresholds import Adaptive, Calibrated, Fixed, Otsu, ThresholdMethod

from .choice import AUTO, NONE, Bound, Choice, Loaded, check_model_folder, digest

if TYPE_CHECKING:  # torch takes seconds to import
    from diffumask.calibration.file import Thresholds
    from diffumask.models import ModelSpec

SELF_ATTENTION, ADAPTIVE = "self-attention", "adaptive"
THRESHOLDS: dict[str, Callable[[], ThresholdMethod]] = {"otsu": Otsu, ADAPTIVE: Adaptive}


@dataclass(frozen=True)
class Threshold(Choice):
    """How heat is cut: auto, otsu, adaptive, a number in [0, 1), or a file of `calibrate`."""

    name: str = AUTO

    def __post_init__(self) -> None:
        if self.name not in (AUTO, *THRESHOLDS) and self.file is None:
            number = _number(self.name)
            if not 0 <= number < 1:
                raise InputError(
                    "expected a threshold auto, otsu, adaptive, a number in [0, 1) or the .json "
                    f"file of diffumask calibrate, got {self.name!r}"
                )

    @property
    def file(self) -> Path | None:
        """The file of calibrated thresholds, if it is one."""
        return Path(self.name) if self.name.endswith(".json") else None

    @cached_property
    def calibration(self) -> "Thresholds | None":
        """What the file holds."""
        if self.file is None:
            return None
        from diffumask.calibration.file import read_thresholds

        return read_thresholds(self.file)

    @property
    def method(self) -> ThresholdMethod | None:
        """What finds the threshold; None for the default."""
        if self.calibration is not None:
            return Calibrated(self.calibration.of, f"calibrated {digest(Path(self.name))}")
        if self.name in THRESHOLDS:
            return THRESHOLDS[self.name]()
        return None if self.name == AUTO else Fixed(_number(self.name))

    def check(self, class_names: Sequence[str]) -> None:
        for name in class_names:
            if self.calibration is not None:
                self.calibration.of(name)

    def check_model(self, spec: "ModelSpec", checkpoint: str) -> None:
        if self.calibration is not None:
            self.calibration.check_model(spec.name, checkpoint)


@dataclass(frozen=True)
class Affinity(Choice):
    """What propagates heat: nothing, self-attention while sampling, or a folder of a network."""

    name: str = SELF_ATTENTION

    def __post_init__(self) -> None:
        if self.name not in (NONE, SELF_ATTENTION) and not Path(self.name).is_dir():
            raise InputError(
                f"expected an affinity {NONE}, {SELF_ATTENTION} or a folder of diffumask affinity "
                f"train, got {self.name!r}"
            )

    @property
    def is_network(self) -> bool:
        """Whether a network propagates heat."""
        return self.name not in (NONE, SELF_ATTENTION)

    @cached_property
    def network(self) -> Any:
        """The network, loaded."""
        from diffumask.affinity_net import load

        return load(Path(self.name))

    def check_model(self, spec: "ModelSpec", checkpoint: str) -> None:
        if self.is_network:
            _ = self.network

    def bind(self, settings: MaskSettings, loaded: Loaded) -> Bound:
        if not self.is_network:
            return nullcontext(settings)
        from diffumask.affinity_net import affinity_heat

        return nullcontext(replace(settings, affinity_of=partial(affinity_heat, self.network)))

    def describe(self) -> dict[str, Any]:
        if not self.is_network:
            return {"affinity": self.name}
        return {"affinity": f"net {digest(*sorted(Path(self.name).glob('*.safetensors')))}"}


@dataclass(frozen=True)
class Refiner(Choice):
    """What draws the border of masks by the image."""

    name: str = AUTO

    def __post_init__(self) -> None:
        kind, _, folder = self.name.partition(":")
        is_model = kind in MODEL_REFINERS and bool(folder)
        if self.name != AUTO and self.name not in REFINERS and not is_model:
            names = ", ".join([AUTO, *REFINERS, *(f"{kind}:FOLDER" for kind in MODEL_REFINERS)])
            raise InputError(f"expected a refiner {names}; got {self.name!r}")

    def check(self, class_names: Sequence[str]) -> None:
        kind, _, folder = self.name.partition(":")
        if kind in MODEL_REFINERS:
            check_model_folder(self.name, folder)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
