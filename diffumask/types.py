"""Records that pass between the stages, and the array types they hold.

Images are RGB uint8, heat maps float32 in [0, 1], masks bool, class maps uint8 with
0 = background and 255 = ignore. Scores lie in [0, 1] and higher is better.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from .errors import InputError

Image = UInt8[np.ndarray, "h w 3"]
Heat = Float32[np.ndarray, "h w"]
Objects = Float32[np.ndarray, "plane h w"]
GridHeat = Float32[np.ndarray, "_grid_h _grid_w"]
Mask = Bool[np.ndarray, "h w"]
ClassMap = UInt8[np.ndarray, "h w"]

OnStep = Callable[[int, int], None]  # told how many steps are done in all, and of how many
OnPhase = Callable[[str, int, int], None]  # told what goes on, how much is done, of how much

BACKGROUND_ID = 0
IGNORE_ID = 255
BACKGROUND, IGNORE = "background", "ignore"  # as labels of these two are named

HEAT_LEVELS = 255  # heat maps of samples are multiples of 1 / 255, so that a byte a cell keeps them

# Contrast relative to the peak up to which a map is flat: one level of what is kept of it. Less,
# stretched to [0, 1], would show rounding, of which that of float32 differs between kinds of CPU by
# up to 2e-5 of the peak. Maps of `tiny` have a contrast above 0.5, and after propagation above 0.2.
FLAT = 1 / HEAT_LEVELS


def unseen_step(step: int, num_steps: int) -> None:
    """Take no notice of a step."""


def unseen_phase(what: str, done: int, total: int) -> None:
    """Take no notice of what goes on."""


@dataclass(frozen=True, slots=True)
class ClassIds:
    """Class ids in 0..254 by name; an id 0 leaves no background.

    `aliases` are further names of a class, `groups` the wider class that it is counted with too.
    Raises InputError for no class, other ids and an id of two classes.
    """

    ids: Mapping[str, int]
    aliases: Mapping[str, Sequence[str]] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        ids = list(self.ids.values())
        wrong = [i for i in ids if not BACKGROUND_ID <= i < IGNORE_ID or ids.count(i) > 1]
        if not ids or wrong:
            raise InputError(f"expected class ids in 0..254, each of one class, got {wrong or ids}")

    def find(self, name: str) -> str | None:
        """Return the class that goes by a name or alias, compared as `name_key` says."""
        keys = {
            name_key(alias): class_name
            for class_name in self.ids
            for alias in (*reversed(self.aliases.get(class_name, ())), class_name)
        }
        return keys.get(name_key(name))


def name_key(name: str) -> str:
    """Reduce a class name to what counts when names are compared: its letters and digits."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


def word_pattern(word: str, ending: str = "") -> re.Pattern[str]:
    """Return what finds a word in a text: whole words only, in any case; a word may be several.

    `ending` is a pattern of what may follow its letters.
    """
    inner = r"\s+".join(map(re.escape, word.split()))
    return re.compile(rf"(?<!\w){inner}{ending}(?!\w)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Target:
    """A word of a prompt whose pixels are wanted, and the class they belong to."""

    word: str
    class_name: str
    class_id: int

    def __post_init__(self) -> None:
        if not BACKGROUND_ID < self.class_id < IGNORE_ID:
            raise ValueError(f"expected a class id in 1..254, got {self.class_id}")


@dataclass(frozen=True, slots=True)
class Prompt:
    """A text with the words whose pixels are wanted; each word occurs in the text."""

    text: str
    targets: tuple[Target, ...]
    sub_class: str = ""
    context: str = ""

    def __post_init__(self) -> None:
        for target in self.targets:
            if target.word.lower() not in self.text.lower():
                raise ValueError(f"expected {target.word!r} in the prompt, got {self.text!r}")


@dataclass(frozen=True, slots=True)
class Sample:
    """A generated image with heat maps by word, on the grid of the attention.

    `heats` are those of the targets, and of the rivals: what else the prompt names (see
    `diffumask.sampling.phrases`). `affinities` are the heat maps after propagation to alike pixels,
    on a grid of their own; empty if that was not asked for. `objects` is what a mask source saw
    while the image was made (see `diffumask.masks.sources`), if one did. `upcast` tells of an image
    that overflowed in half precision and was decoded in float32. `presences` tell of targets, by
    word, how much they explain of the picture (see `diffumask.sampling.presence`), where the model
    was asked.
    """

    prompt: Prompt
    seed: int
    image: Image
    heats: Mapping[str, GridHeat]
    affinities: Mapping[str, GridHeat] = field(default_factory=dict)
    objects: Objects | None = None
    upcast: bool = False
    presences: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Example:
    """An item of the dataset: an image, its class map and what is known about it."""

    prompt: Prompt
    seed: int
    image: Image
    class_map: ClassMap
    scores: Mapping[str, float] = field(default_factory=dict)
