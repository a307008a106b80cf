"""Who stays: qualities to verdicts, by proportion or by absolute cut-offs, class by class."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from diffumask.dataset.record import DROPPED, KEPT
from diffumask.errors import InputError

# The paper's best is 0.7, of masks that its own procedure made.
DEFAULT_ALPHA = 0.3


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an item stays and why; `cause` is the reason without its numbers.

    `qualities` has the quality of each class of the item, empty where a gate stopped it.
    """

    is_kept: bool
    reason: str
    cause: str = ""
    qualities: Mapping[str, float] = field(default_factory=dict)

    @property
    def quality(self) -> float | None:
        """The lowest quality of its classes."""
        return min(self.qualities.values(), default=None)

    def facts(self, method: str) -> dict[str, object]:
        """Return the fields of the item's line in metadata.jsonl."""
        return {
            "verdict": KEPT if self.is_kept else DROPPED,
            "reason": self.reason,
            "quality": self.quality,
            "quality_by_class": dict(self.qualities),
            "quality_method": method if self.qualities else None,
        }


@dataclass(frozen=True, slots=True)
class ItemQuality:
    """An item with the quality of each of its classes; it is ranked among `class_name`.

    Its own quality is the lowest: a network learns from the whole image, and one wrong object
    spoils it however good the others are. A mean would hide it.
    """

    name: str
    class_name: str
    qualities: Mapping[str, float]

    @property
    def quality(self) -> float:
        """The quality of the item."""
        return min(self.qualities.values())


@dataclass(frozen=True, slots=True)
class Proportion:
    """Drop the lowest share `alpha` of each class, rounded down (Wu et al. 2023)."""

    alpha: float = DEFAULT_ALPHA

    def __post_init__(self) -> None:
        if not 0 <= self.alpha < 1:
            raise InputError(f"expected alpha in [0, 1), got {self.alpha}")


@dataclass(frozen=True, slots=True)
class CutOffs:
    """Drop an item if one of its classes has a quality below that of the class."""

    lowest: Mapping[str, float]

    def __post_init__(self) -> None:
        for name, value in self.lowest.items():
            if not 0 <= value <= 1:
                raise InputError(f"expected a cut-off in [0, 1], got {value} for {name}")

    def check(self, class_names: Iterable[str]) -> None:
        """Raise InputError for a class without a cut-off."""
        missing = [name for name in class_names if name not in self.lowest]
        if missing:
            raise InputError(
                f"expected a cut-off for {missing[0]}, got those of {', '.join(self.lowest)}; add "
                "it"
            )


Rule = Proportion | CutOffs


def prune(items: Sequence[ItemQuality], rule: Rule, measure: str) -> dict[str, Verdict]:
    """Return the verdict on every item by name; `measure` is what a reason calls the quality.

    Of equal qualities the first name goes first. Raises InputError for a class without a cut-off.
    """
    if isinstance(rule, Proportion):
        return _by_proportion(items, rule, measure)
    return {item.name: _by_cut_off(item, rule, measure) for item in items}


def _by_proportion(
    items: Sequence[ItemQuality], rule: Proportion, measure: str
) -> dict[str, Verdict]:
    by_class: dict[str, list[ItemQuality]] = defaultdict(list)
    for item in sorted(items, key=lambda item: (item.quality, item.name)):
        by_class[item.class_name].append(item)
    verdicts = {}
    for class_name, ranked in by_class.items():
        n_dropped = math.floor(rule.alpha * len(ranked) + 1e-9)  # 0.7 * 10 is 7, as one reads it
        for rank, item in enumerate(ranked):
            reason = f"{measure} {item.quality:.3f}"
            if rank < n_dropped:
                reason += f" is in the lowest {rule.alpha * 100:g} % of {class_name}"
            verdicts[item.name] = _verdict(item, rank >= n_dropped, reason, measure)
    return verdicts


def _by_cut_off(item: ItemQuality, rule: CutOffs, measure: str) -> Verdict:
    rule.check(item.qualities)
    for name, value in item.qualities.items():
        if value < rule.lowest[name]:
            reason = f"{measure} {value:.3f} of {name} below {rule.lowest[name]:g}"
            return _verdict(item, False, reason, measure)
    return _verdict(item, True, f"{measure} {item.quality:.3f}", measure)


def _verdict(item: ItemQuality, is_kept: bool, reason: str, measure: str) -> Verdict:
    return Verdict(is_kept, reason, "" if is_kept else measure, item.qualities)
