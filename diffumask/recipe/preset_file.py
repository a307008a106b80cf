"""preset.toml: how masks are best made of a checkpoint's attention, and how that was found.

    format = 1
    model = "tiny"
    checkpoint = "0123456789abcdef"
    chosen = "IoU of 20 labelled pictures of VOC2012, 34 settings tried; figures are of 20 others"

    [settings]
    merge = "mean"
    power = 1
    num_inference_steps = 30
    otsu_less = 0.05
    refiner = "crf-wide"
    uncertain_band = 0.02
    least_presence = 0.5

    [weights]
    4 = 0.7
    2 = 0.3

    [figures]
    iou = 0.71

Settings that are left out are the defaults; without [weights] the grids that show an outline count
alike. A published preset has `text_width`,
that of the text its architecture attends to, in place of a checkpoint.
"""

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from diffumask.errors import InputError
from diffumask.files.atomic import write_file
from diffumask.files.json_kinds import is_number, number, text, whole, wrong
from diffumask.files.toml import to_toml
from diffumask.masks.refine import REFINERS
from diffumask.masks.settings import MaskSettings
from diffumask.masks.thresholds import Otsu

FORMAT = 1
MARK = "# A preset of diffumask"
MERGES = ("mean", "max", "first", "last")  # those of `diffumask.attention.aggregate`
FACTORS = range(1, 1025)
POWERS = range(17)
STEPS = range(1, 1001)
KEYS = {"format", "model", "checkpoint", "text_width", "chosen", "settings", "weights", "figures"}


@dataclass(frozen=True, slots=True)
class PresetSettings:
    """What a preset settles.

    `merge`, `weights` and `power` are those of `SampleSettings`; `num_inference_steps` of None is
    the model's. The threshold is Otsu's less `otsu_less`, of heat after propagation; the others
    are as in `MaskSettings`.
    """

    merge: str = "mean"
    weights: Mapping[int, float] | None = None
    power: int = 1
    num_inference_steps: int | None = None
    otsu_less: float = 0.05
    refiner: str = MaskSettings().refiner
    uncertain_band: float = MaskSettings().uncertain_band
    least_presence: float = MaskSettings().least_presence

    @property
    def heat_made(self) -> dict[str, Any]:
        """How heat maps are made, by the fields of `SampleSettings`."""
        return {"merge": self.merge, "weights": self.weights, "power": self.power}

    @property
    def masks(self) -> dict[str, Any]:
        """How heat becomes masks, by the fields of `MaskSettings`."""
        return {
            "threshold": Otsu(self.otsu_less),
            "refiner": self.refiner,
            "uncertain_band": self.uncertain_band,
            "least_presence": self.least_presence,
        }


@dataclass(frozen=True, slots=True)
class PresetFile:
    """A preset with what it holds for and how it was found.

    One of the two is None: `checkpoint`, the fingerprint of the model it was measured with, or
    `text_width`, that of the architecture it was published for.
    """

    model: str
    checkpoint: str | None
    text_width: int | None
    chosen: str
    settings: PresetSettings
    figures: Mapping[str, float] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Return 8 hex digits of what items depend on."""
        content = repr((self.checkpoint, self.text_width, self.settings))
        return hashlib.sha256(content.encode()).hexdigest()[:8]


def to_text(preset: PresetFile) -> str:
    """Write a preset as TOML."""
    owner = ("checkpoint", "text_width")
    head = {"format": FORMAT, "model": preset.model}
    head |= {name: getattr(preset, name) for name in owner if getattr(preset, name) is not None}
    settings = {
        name: getattr(preset.settings, name)
        for name in (one.name for one in fields(PresetSettings))
        if name != "weights" and getattr(preset.settings, name) is not None
    }
    tables = {"settings": settings, "weights": preset.settings.weights, "figures": preset.figures}
    parts = [to_toml({**head, "chosen": preset.chosen})]
    for name, table in tables.items():
        if table is not None:
            parts.append(f"[{name}]\n{to_toml({str(key): one for key, one in table.items()})}")
    return f"{MARK}: generate and remask take it.\n" + "\n".join(parts)


def write_preset(path: Path, preset: PresetFile) -> None:
    """Write a file, in place of an earlier one. Raises InputError where that cannot be."""
    write_file(path, to_text(preset).encode())


def read_preset(path: Path) -> PresetFile:
    """Read a file. Raises InputError when it is missing, or not as `write_preset` leaves it."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"expected a preset file, got {path}: {error.strerror}") from error
    return parse_preset(content, str(path))


