"""Our masks, those of controls without text, and each step of ours alone.

A row of a table is a name here. A step is added by one line of `STEPS`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from diffumask.attention.defaults import POWER
from diffumask.masks.class_map import make_class_map
from diffumask.masks.refine import REFINERS
from diffumask.masks.settings import LEAST_PRESENCE, MaskSettings
from diffumask.masks.thresholds import GAMMAS, Adaptive, Otsu
from diffumask.proof import controls
from diffumask.proof.reading import control_samples
from diffumask.sampling.sample import heat_maps
from diffumask.types import IGNORE_ID, Sample

from .peers import PEERS
from .ways import Made, View, Way

OURS, ADAPTIVE = "ours", "adaptive threshold (Wu et al. 2023, eq. 4)"
OURS_FITTED = "ours, as fitted"


@dataclass(frozen=True, slots=True)
class Step:
    """Settings of masks, and whether the other things that a prompt names compete."""

    settings: MaskSettings
    rivals: bool = True


_BARE = MaskSettings(
    heat="attention",
    threshold=Otsu(),
    refiner="none",
    uncertain_band=0.0,
    min_area=0.0,
    least_warmth=0.0,
    least_presence=0.0,
)
GATED = MaskSettings(least_presence=LEAST_PRESENCE)
ASKING = "ours, asking for presence"
# Each step of ours added to those above it, and then ours without one of them.
STEPS: Mapping[str, Step] = {
    "attention above Otsu's threshold": Step(_BARE, rivals=False),
    "+ propagation": Step(_SPREAD := replace(_BARE, heat="affinity"), rivals=False),
    "+ a lower threshold": Step(_LOWER := replace(_SPREAD, threshold=Otsu(0.05)), rivals=False),
    "+ dense CRF": Step(_REFINED := replace(_LOWER, refiner="crf-wide"), rivals=False),
    "+ rivals": Step(_REFINED),
    "+ specks dropped": Step(_WHOLE := replace(_REFINED, min_area=MaskSettings().min_area)),
    "+ cool parts dropped": Step(replace(_WHOLE, least_warmth=MaskSettings().least_warmth)),
    "ours without propagation": Step(MaskSettings(heat="attention")),
    "ours at Otsu's threshold": Step(MaskSettings(threshold=Otsu())),
    "ours without CRF": Step(MaskSettings(refiner="none")),
    "ours without rivals": Step(MaskSettings(), rivals=False),
    "ours with cool parts": Step(MaskSettings(least_warmth=0.0)),
    ASKING: Step(GATED),
}


def masked(sample: Sample, settings: MaskSettings) -> Made:
    """Make masks as the package does."""
    class_map = make_class_map(sample, settings).class_map
    first, *others = (class_map == target.class_id for target in sample.prompt.targets)
    heat = sample.heats[sample.prompt.targets[0].word]
    return Made(first, class_map == IGNORE_ID, heat, others[0] if others else None)


def step(sample: Sample, one: Step) -> Made:
    """Make masks by some of the steps."""
    words = [target.word for target in sample.prompt.targets]
    heats = sample.heats if one.rivals else {word: sample.heats[word] for word in words}
    return masked(replace(sample, heats=heats), one.settings)


def ours(
    view: View, less: float, refiner: str, uncertain_band: float, power: int, least_warmth: float
) -> Made:
    """Make our masks with settings of the tuner."""
    ((_, affinities),) = heat_maps(view.attention, power=power)
    settings = MaskSettings(
        threshold=Otsu(less),
        refiner=refiner,
        uncertain_band=uncertain_band,
        least_warmth=least_warmth,
    )
    return masked(replace(view.sample, affinities=affinities), settings)


def adaptive(view: View, low: float, high: float, refiner: str) -> Made:
    """Make our masks of the heat of attention at the threshold of Wu et al. 2023."""
    steps = len(GAMMAS) - 1
    gammas = [round(low + (max(low, high) - low) * i / steps, 3) for i in range(steps + 1)]
    threshold = Adaptive(refiner, gammas)
    return masked(view.sample, MaskSettings("attention", threshold, refiner))


def control_masks(view: View) -> dict[str, Made]:
    """Return the masks of all controls: heat without text, a wrong word, and no heat at all."""
    settings = MaskSettings()
    heated = control_samples(view.sample, view.item.right.matrix_hw, view.matrix)
    made = {name: masked(one, settings) for name, one in heated.items()}
    unasked = replace(view.wrong, presences={})  # that would empty it, which beats no mask
    made[controls.WRONG_WORD] = masked(unasked, settings)
    made[controls.GRABCUT] = Made(controls.grabcut(view.image))
    return made


_SHIPPED = {
    name: getattr(MaskSettings(), name) for name in ("refiner", "uncertain_band", "least_warmth")
}
WAYS: dict[str, Way] = {
    OURS_FITTED: Way(
        ours,
        _SHIPPED | {"less": 0.05, "power": POWER},
        {
            "less": (-0.1, 0.2),
            "refiner": tuple(REFINERS),
            "uncertain_band": (0.0, 0.05),
            "power": (1, 4),
            "least_warmth": (0.0, 0.9),
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
    return made | {name: step(view.sample, one) for name, one in STEPS.items()}
