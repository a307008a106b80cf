"""The best settings for some pictures with truth: one thing is changed at a time."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from diffumask.masks.settings import LEAST_PRESENCE, MaskSettings
from diffumask.masks.thresholds import Otsu

from .estimates import Estimate, Values, estimate
from .judging import judged, masked
from .reading import Read, Reading

REFINERS = ("crf-wide", "crf", "guided", "none")
OFFSETS = (0.05, 0.0, 0.1, 0.15, -0.05)
PRESENCES = (MaskSettings().least_presence, LEAST_PRESENCE)
POWERS = (1, 2, 4)
LEAST_CHOOSING = 5  # pictures: fewer tell nothing
TIMESTEP_SETS = ((100, 200), (300, 400), (20, 50, 100))


@dataclass(frozen=True, slots=True)
class Candidate:
    """Settings that can be tried."""

    reading: Reading
    otsu_less: float = OFFSETS[0]
    refiner: str = REFINERS[0]
    least_presence: float = PRESENCES[0]

    def __str__(self) -> str:
        return (
            f"grids {shown(self.reading.weights)}, power {self.reading.power}, "
            f"Otsu less {self.otsu_less:g}, refiner {self.refiner}, "
            f"least presence {self.least_presence:g}"
        )

    @property
    def masks(self) -> MaskSettings:
        """How heat becomes masks."""
        return MaskSettings(
            threshold=Otsu(self.otsu_less),
            refiner=self.refiner,
            least_presence=self.least_presence,
        )


@dataclass(frozen=True, slots=True)
class Trial:
    """What was changed, and the IoU on the pictures that choose and on the others."""

    what: str
    dev: Estimate
    test: Estimate


@dataclass(frozen=True, slots=True)
class Found:
    """The best settings, all that were tried, and what the best gain on the other pictures."""

    best: Candidate
    trials: tuple[Trial, ...]
    gain: Estimate


def weights_for(factors: Sequence[int]) -> list[tuple[tuple[int, float], ...]]:
    """Return weights to try of the grids of a model: each alone, neighbours, and all."""
    grids = sorted(factors)
    alone = [((factor, 1.0),) for factor in grids]
    pairs = [((one, 0.3), (two, 0.7)) for one, two in itertools.pairwise(grids)]
    return [*alone, *pairs, tuple((factor, 1.0) for factor in grids)]


def readings_for(factors: Sequence[int], observed: bool) -> list[Reading]:
    """Return the readings to try, the default first; pictures that were drawn have no timesteps."""
    base = Reading() if observed else Reading(timesteps=())
    readings = [
        replace(base, weights=weights, power=power)
        for weights in (None, *weights_for(factors))
        for power in POWERS
    ]
    timesteps = TIMESTEP_SETS if observed else ()
    return [*readings, *(replace(base, timesteps=one) for one in timesteps)]


def split(reads: Sequence[Read]) -> tuple[list[Read], list[Read]]:
    """Return every other picture to choose by, and the rest to show."""
    return list(reads[::2]), list(reads[1::2])


def search(reads: Sequence[Read], advance: Callable[[int], None]) -> Found:
    """Choose settings by half of the pictures with truth, at least two.

    In turn: grids, power, threshold, refiner, presence. A change stays where it is surely better
    on the half that chooses, of at least `LEAST_CHOOSING` pictures, and where all changes together
    lose on the other half none does. Timesteps are shown and not chosen, as pictures that a model
    draws have none.
    """
    table = _Table(*split(reads), advance)
    readings = list(reads[0].samples)
    best = default = Candidate(readings[0])
    table.tried("default", default)
    for axis in _axes(readings):
        changed = [replace(best, **change) for _, change in axis(best)]
        for (what, _), one in zip(axis(best), changed, strict=True):
            if one != best:
                table.tried(what, one)
        top = max(changed, key=lambda one: float(table.ious(one)[0].mean()))
        if len(table.dev) >= LEAST_CHOOSING and table.gain(top, best, 0).is_above_zero:
            best = top
    for reading in readings:
        if reading.timesteps != default.reading.timesteps:
            table.tried(f"timesteps {', '.join(map(str, reading.timesteps))}", Candidate(reading))
    if table.gain(best, default, 1).mean < 0:
        best = default
    return Found(best, tuple(table.trials), table.gain(best, default, 1))


class _Table:
    """The IoU of each candidate for the pictures of both halves, made once."""

    def __init__(
        self, dev: Sequence[Read], test: Sequence[Read], advance: Callable[[int], None]
    ) -> None:
        self.dev, self.trials = dev, list[Trial]()
        self._halves, self._advance = (dev, test), advance
        self._classes = [[one.picture.class_name for one in half] for half in (dev, test)]
        self._kept: dict[Candidate, tuple[Values, Values]] = {}

    def ious(self, candidate: Candidate) -> tuple[Values, Values]:
        """Return the IoU of each picture of dev, and of test."""
        if candidate not in self._kept:
            dev, test = (_ious(half, candidate) for half in self._halves)
            self._kept[candidate] = dev, test
            self._advance(1)
        return self._kept[candidate]

    def tried(self, what: str, candidate: Candidate) -> None:
        """Note the figures of a candidate."""
        pairs = zip(self.ious(candidate), self._classes, strict=True)
        self.trials.append(Trial(what, *(estimate(values, names) for values, names in pairs)))

    def gain(self, one: Candidate, other: Candidate, half: int) -> Estimate:
        """Return by how much one is better, on dev (0) or test (1)."""
        return estimate(self.ious(one)[half] - self.ious(other)[half], self._classes[half])


def n_tried(readings: Sequence[Reading]) -> int:
    """Return how many settings a search tries, at most."""
    first = readings[0]
    weights = {one.weights for one in readings}
    timesteps = {one.timesteps for one in readings} - {first.timesteps}
    others = (weights, POWERS, OFFSETS, REFINERS, PRESENCES)
    return 1 + len(timesteps) + sum(len(one) - 1 for one in others)


Change = tuple[str, dict[str, Any]]


def _axes(readings: Sequence[Reading]) -> Iterator[Callable[[Candidate], list[Change]]]:
    weights = dict.fromkeys(one.weights for one in readings)
    powers = dict.fromkeys(one.power for one in readings)
    yield lambda best: [
        (f"grids {shown(one)}", {"reading": replace(best.reading, weights=one)}) for one in weights
    ]
    yield lambda best: [
        (f"power {one}", {"reading": replace(best.reading, power=one)}) for one in powers
    ]
    yield lambda _: [(f"Otsu less {one:g}", {"otsu_less": one}) for one in OFFSETS]
    yield lambda _: [(f"refiner {one}", {"refiner": one}) for one in REFINERS]
    yield lambda _: [(f"least presence {one:g}", {"least_presence": one}) for one in PRESENCES]


def shown(weights: tuple[tuple[int, float], ...] | None) -> str:
    """Write weights of grids, by how much smaller than the latents these are."""
    if weights is None:
        return "by default"
    return " + ".join(f"{weight:g} x 1/{factor}" for factor, weight in weights)


def _ious(reads: Sequence[Read], candidate: Candidate) -> Values:
    reading, masks = candidate.reading, candidate.masks
    return np.array(
        [judged(one, reading, masked(one.samples[reading], masks)).iou for one in reads], np.float64
    )
