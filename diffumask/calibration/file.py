"""thresholds.json: the calibrated thresholds of some classes, for one model.

{"format": 1, "model": "tiny", "checkpoint": "0123456789abcdef",
 "merge": "mean", "weights": null, "heat": "attention", "reference": "affinity",
 "classes": {"bird": {"threshold": 0.41, "low": 0.38, "high": 0.45, "iou": 0.71,
                      "n": 190, "left_out": 10,
                      "curve": {"thresholds": [0.05, ...], "iou": [0.2, ...]}}}}
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffumask.errors import InputError
from diffumask.files.atomic import write_file

from .fit import ClassThreshold

FORMAT = 1
NUMBERS = ("threshold", "low", "high", "iou")
COUNTS = ("n", "left_out")


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Thresholds by class, the model they hold for, and how its heat maps were made.

    `checkpoint` is the fingerprint of the model; `merge` and `weights` are those of `aggregate`,
    where weights of None stand for `localizing_weights`; `heat` is that of `MaskSettings`, where
    "affinity" is propagation along self-attention.
    """

    model: str
    checkpoint: str
    merge: str
    weights: Mapping[int, float] | None
    heat: str
    reference: str
    classes: Mapping[str, ClassThreshold]

    def of(self, class_name: str) -> float:
        """Return the threshold of a class. Raises InputError for one that is not calibrated."""
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
    if not isinstance(raw, dict) or "classes" not in raw or raw.get("format") != FORMAT:
        raise InputError(
            f"expected a thresholds file of diffumask calibrate in format {FORMAT}, got {path} "
            "with something else"
        )
    try:
        return _from_json(raw)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(
            f"expected a whole thresholds file, got {path} with {reason}; make it again with "
            "diffumask calibrate"
        ) from error


def _to_json(thresholds: Thresholds) -> str:
    """Write a line for each class, so that the curves do not drown the thresholds."""
    weights = thresholds.weights
    head = {
        "format": FORMAT,
        "model": thresholds.model,
        "checkpoint": thresholds.checkpoint,
        "merge": thresholds.merge,
        "weights": None if weights is None else {str(f): w for f, w in weights.items()},
        "heat": thresholds.heat,
        "reference": thresholds.reference,
    }
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}," for key, value in head.items()]
    classes = ",\n".join(
        f"    {json.dumps(name)}: {json.dumps(_class_to_json(one))}"
        for name, one in thresholds.classes.items()
    )
    return "\n".join(["{", *lines, '  "classes": {', classes, "  }", "}\n"])


def _class_to_json(one: ClassThreshold) -> dict[str, Any]:
    figures = {key: getattr(one, key) for key in (*NUMBERS, *COUNTS)}
    return figures | {"curve": {"thresholds": one.thresholds, "iou": one.ious}}


def _from_json(raw: Mapping[str, Any]) -> Thresholds:
    weights = raw["weights"]
    if weights is not None:
        weights = {int(factor): _number(weights, factor, math.inf) for factor in weights}
    texts = {key: _text(raw, key) for key in ("model", "checkpoint", "merge", "heat", "reference")}
    classes = {name: _class_from_json(one) for name, one in raw["classes"].items()}
    return Thresholds(**texts, weights=weights, classes=classes)


def _class_from_json(raw: Any) -> ClassThreshold:
    thresholds, ious = raw["curve"]["thresholds"], raw["curve"]["iou"]
    if len(thresholds) != len(ious):
        raise ValueError(f"a curve of {len(thresholds)} thresholds with {len(ious)} IoUs")
    return ClassThreshold(
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


def _text(raw: Mapping[str, Any], key: str) -> str:
    if not isinstance(raw[key], str):
        raise ValueError(f"{key} of {raw[key]!r}")
    return raw[key]
