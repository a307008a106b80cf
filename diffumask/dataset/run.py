"""run.json as a type: the settings, classes and runs that made a dataset folder."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffumask.errors import InputError
from diffumask.files.begun import refuse_changes
from diffumask.files.inside import read_inside
from diffumask.files.json_kinds import (
    is_number,
    mapping,
    number,
    objects,
    parse,
    text,
    whole,
    wrong,
)
from diffumask.types import BACKGROUND_ID, IGNORE_ID

from .parts import RUN_FILE, check_parts

FORMAT = 1
KEYS = ("format", "settings", "classes", "runs")
CLASS_IDS = range(BACKGROUND_ID + 1, IGNORE_ID)
WEIGHTS, SHARD, STRIDES = "weights", "shard", "matrix_strides"
FACTOR = re.compile(r"[1-9][0-9]{0,3}")
# Settings that commands read, where a dataset has them; all others are of whatever kind.
TEXTS = (
    *("model", "checkpoint", "revision", "variant", "vocabulary"),
    *("merge", "affinity", "heat", "refiner"),
)
NUMBERS = ("guidance_scale",)
WHOLE = ("num_inference_steps", "power")


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

    @property
    def batch_size(self) -> int | None:
        """How many images at a time the last run had; None where none tells."""
        told = (notes.get("batch_size") for notes in reversed(self.runs))
        return next((one for one in told if type(one) is int and one > 0), None)

    def setting(self, name: str) -> Any:
        """Return a setting. Raises InputError for a dataset without it."""
        if name not in self.settings:
            raise InputError(
                f"expected a dataset whose run.json has the setting {name!r}, got none"
            )
        return self.settings[name]

    @property
    def matrix_strides(self) -> tuple[int, int]:
        """At which steps and layers self-attention was seen, as in `SampleSettings`."""
        # earlier versions, which do not tell, saw it at all
        steps, layers = self.settings.get(STRIDES, (1, 1))
        return steps, layers

    def heat_made(self) -> dict[str, Any]:
        """Return how heat maps were made, as in `SampleSettings`; raises as `setting`."""
        weights = self.setting(WEIGHTS)
        weights = weights and {int(factor): weight for factor, weight in weights.items()}
        # folders of earlier versions, which do not tell, hold heat that was propagated once
        power = self.settings.get("power", 1)
        return {"merge": self.setting("merge"), WEIGHTS: weights, "power": power}


def _check_settings(settings: Mapping[str, Any]) -> None:
    kinds = {**dict.fromkeys(TEXTS, text), **dict.fromkeys(NUMBERS, number)}
    for name, read in {**kinds, **dict.fromkeys(WHOLE, whole)}.items():
        if name in settings:
            read(settings, name)
    if not isinstance(settings.get("keep_maps", False), bool):
        raise wrong("true or false", settings, "keep_maps")
    if not isinstance(settings.get("threshold", ""), str):
        number(settings, "threshold")
    strides = settings.get(STRIDES, [1, 1])
    if not isinstance(strides, list) or [type(one) for one in strides] != [int, int]:
        raise wrong("two whole numbers", settings, STRIDES)
    if settings.get(WEIGHTS) is not None:
        weights = mapping(settings, WEIGHTS)
        if not all(map(FACTOR.fullmatch, weights)) or not all(map(is_number, weights.values())):
            raise wrong("numbers by factor", settings, WEIGHTS)


def read_run(folder: Path) -> Run:
    """Read run.json. Raises InputError when it is missing or not as this version writes it."""
    check_parts(folder)
    path = folder / RUN_FILE
    try:
        return Run.from_json(parse(read_inside(folder, RUN_FILE)))
    except OSError as error:
        raise InputError(f"expected a dataset with {path}, got {error.strerror}") from error
    except ValueError as error:  # InputError is one
        raise InputError(
            f"expected {path} in format {FORMAT}, got something else ({error}); choose another "
            "folder"
        ) from error


def find_run(folder: Path) -> Run | None:
    """Return the run of a folder, None where none has begun; raises as `read_run`."""
    return read_run(folder) if (folder / RUN_FILE).is_file() else None


def new_run(
    settings: Mapping[str, Any], classes: Mapping[str, int], notes: Sequence[Mapping[str, Any]]
) -> Run:
    """Return a run as it will be read back. Raises InputError for what could not be."""
    tree = {"format": FORMAT, "settings": settings, "classes": classes, "runs": notes}
    try:
        return Run.from_json(parse(json.dumps(tree)))
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"expected settings and notes that JSON can hold, got: {error}") from error


def continued_run(folder: Path, earlier: Run, run: Run) -> Run:
    """Add a run to those that made the folder so far, if its settings are theirs."""
    known = earlier.classes
    classes = {**known, **run.classes}
    refuse_changes(folder, earlier.settings, run.settings)
    refuse_changes(folder, known, {name: classes[name] for name in known})
    runs = [*earlier.runs, *(notes for notes in run.runs if notes not in earlier.runs)]
    return Run(run.settings, classes, tuple(runs))
