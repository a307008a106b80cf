"""Our masks, those of controls without text, and each step of ours alone.

A row of a table is a name here. A step is added by one line of `STEPS`.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch

from diffumask.attention.aggregate import localizing_weights
from diffumask.attention.propagate import propagate, propagated
from diffumask.masks.class_map import MaskSettings, make_class_map
from diffumask.masks.refine import REFINERS
from diffumask.masks.thresholds import GAMMAS, Adaptive, Otsu
from diffumask.proof import controls
from diffumask.sampling.sample import rounded
from diffumask.types import IGNORE_ID, GridHeat, Sample

from .peers import PEERS
from .ways import Made, View, Way

OURS, ADAPTIVE = "ours", "adaptive threshold (Wu et al. 2023, eq. 4)"
OURS_FITTED = "ours, as fitted"

_BARE = MaskSettings(
    heat="attention", threshold=Otsu(), refiner="none", uncertain_band=0.0, min_area=0.0
)
# Each step of ours added to those above it, and then ours without one of them.
STEPS: Mapping[str, MaskSettings] = {
    "attention above Otsu's threshold": _BARE,
    "+ propagation": (_propagated := replace(_BARE, heat="affinity")),
    "+ a lower threshold": (_lowered := replace(_propagated, threshold=Otsu(less=0.05))),
    "+ dense CRF": (_refined := replace(_lowered, refiner="crf-wide")),
    "+ specks dropped": replace(_refined, min_area=MaskSettings().min_area),
    "ours without propagation": MaskSettings(heat="attention"),
    "ours at Otsu's threshold": MaskSettings(threshold=Otsu()),
    "ours without CRF": MaskSettings(refiner="none"),
}


def masked(sample: Sample, settings: MaskSettings) -> Made:
    """Make masks as the package does."""
    class_map = make_class_map(sample, settings).class_map
    first, *others = (class_map == target.class_id for target in sample.prompt.targets)
    heat = sample.heats[sample.prompt.targets[0].word]
    return Made(first, class_map == IGNORE_ID, heat, others[0] if others else None)


def ours(view: View, less: float, refiner: str, uncertain_band: float, power: int) -> Made:
    """Make our masks with settings of the tuner."""
    attention = view.attention
    (heats,) = propagated(attention, weights=localizing_weights(attention), power=power)
    sample = replace(view.sample, affinities=rounded(heats))
    settings = MaskSettings(threshold=Otsu(less), refiner=refiner, uncertain_band=uncertain_band)
    return masked(sample, settings)


def adaptive(view: View, low: float, high: float, refiner: str) -> Made:
    """Make our masks of the heat of attention at the threshold of Wu et al. 2023."""
    steps = len(GAMMAS) - 1
    gammas = [round(low + (max(low, high) - low) * i / steps, 3) for i in range(steps + 1)]
    threshold = Adaptive(refiner, gammas)
    return masked(view.sample, MaskSettings("attention", threshold, refiner))


def control_masks(view: View) -> dict[str, Made]:
    """Return the masks of all controls: heat without text, a wrong word, and no heat at all."""

    def spread(heat: GridHeat) -> GridHeat:
        after = propagate(torch.from_numpy(heat)[None], view.matrix)[0].numpy()
        return rounded({"": after})[""]

    settings, made = MaskSettings(), {}
    for name, heat_of in controls.HEATS.items():
        heat = heat_of(view.image, view.item.right.matrix_hw)
        made[name] = masked(controls.with_heat(view.sample, heat, spread), settings)
    made[controls.WRONG_WORD] = masked(view.wrong, settings)
    made[controls.GRABCUT] = Made(controls.grabcut(view.image))
    return made


CONTROLS = (*controls.HEATS, controls.WRONG_WORD, controls.GRABCUT)
WAYS: dict[str, Way] = {
    OURS_FITTED: Way(
        ours,
        {"less": 0.05, "refiner": "crf-wide", "uncertain_band": 0.02, "power": 1},
        {
            "less": (-0.1, 0.2),
            "refiner": tuple(REFINERS),
            "uncertain_band": (0.0, 0.05),
            "power": (1, 4),
        },
    ),
    ADAPTIVE: Way(
        adaptive,
        {"low": GAMMAS[0], "high": GAMMAS[-1], "refiner": "crf"},
        {"low": (0.1, 0.5), "high": (0.4, 0.8), "refiner": ("crf", "crf-wide")},
    ),
    **PEERS,
}


def row_masks(view: View, fitted: Mapping[str, Mapping[str, object]]) -> dict[str, Made]:
    """Return the masks of all rows: ours as shipped, controls, ways as fitted, and our steps."""
    made = {OURS: masked(view.sample, MaskSettings()), **control_masks(view)}
    made |= {name: way.make(view, **fitted.get(name, way.published)) for name, way in WAYS.items()}
    return made | {name: masked(view.sample, settings) for name, settings in STEPS.items()}