def parse_preset(content: bytes, name: str) -> PresetFile:
    """Read what a preset file holds; raises as `read_preset` does, with the name."""
    try:
        raw = tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise InputError(f"expected a preset file in TOML, got {name}: {error}") from error
    if raw.get("format") != FORMAT or type(raw["format"]) is not int or set(raw) - KEYS:
        raise InputError(
            f"expected a preset file of diffumask doctor in format {FORMAT}, got {name} with "
            "something else; make it again"
        )
    try:
        return _from_toml(raw)
    except ValueError as error:  # InputError is one
        raise InputError(
            f"expected a whole preset file, got {name} ({error}); make it again with diffumask "
            "doctor"
        ) from error


def _from_toml(raw: Mapping[str, Any]) -> PresetFile:
    if ("checkpoint" in raw) == ("text_width" in raw):
        raise InputError("expected a checkpoint or a text_width, got both or neither")
    figures = _table(raw, "figures") if "figures" in raw else {}
    return PresetFile(
        text(raw, "model"),
        text(raw, "checkpoint") if "checkpoint" in raw else None,
        whole(raw, "text_width", range(1, 1 << 16)) if "text_width" in raw else None,
        text(raw, "chosen"),
        _settings(_table(raw, "settings"), _weights(raw)),
        {key: number(figures, key) for key in figures},
    )


def _settings(given: Mapping[str, Any], weights: Mapping[int, float] | None) -> PresetSettings:
    known = {field.name: field.default for field in fields(PresetSettings)}
    known.pop("weights")
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise InputError(f"expected known settings, got {unknown[0]!r}")
    raw = {**{name: value for name, value in known.items() if value is not None}, **given}
    return PresetSettings(
        merge=_one_of(raw, "merge", MERGES),
        weights=weights,
        power=whole(raw, "power", POWERS),
        num_inference_steps=_steps(raw),
        otsu_less=_within(raw, "otsu_less", -1.0, 1.0),
        refiner=_one_of(raw, "refiner", (*REFINERS,)),
        uncertain_band=_within(raw, "uncertain_band", 0.0, 0.999),
        least_presence=_within(raw, "least_presence", 0.0, 1.0),
    )


def _steps(raw: Mapping[str, Any]) -> int | None:
    name = "num_inference_steps"
    return whole(raw, name, STEPS) if name in raw else None


def _weights(raw: Mapping[str, Any]) -> dict[int, float] | None:
    if "weights" not in raw:
        return None
    table = _table(raw, "weights")
    known = {str(factor) for factor in FACTORS}
    if not set(table) <= known or not all(is_number(one) and one > 0 for one in table.values()):
        raise wrong("positive numbers by the factor of a grid", raw, "weights")
    if not table:
        raise InputError("expected the weight of a grid, got none")
    return {int(factor): float(weight) for factor, weight in table.items()}


def _table(raw: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = raw.get(key)
    if not isinstance(value, dict):
        raise wrong("a table", raw, key)
    return value


def _one_of(raw: Mapping[str, Any], key: str, known: tuple[str, ...]) -> str:
    value = text(raw, key)
    if value not in known:
        raise wrong(f"one of {', '.join(known)}", raw, key)
    return value


def _within(raw: Mapping[str, Any], key: str, low: float, high: float) -> float:
    value = number(raw, key)
    if not low <= value <= high:
        raise wrong(f"a number in [{low}, {high}]", raw, key)
    return value
