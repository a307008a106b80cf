"""What figures say about a model: whether its attention knows which word it is asked for."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .estimates import Estimate

GOOD, DOUBTFUL, BAD = "good", "doubtful", "bad"
OVERLAP, REFUSED, KEPT = "word overlap", "wrong words refused", "named words kept"
GAIN, TAKES_OTHER, POINTING = "text gain", "takes other", "pointing"


@dataclass(frozen=True, slots=True)
class Bounds:
    """From where a figure is good and up to where it is bad; `meaning` is for people."""

    good: float
    bad: float
    meaning: str

    def grade(self, value: float) -> str:
        """Return good, doubtful or bad."""
        sign = 1 if self.good > self.bad else -1
        if sign * value >= sign * self.good:
            return GOOD
        return BAD if sign * value <= sign * self.bad else DOUBTFUL


# Where attention ignores words, the overlap is 1, nothing is gained, half of the others are taken
# and points are right as often as the object is in the middle. What `tiny`, which attends well,
# reaches is in docs/doctor.md; a bound of "good" leaves it some room.
BOUNDS: Mapping[str, Bounds] = {
    OVERLAP: Bounds(0.5, 0.8, "IoU of the masks of two words of a prompt, each made alone"),
    REFUSED: Bounds(0.7, 0.2, "share of words for things not in the picture that get no mask"),
    KEPT: Bounds(0.6, 0.3, "share of asked words that get a mask"),
    GAIN: Bounds(0.10, 0.02, "IoU less that of the best control without text"),
    TAKES_OTHER: Bounds(0.10, 0.30, "share of masks with over half of another object"),
    POINTING: Bounds(0.8, 0.6, "share of pictures whose hottest cell is on the asked object"),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """A figure with its interval and its grade."""

    name: str
    value: Estimate
    grade: str

    def __str__(self) -> str:
        bounds = BOUNDS[self.name]
        return f"{self.name:20} {self.value}  {self.grade:8}  {bounds.meaning}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The findings, and what they come to: as bad as the worst of them."""

    findings: Sequence[Finding]

    @property
    def grade(self) -> str:
        """Good where all are, bad where one is."""
        grades = {one.grade for one in self.findings}
        return next((grade for grade in (BAD, DOUBTFUL) if grade in grades), GOOD)

    def __str__(self) -> str:
        weak = ", ".join(one.name for one in self.findings if one.grade == self.grade)
        of_what = "" if self.grade == GOOD else f" ({weak})"
        return f"verdict: {self.grade}{of_what}: {SAID[self.grade]}"


SAID = {
    GOOD: "masks follow the words",
    DOUBTFUL: "masks follow the words in part; look at the page before you use them",
    BAD: "masks do not follow the words; a control without text may do as well",
}


def verdict(values: Mapping[str, Estimate]) -> Verdict:
    """Grade figures by the names of `BOUNDS`; those that are NaN have nothing to say.

    A text gain whose interval reaches 0 is at most doubtful. Raises ValueError where none is left.
    """
    findings = []
    for name, value in values.items():
        if math.isnan(value.mean):
            continue
        grade = BOUNDS[name].grade(value.mean)
        if name == GAIN and grade == GOOD and not value.is_above_zero:
            grade = DOUBTFUL
        findings.append(Finding(name, value, grade))
    if not findings:
        raise ValueError("expected figures, got none")
    return Verdict(findings)
