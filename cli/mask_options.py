"""Options of how masks are made, shared by the commands that make masks."""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffumask.errors import InputError
from diffumask.masks import source_name

from . import mask_source

if TYPE_CHECKING:  # they load numpy, scipy and OpenCV
    from diffumask.calibration.file import Thresholds
    from diffumask.masks.class_map import MaskSettings
    from diffumask.types import Heat, Image

NONE, SELF_ATTENTION = "none", "self-attention"
ATTENTION, AFFINITY = "attention", "affinity"
ADAPTIVE = "adaptive"


@dataclass(frozen=True, slots=True)
class MaskOptions:
    """The options as typed, and what was read where they name it.

    `calibration` is the file of the threshold, `affinity_of` the network of the affinity.
    """

    threshold: str = "auto"
    refiner: str = "auto"
    affinity: str = SELF_ATTENTION
    heat: str = "auto"
    uncertain_band: float | None = None
    calibration: "Thresholds | None" = None
    affinity_of: "Callable[[Image, Heat], Heat] | None" = None
    source: str = source_name.ATTENTION
    segmentator: Path | None = None

    @property
    def wants_self_attention(self) -> bool:
        """Whether sampling has to capture self-attention."""
        return self.affinity == SELF_ATTENTION


def read_mask_options(
    threshold: str,
    refiner: str,
    affinity: str,
    heat: str,
    uncertain_band: float | None,
    source: str = source_name.ATTENTION,
    segmentator: Path | None = None,
) -> MaskOptions:
    """Check what can be checked before a model is loaded, and read what the options name."""
    mask_source.check(source, segmentator)
    for option, value in (("--threshold", threshold), ("--heat", heat)):
        if not source_name.parse_source(source).takes_heat and value != "auto":
            raise InputError(
                f"expected {option} auto with --mask-source {source}, which takes no heat map, got"
                f" {value!r}"
            )
    calibration = None
    if threshold.endswith(".json"):
        from diffumask.calibration.file import read_thresholds

        calibration = read_thresholds(Path(threshold))
    options = MaskOptions(
        threshold,
        refiner,
        affinity,
        heat,
        uncertain_band,
        calibration,
        _affinity(affinity),
        source,
        segmentator,
    )
    mask_settings(options)
    return options


def mask_settings(options: MaskOptions) -> "MaskSettings":
    """Turn the options into settings. Raises InputError for what they cannot be."""
    from diffumask.masks.class_map import MaskSettings

    changes: dict[str, Any] = {"affinity_of": options.affinity_of}
    if options.affinity == NONE or options.threshold == ADAPTIVE:
        changes["heat"] = ATTENTION  # adaptive compares with what the affinity shows
    if options.heat not in ("auto", ATTENTION, AFFINITY):
        raise InputError(f"expected --heat {ATTENTION} or {AFFINITY}, got {options.heat!r}")
    if options.heat != "auto":
        changes["heat"] = options.heat
    if options.calibration:
        changes["heat"] = _calibrated_heat(options, options.calibration)
    if options.source == source_name.SEGMENTATOR:
        changes["refiner"] = NONE  # its borders are sharp already
    if options.refiner != "auto":
        changes["refiner"] = _refiner(options.refiner)
    if options.uncertain_band is not None:
        changes["uncertain_band"] = options.uncertain_band
    if options.threshold != "auto":
        changes["threshold"] = _threshold(options)
    return MaskSettings(**changes)


def _threshold(options: MaskOptions) -> Any:
    from diffumask.masks.thresholds import Adaptive, Calibrated, Fixed, Otsu

    if options.calibration:
        return Calibrated(options.calibration.of, f"calibrated {_digest(options.threshold)}")
    by_name: dict[str, Callable[[], Any]] = {"otsu": Otsu, ADAPTIVE: Adaptive}
    if options.threshold in by_name:
        return by_name[options.threshold]()
    try:
        threshold = float(options.threshold)
    except ValueError:
        threshold = math.nan
    if not 0 <= threshold < 1:
        raise InputError(
            "expected --threshold auto, otsu, adaptive, a number in [0, 1) or the .json file of"
            f" diffumask calibrate, got {options.threshold!r}"
        )
    return Fixed(threshold)


def _calibrated_heat(options: MaskOptions, calibration: "Thresholds") -> str:
    """Return the heat that the thresholds are of. Raises InputError where there is another."""
    if options.heat not in ("auto", calibration.heat):
        raise InputError(
            f"expected --heat {calibration.heat}, of which {options.threshold} was made, got"
            f" {options.heat!r}"
        )
    if calibration.heat == AFFINITY and options.affinity != SELF_ATTENTION:
        raise InputError(
            f"expected --affinity {SELF_ATTENTION}, of which {options.threshold} was made, got"
            f" {options.affinity!r}"
        )
    return calibration.heat


def _refiner(name: str) -> str:
    from diffumask.masks.refine import MODEL_REFINERS, REFINERS

    kind, _, folder = name.partition(":")
    if name not in REFINERS and not (kind in MODEL_REFINERS and folder):
        names = ", ".join(["auto", *REFINERS, *(f"{kind}:FOLDER" for kind in MODEL_REFINERS)])
        raise InputError(f"expected --refiner {names}; got {name!r}")
    return name


def _affinity(affinity: str) -> Any:
    """Return what propagates the heat of an image, None where that is sampling or nothing."""
    if affinity in (NONE, SELF_ATTENTION):
        return None
    folder = Path(affinity)
    if not folder.is_dir():
        raise InputError(
            f"expected --affinity {NONE}, {SELF_ATTENTION} or a folder of diffumask affinity train,"
            f" got {affinity!r}"
        )
    from functools import partial

    from diffumask.affinity_net import affinity_heat, load

    return partial(affinity_heat, load(folder))


def identity(options: MaskOptions, settings: "MaskSettings") -> dict[str, Any]:
    """Return what the masks depend on, for run.json; `settings` are those of the options."""
    affinity = options.affinity
    if settings.affinity_of is not None:
        affinity = f"net {_digest(*sorted(Path(affinity).glob('*.safetensors')))}"
    return {
        **mask_source.identity(options.source, options.segmentator),
        "threshold": settings.threshold.describe(),
        "refiner": settings.refiner,
        "affinity": affinity,
        "heat": settings.heat,
        "uncertain_band": settings.uncertain_band,
        "min_area": settings.min_area,
    }


def _digest(*paths: str | Path) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(Path(path).read_bytes())
    return digest.hexdigest()[:8]


def aggregation(options: MaskOptions) -> dict[str, Any]:
    """Return how the heat maps are made that the thresholds were calibrated on."""
    if not options.calibration:
        return {}
    return {"merge": options.calibration.merge, "weights": options.calibration.weights}
