"""thresholds.json: the calibrated thresholds of some classes, for one model.

{"format": 2, "model": "tiny", "checkpoint": "0123456789abcdef",
 "merge": "mean", "weights": null, "power": 1, "heat": "affinity", "refiner": "crf-wide",
 "uncertain_band": 0.02, "reference": "masks:drawn",
 "classes": {"bird": {"threshold": 0.4, "low": 0.35, "high": 0.45, "iou": 0.71,
                      "default_iou": 0.69, "n": 190, "left_out": 10,
                      "curve": {"thresholds": [0.1, ...], "iou": [0.2, ...]}},
             "cat": {"threshold": "auto", ...}}}
"""

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from diffumask.errors import InputError
from diffumask.files.atomic import write_file
from diffumask.masks.refine import REFINERS

from .fit import ClassThreshold
from .setting import AFFINITY, ATTENTION, Setting

FORMAT = 2
AUTO = "auto"  # the threshold of a class that the default suits
NUMBERS = ("low", "high", "iou", "default_iou")
COUNTS = ("n", "left_out")


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Thresholds by class, the model they hold for, and the setting that they were fitted in.

    `checkpoint` is the fingerprint of the model.
    """

    model: str
    checkpoint: str
    setting: Setting
    reference: str
    classes: Mapping[str, ClassThreshold]

    def of(self, class_name: str) -> float | None:
        """Return the threshold of a class, None for the default.

        Raises InputError for one that is not calibrated.
        """
        if class_name not in self.classes:
            raise InputError(
                f"expected a calibrated class ({', '.join(self.classes)}), got {class_name!r}; "
                "calibrate that too"
            )
        return self.classes[class_name].threshold

    def check_model(self, model: str, checkpoint: str) -> None:
        """Raise InputError unless the thresholds were made with this checkpoint."""
        if checkpoint != self.checkpoint:
            raise InputError(
                f"expected thresholds of the model {model!r} ({checkpoint}), got those of "
                f"{self.model!r} ({self.checkpoint}); make new ones with diffumask calibrate"
            )


def named(threshold: float | None) -> str:
    """Write a threshold as people read it: a number, or auto for the default."""
    return AUTO if threshold is None else f"{threshold:.2f}"


def write_thresholds(path: Path, thresholds: Thresholds) -> None:
    """Write a file, in place of an earlier one. Raises InputError where that cannot be."""
    content = _to_json(thresholds).encode()
    write_file(path, content)


def read_thresholds(path: Path) -> Thresholds:
    """Read a file. Raises InputError when it is missing, or not as `write_thresholds` leaves it."""
    try:
        raw = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"expected a thresholds file, got {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"expected a thresholds file in JSON, got {path}: {error}") from error
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        raise InputError(
            f"expected a thresholds file of diffumask calibrate in format {FORMAT}, got {path} "
            f"with {_found(raw)}; make it again with diffumask calibrate"
        )
    try:
        return _from_json(raw)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(
            f"expected a whole thresholds file, got {path} with {reason}; make it again with "
            "diffumask calibrate"
        ) from error


def _found(raw: Any) -> str:
    is_other_format = isinstance(raw, dict) and isinstance(raw.get("format"), int)
    return f"format {raw['format']}" if is_other_format else "something else"


def _to_json(thresholds: Thresholds) -> str:
    """Write a line for each class, so that the curves do not drown the thresholds."""
    setting = asdict(thresholds.setting)
    if setting["weights"] is not None:
        setting["weights"] = {str(factor): w for factor, w in setting["weights"].items()}
    head = {
        "format": FORMAT,
        "model": thresholds.model,
        "checkpoint": thresholds.checkpoint,
        **setting,
        "reference": thresholds.reference,
    }
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}," for key, value in head.items()]
    classes = ",\n".join(
        f"    {json.dumps(name)}: {json.dumps(_class_to_json(one))}"
        for name, one in thresholds.classes.items()
    )
    return "\n".join(["{", *lines, '  "classes": {', classes, "  }", "}\n"])


def _class_to_json(one: ClassThreshold) -> dict[str, Any]:
    threshold = AUTO if one.threshold is None else one.threshold
    figures = {key: getattr(one, key) for key in (*NUMBERS, *COUNTS)}
    curve = {"thresholds": one.thresholds, "iou": one.ious}
    return {"threshold": threshold, **figures, "curve": curve}


def _from_json(raw: Mapping[str, Any]) -> Thresholds:
    weights = raw["weights"]
    if weights is not None:
        weights = {int(factor): _number(weights, factor, math.inf) for factor in weights}
    setting = Setting(
        weights=weights,
        power=int(_number(raw, "power", math.inf)),
        uncertain_band=_number(raw, "uncertain_band"),
        merge=_text(raw, "merge"),
        heat=_text(raw, "heat", (ATTENTION, AFFINITY)),
        refiner=_text(raw, "refiner", REFINERS),
    )
    texts = {key: _text(raw, key) for key in ("model", "checkpoint", "reference")}
    classes = {name: _class_from_json(one) for name, one in raw["classes"].items()}
    return Thresholds(**texts, setting=setting, classes=classes)


def _class_from_json(raw: Any) -> ClassThreshold:
    thresholds, ious = raw["curve"]["thresholds"], raw["curve"]["iou"]
    if len(thresholds) != len(ious):
        raise ValueError(f"a curve of {len(thresholds)} thresholds with {len(ious)} IoUs")
    return ClassThreshold(
        threshold=None if raw["threshold"] == AUTO else _number(raw, "threshold"),
        **{key: _number(raw, key) for key in NUMBERS},
        **{key: int(_number(raw, key, math.inf)) for key in COUNTS},
        thresholds=tuple(_number(thresholds, i) for i in range(len(thresholds))),
        ious=tuple(_number(ious, i) for i in range(len(ious))),
    )


def _number(raw: Any, key: Any, highest: float = 1.0) -> float:
    value = raw[key]
    if type(value) not in (int, float) or not (math.isfinite(value) and 0 <= value <= highest):
        raise ValueError(f"{key} of {value!r}")
    return float(value)


def _text(raw: Mapping[str, Any], key: str, known: Collection[str] | None = None) -> Any:
    value = raw[key]
    if not isinstance(value, str) or (known is not None and value not in known):
        raise ValueError(f"{key} of {value!r}")
    return value
