"""The masks of one picture by every row of a comparison, and what they are worth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from diffumask.masks.class_map import make_class_map
from diffumask.masks.settings import MaskSettings
from diffumask.masks.sources import MaskSource
from diffumask.metrics import iou
from diffumask.types import IGNORE_ID, ClassMap, Mask, Sample

from .controls import CONTROLS, GRABCUT, WRONG_WORD, grabcut
from .estimates import Estimate, Values, estimate
from .figures import Figures, figures_of, text_gain
from .reading import Read, Reading

OURS = "ours"


@dataclass(frozen=True, slots=True)
class Made:
    """A mask of what is asked for, and the pixels that are left open."""

    mask: Mask
    open_px: Mask


def masked(sample: Sample, settings: MaskSettings) -> Made:
    """Make the mask of the first target."""
    class_map = make_class_map(sample, settings).class_map
    return Made(class_map == sample.prompt.targets[0].class_id, class_map == IGNORE_ID)


def row_masks(
    read: Read,
    reading: Reading,
    settings: MaskSettings,
    others: Mapping[str, MaskSource] | None = None,
) -> dict[str, Made]:
    """Make the mask of each row: ours, the controls, and other sources by their names.

    Controls are never gated: they are to be beaten by where a mask lies.
    """
    sample, ungated = read.samples[reading], replace(settings, least_presence=0.0)
    made = {OURS: masked(sample, settings)}
    made |= {
        name: masked(control, ungated) for name, control in read.controls[reading.power].items()
    }
    made[WRONG_WORD] = masked(read.wrong[reading], ungated)
    mask = grabcut(sample.image)
    made[GRABCUT] = Made(mask, np.zeros_like(mask))
    for name, source in (others or {}).items():
        made[name] = masked(sample, replace(settings, source=source))
    return made


def judged(read: Read, reading: Reading, made: Made, has_heat: bool = False) -> Figures:
    """Judge a mask of a picture with truth; `has_heat` is of ours."""
    truth, sample = read.picture.truth, read.samples[reading]
    assert truth is not None
    heat = sample.heats[sample.prompt.targets[0].word] if has_heat else None
    return figures_of(made.mask, truth, open_px=made.open_px, heat=heat)


@dataclass(frozen=True, slots=True)
class Judgement:
    """The figures of all pictures by row; classes are those asked for."""

    classes: tuple[str, ...]
    rows: Mapping[str, Sequence[Figures]]

    def values(self, row: str, figure: str) -> Values:
        """Return a figure of a row for each picture."""
        return np.array([getattr(one, figure) for one in self.rows[row]], np.float64)

    def estimate(self, row: str, figure: str) -> Estimate:
        """Return the mean of a figure with its interval; of no picture that has it, NaN."""
        return estimate(self.values(row, figure), self.classes)

    @property
    def gain(self) -> tuple[str, Estimate]:
        """The best control, and by how much ours is above it."""
        of_controls = {name: self.values(name, "iou") for name in CONTROLS}
        best, gains = text_gain(self.values(OURS, "iou"), of_controls)
        return best, estimate(gains, self.classes)


def judge(
    reads: Sequence[Read],
    reading: Reading,
    settings: MaskSettings,
    others: Mapping[str, MaskSource] | None = None,
) -> Judgement:
    """Judge the masks of all rows of pictures with truth, at least one."""
    rows: dict[str, list[Figures]] = {}
    for read in reads:
        for name, made in row_masks(read, reading, settings, others).items():
            rows.setdefault(name, []).append(judged(read, reading, made, name == OURS))
    return Judgement(tuple(read.picture.class_name for read in reads), rows)


def word_overlap(sample: Sample, settings: MaskSettings) -> float:
    """Return the IoU of the masks of the first two targets, each made as if it stood alone.

    1 where attention does not know which word it is asked for; needs no truth. NaN for one target,
    and where both masks are empty.
    """
    if len(sample.prompt.targets) < 2:
        return np.nan
    alone = replace(settings, least_presence=0.0, uncertain_band=0.0)
    masks = []
    for target in sample.prompt.targets[:2]:
        prompt = replace(sample.prompt, targets=(target,))
        heats = {target.word: sample.heats[target.word]}
        masks.append(masked(replace(sample, prompt=prompt, heats=heats), alone).mask)
    return iou(*masks) if np.any(masks) else np.nan


def truth_of(sample: Sample, referee: MaskSource) -> ClassMap:
    """Return what a source that is asked for names sees of the targets, as 1, 2, ..."""
    seen = referee.source(sample)
    assert seen is not None
    return seen[:-1].argmax(0).astype(np.uint8)
