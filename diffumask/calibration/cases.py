"""What thresholds are fitted on: objects with the heat of their words, and the curves of it."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diffumask.attention.defaults import MERGE
from diffumask.dataset.decode import read_image
from diffumask.dataset.listing import whole_records
from diffumask.dataset.maps import read_maps
from diffumask.dataset.run import Run
from diffumask.errors import InputError
from diffumask.masks.class_map import MaskSettings, enlarge
from diffumask.types import BACKGROUND_ID, IGNORE_ID, GridHeat, Heat, Image, Target

from .fit import THRESHOLDS, Curves, Truth, iou_curve

ATTENTION, AFFINITY = "attention", "affinity"
SELF_ATTENTION = "self-attention"  # in run.json, where affinities were kept
MIN_AREA = 0.002  # share of the image below which a reference shows no object, only specks


@dataclass(frozen=True, slots=True)
class Combination:
    """How attention becomes a heat map: `merge` and `weights` of `aggregate`, and `heat`.

    Weights of None are those of `localizing_weights`; `heat` is that of `MaskSettings`.
    """

    merge: str = MERGE
    weights: Mapping[int, float] | None = None
    heat: str = MaskSettings().heat


@dataclass(frozen=True, slots=True)
class Case:
    """An object to judge: the heat of its word in some combinations, and the image it is in.

    All cases of a run have the same combinations. Arrays are of the height and width of the image.
    `affinity` is the heat after propagation to alike pixels, None where there is none.
    """

    name: str
    target: Target
    image: Image
    heats: Sequence[tuple[Combination, Heat]]
    affinity: Heat | None = None


# The heat maps of an image and their propagation, by word.
HeatMaps = tuple[Mapping[str, GridHeat], Mapping[str, GridHeat]]

# Says where the object of a case is; None where it has no answer.
Reference = Callable[[Case], Truth | None]


@dataclass(frozen=True, slots=True)
class Gathered:
    """The IoU curves of cases, for each combination by class, and how many showed no object."""

    combinations: Sequence[Combination]
    curves: Sequence[Mapping[str, Curves]]
    left_out: Mapping[str, int]


def gather(
    cases: Iterable[Case],
    reference: Reference,
    class_names: Sequence[str],
    min_area: float = MIN_AREA,
) -> Gathered:
    """Compare cases with a reference, one after the other, keeping their curves alone.

    Cases without an answer do not count; those whose object is smaller than `min_area` of the
    image are left out. A class without a case has no curves.
    """
    combinations = [Combination()]
    rows: dict[str, list[list[np.ndarray]]] = {name: [] for name in class_names}
    left_out = dict.fromkeys(class_names, 0)
    for case in cases:
        truth = reference(case)
        if truth is None:
            continue
        if np.mean((truth != BACKGROUND_ID) & (truth != IGNORE_ID)) < min_area:
            left_out[case.target.class_name] += 1
            continue
        combinations = [combination for combination, _ in case.heats]
        rows[case.target.class_name].append([iou_curve(heat, truth) for _, heat in case.heats])
    curves = [
        {
            name: np.array([row[index] for row in of_class]).reshape(-1, len(THRESHOLDS))
            for name, of_class in rows.items()
        }
        for index in range(len(combinations))
    ]
    return Gathered(combinations, curves, left_out)


def kept_cases(
    folder: Path, combinations: Sequence[Combination], class_names: Sequence[str], n: int
) -> Iterator[Case]:
    """Read the first `n` items of each class from a dataset folder that kept its heat maps.

    The combinations are those of the folder. Raises InputError for an item without maps.
    """
    counts: Counter[str] = Counter()
    for record in whole_records(folder):
        wanted = [one for one in record.prompt.targets if one.class_name in class_names]
        wanted = [one for one in wanted if counts[one.class_name] < n]
        if not wanted:
            continue
        image, maps = read_image(folder, record), read_maps(folder, record)
        for target in wanted:
            counts[target.class_name] += 1
            yield make_case(record.name, target, image, [(way, maps) for way in combinations])


def kept_combinations(run: Run) -> list[Combination]:
    """Return the combinations of a dataset's heat maps.

    The default heat comes first, where its maps were kept. Raises InputError for a run that does
    not tell how they were made.
    """
    merge, weights = run.setting("merge"), run.weights()
    heats = [ATTENTION, AFFINITY] if run.setting("affinity") == SELF_ATTENTION else [ATTENTION]
    heats.sort(key=lambda heat: heat != Combination().heat)
    return [Combination(merge, weights, heat) for heat in heats]


def make_case(
    name: str, target: Target, image: Image, maps: Sequence[tuple[Combination, HeatMaps]]
) -> Case:
    """Enlarge the heat of a target to its image; `maps` are those of each combination.

    Raises InputError for a combination whose heat there is not.
    """
    size_hw = (image.shape[0], image.shape[1])
    heats = []
    for combination, (attention, affinities) in maps:
        by_word = affinities if combination.heat == AFFINITY else attention
        if target.word not in by_word:
            raise InputError(f"expected the {combination.heat} of {name}, got none; make it again")
        heats.append((combination, enlarge(by_word[target.word], size_hw)))
    affinity = maps[0][1][1].get(target.word)
    return Case(
        name, target, image, heats, None if affinity is None else enlarge(affinity, size_hw)
    )
