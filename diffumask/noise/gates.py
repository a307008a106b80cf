"""Cheap checks before any network is trained: what they stop takes part in nothing further."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from diffumask.errors import InputError

from .items import MaskSummary
from .verdicts import Verdict

EMPTY_MASK = "empty mask"


@dataclass(frozen=True, slots=True)
class Gates:
    """Lowest scores by name, and the shares of the image between which every class has to lie."""

    min_scores: Mapping[str, float] = field(default_factory=dict)
    area: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        low, high = self.area or (0.0, 1.0)
        if not 0 <= low <= high <= 1:
            raise InputError(f"expected an area range in 0..1, got {low}..{high}")


def apply_gates(items: Sequence[MaskSummary], gates: Gates) -> dict[str, Verdict]:
    """Return the verdict on every item that a gate stops, by name; the first gate counts.

    An item without any class in its mask is stopped always. Raises InputError for a score that an
    item does not have.
    """
    for item in items:
        for name in gates.min_scores:
            if name not in item.scores:
                known = ", ".join(item.scores) or "none"
                raise InputError(
                    f"expected the score {name!r} of {item.name}, got an item with {known}; "
                    "choose another score"
                )
    verdicts = {item.name: _verdict(item, gates) for item in items}
    return {name: verdict for name, verdict in verdicts.items() if verdict}


def _verdict(item: MaskSummary, gates: Gates) -> Verdict | None:
    if item.is_empty:
        return Verdict(False, EMPTY_MASK, EMPTY_MASK)
    for name, lowest in gates.min_scores.items():
        if item.scores[name] < lowest:
            reason = f"score {name} {item.scores[name]:.3g} below {lowest:g}"
            return Verdict(False, reason, f"score {name}")
    if gates.area:
        low, high = gates.area
        for name, area in item.areas.items():
            if not low <= area <= high:
                reason = f"area {area:.3g} of {name} outside {low:g}..{high:g}"
                return Verdict(False, reason, "area")
    return None
