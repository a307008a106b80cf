"""run.json as a type: the settings, classes and runs that made a dataset folder."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from diffumask.errors import InputError
from diffumask.files.json_kinds import is_number, mapping, number, objects, text, whole, wrong
from diffumask.types import BACKGROUND_ID, IGNORE_ID

FORMAT = 1
KEYS = ("format", "settings", "classes", "runs")
CLASS_IDS = range(BACKGROUND_ID + 1, IGNORE_ID)
WEIGHTS, SHARD = "weights", "shard"
FACTOR = re.compile(r"[1-9][0-9]{0,3}")
# Settings that commands read, where a dataset has them; all others are of whatever kind.
TEXTS = ("model", "checkpoint", "vocabulary", "merge", "affinity", "heat", "refiner")
NUMBERS = ("guidance_scale",)
WHOLE = ("num_inference_steps",)


@dataclass(frozen=True, slots=True)
class Run:
    """What made a folder: settings that its items depend on, class ids by name, notes of runs.

    Settings are JSON; those that commands read are of their kind, see `from_json`.
    """

    settings: Mapping[str, Any]
    classes: Mapping[str, int]
    runs: tuple[Mapping[str, Any], ...]

    @classmethod
    def from_json(cls, tree: Any) -> "Run":
        """Read run.json. Raises InputError for another format, and for values of another kind."""
        if not isinstance(tree, dict) or set(tree) != set(KEYS):
            raise InputError(f"expected an object of {', '.join(KEYS)}, got something else")
        if tree["format"] != FORMAT or type(tree["format"]) is not int:
            raise wrong(str(FORMAT), tree, "format")
        settings, classes = mapping(tree, "settings"), mapping(tree, "classes")
        _check_settings(settings)
        for name in classes:
            whole(classes, name, CLASS_IDS)
        runs = objects(tree, "runs")
        for notes in runs:
            if SHARD in notes:
                text(notes, SHARD)
        return cls(settings, classes, tuple(runs))

    def to_json(self) -> dict[str, Any]:
        """Return what run.json holds."""
        values = (FORMAT, self.settings, self.classes, list(self.runs))
        return dict(zip(KEYS, values, strict=True))

    @property
    def keeps_maps(self) -> bool:
        """Whether the heat maps of items are kept."""
        return self.settings.get("keep_maps") is True

    def setting(self, name: str) -> Any:
        """Return a setting. Raises InputError for a dataset without it."""
        if name not in self.settings:
            raise InputError(
                f"expected a dataset whose run.json has the setting {name!r}, got none"
            )
        return self.settings[name]

    def weights(self) -> dict[int, float] | None:
        """Return the weights of the grids of attention, by factor; raises as `setting`."""
        weights = self.setting(WEIGHTS)
        return weights and {int(factor): weight for factor, weight in weights.items()}


def _check_settings(settings: Mapping[str, Any]) -> None:
    kinds = {**dict.fromkeys(TEXTS, text), **dict.fromkeys(NUMBERS, number)}
    for name, read in {**kinds, **dict.fromkeys(WHOLE, whole)}.items():
        if name in settings:
            read(settings, name)
    if not isinstance(settings.get("keep_maps", False), bool):
        raise wrong("true or false", settings, "keep_maps")
    if not isinstance(settings.get("threshold", ""), str):
        number(settings, "threshold")
    if settings.get(WEIGHTS) is not None:
        weights = mapping(settings, WEIGHTS)
        if not all(map(FACTOR.fullmatch, weights)) or not all(map(is_number, weights.values())):
            raise wrong("numbers by factor", settings, WEIGHTS)
