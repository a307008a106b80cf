"""What is settled beside the thresholds: how attention becomes heat, and heat becomes masks."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from diffumask.attention.defaults import MERGE, POWER
from diffumask.masks.settings import MaskSettings

ATTENTION, AFFINITY = "attention", "affinity"
REFINERS = ("crf-wide", "crf", "guided", "none")
UNCERTAIN_BANDS = (0.0, 0.02, 0.05)


@dataclass(frozen=True, slots=True)
class Setting:
    """How masks are made but for the thresholds.

    `merge` and `weights` are those of `aggregate`, where weights of None are those of
    `localizing_weights`; `power` is that of `propagate`; the others are as in `MaskSettings`.
    """

    merge: str = MERGE
    weights: Mapping[int, float] | None = None
    power: int = POWER
    heat: Literal["attention", "affinity"] = MaskSettings().heat
    refiner: str = MaskSettings().refiner
    uncertain_band: float = MaskSettings().uncertain_band

    @property
    def heat_made(self) -> dict[str, Any]:
        """The part that concerns heat maps, as in `SampleSettings`."""
        return {"merge": self.merge, "weights": self.weights, "power": self.power}

    @property
    def masks(self) -> MaskSettings:
        """The part that concerns masks, with the default threshold."""
        return MaskSettings(
            heat=self.heat, refiner=self.refiner, uncertain_band=self.uncertain_band
        )


def near(first: Setting) -> Iterator[Setting]:
    """Yield a setting, then those that differ from it in one thing that needs no other heat maps.

    Without an affinity in the first there is none in the others.
    """
    heats = (AFFINITY, ATTENTION) if first.heat == AFFINITY else ()
    changes = [
        *({"heat": heat} for heat in heats),
        *({"refiner": refiner} for refiner in REFINERS),
        *({"uncertain_band": band} for band in UNCERTAIN_BANDS),
    ]
    yield first
    for change in changes:
        other = replace(first, **change)
        if other != first:
            yield other
