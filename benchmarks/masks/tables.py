"""The figures of all masks as tables: of each kind of scene, of absent objects, of each step."""

from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.report import table
from diffumask.proof.controls import CONTROLS
from diffumask.proof.estimates import Estimate, Values, by_class, estimate, worst_class
from diffumask.proof.figures import text_gain

from .fitted import Fitted
from .judge import Judged
from .methods import ASKING, OURS, STEPS, WAYS
from .peers import OUR_REFINER, PEERS
from .scenes import KINDS

WITH_OUR_REFINER = [name for name in PEERS if OUR_REFINER in name]
OWN_REFINER = [name for name in WAYS if name not in WITH_OUR_REFINER]
NOTHING = "-"  # a figure that a row does not have


def values_of(judged: Sequence[Judged], name: str, figure: str) -> Values:
    """Return a figure of a row for each item."""
    return np.array([one.rows[name][figure] for one in judged], np.float64)


def classes_of(judged: Sequence[Judged]) -> list[str]:
    """Return the class of each item."""
    return [one.class_name for one in judged]


def share(judged: Sequence[Judged], name: str, figure: str) -> str:
    """Write the mean of a figure as a share, nothing where no item has it."""
    mean = estimate(values_of(judged, name, figure), classes_of(judged)).mean
    return NOTHING if np.isnan(mean) else f"{mean:.1%}"


def data_set_iou(judged: Sequence[Judged], name: str) -> float:
    """Return the mean over classes of the IoU of all pixels of a class."""
    hits, union = (
        by_class(values_of(judged, name, figure), classes_of(judged))
        for figure in ("hits_px", "union_px")
    )
    return float(np.mean([hits[one] / max(union[one], 1e-12) for one in hits]))


def gain_of(judged: Sequence[Judged], name: str) -> tuple[str, Estimate]:
    """Return the best control, and by how much a row is above it."""
    of_controls = {control: values_of(judged, control, "iou") for control in CONTROLS}
    best, gains = text_gain(values_of(judged, name, "iou"), of_controls)
    return best, estimate(gains, classes_of(judged))


def less(judged: Sequence[Judged], name: str, other: str) -> Estimate:
    """Return by how much the IoU of a row is above that of another."""
    ious = (values_of(judged, one, "iou") for one in (name, other))
    return estimate(np.subtract(*ious), classes_of(judged))


def present(judged: Sequence[Judged], kind: str) -> list[Judged]:
    """Return the items of a kind that show their object."""
    return [one for one in judged if one.kind == kind and one.present]


def summary_table(judged: Sequence[Judged]) -> list[str]:
    """Return a line for each kind: what text earns there, and the nearest peer."""
    rows = []
    for kind in kinds_of(judged):
        of_kind = present(judged, kind)
        control, gain = gain_of(of_kind, OURS)
        nearest = min(WITH_OUR_REFINER, key=lambda name: less(of_kind, OURS, name).low)
        rows.append(
            (
                KINDS[kind].title,
                gain.signed,
                control,
                estimate(values_of(of_kind, OURS, "iou"), classes_of(of_kind)),
                share(of_kind, OURS, "takes_other"),
                share(of_kind, OURS, "clean"),
                f"{less(of_kind, OURS, nearest).signed} {nearest}",
            )
        )
    head = (
        "scenes",
        "text gain",
        "best control",
        "IoU",
        "takes other",
        "clean",
        "least over a peer",
    )
    return table(head, rows)


def kinds_of(judged: Sequence[Judged]) -> list[str]:
    """Return the kinds that have items with their object."""
    return [kind for kind in KINDS if present(judged, kind)]


HEAD = (
    "masks",
    "IoU by image",
    "255 left out",
    "IoU by data set",
    "boundary F",
    "takes other",
    "clean",
    "pointing",
    "swapped",
    "worst class",
    "text gain",
    "ours less this",
)


def kind_tables(judged: Sequence[Judged]) -> list[str]:
    """Return two tables: ours, controls and peers; and peers with our refiner."""
    names = [OURS, *CONTROLS, *OWN_REFINER]
    return [
        *table(HEAD, [_cells(judged, name) for name in names]),
        "",
        "Peers with our refiner:",
        "",
        *table(HEAD, [_cells(judged, name) for name in WITH_OUR_REFINER]),
    ]


def _cells(judged: Sequence[Judged], name: str) -> list[object]:
    classes = classes_of(judged)
    iou = values_of(judged, name, "iou")
    means = [
        estimate(values_of(judged, name, figure), classes).mean
        for figure in ("iou_decided", "boundary_f")
    ]
    worst, lowest = worst_class(iou, classes)
    return [
        name,
        estimate(iou, classes),
        f"{means[0]:.3f}",
        f"{data_set_iou(judged, name):.3f}",
        f"{means[1]:.3f}",
        *(share(judged, name, one) for one in ("takes_other", "clean", "pointing", "swapped")),
        f"{worst} {lowest:.3f}",
        NOTHING if name in CONTROLS else gain_of(judged, name)[1].signed,
        NOTHING if name == OURS else less(judged, OURS, name).signed,
    ]


def absent_table(judged: Sequence[Judged]) -> list[str]:
    """Return how often masks are empty where the object is not in the picture, and where it is.

    Of our masks where presence is asked for. Every image was also asked for a wrong word; images
    of the model may lack their object.
    """
    rows = []
    for kind, of_kind in _by_kind(judged).items():
        classes = classes_of(of_kind)
        empty = values_of(of_kind, ASKING, "empty")
        shown = np.array([one.present for one in of_kind])
        wrong = np.array([float(one.wrong_empty) for one in of_kind])
        with_absent = np.where(shown, values_of(of_kind, ASKING, "iou"), 0.0)
        of_absent, of_present = np.where(shown, np.nan, empty), np.where(shown, empty, np.nan)
        rows.append(
            (
                KINDS[kind].title,
                estimate(wrong, classes),
                f"{int((~shown).sum())} of {len(of_kind)}",
                _share(estimate(of_absent, classes).mean),
                _share(estimate(of_present, classes).mean),
                estimate(with_absent, classes),
            )
        )
    head = (
        "scenes",
        "wrong word: empty",
        "without their object",
        "these: empty",
        "others: emptied",
        "IoU, absent objects counting 0",
    )
    return table(head, rows)


def _share(value: float) -> str:
    return NOTHING if np.isnan(value) else f"{value:.1%}"


def _by_kind(judged: Sequence[Judged]) -> Mapping[str, list[Judged]]:
    of_kinds = {kind: [one for one in judged if one.kind == kind] for kind in KINDS}
    return {kind: of_kind for kind, of_kind in of_kinds.items() if of_kind}


def steps_table(judged: Sequence[Judged]) -> list[str]:
    """Return what each step is worth on each kind of scene: IoU, takes-other, clean."""
    kinds = kinds_of(judged)

    def cell(of_kind: Sequence[Judged], name: str) -> str:
        iou = estimate(values_of(of_kind, name, "iou"), classes_of(of_kind)).mean
        shares = [share(of_kind, name, one) for one in ("takes_other", "clean")]
        return "; ".join([f"{iou:.3f}", *(one for one in shares if one != NOTHING)])

    rows = [
        (name, *(cell(present(judged, kind), name) for kind in kinds)) for name in (OURS, *STEPS)
    ]
    return table(("step", *(KINDS[kind].title for kind in kinds)), rows)


def fitted_table(fitted: Fitted) -> list[str]:
    """Return the settings that were fitted on dev, and of how many they are the best."""
    tried = fitted.facts.get("settings", 1)
    rows = [
        (
            name,
            tried if name in fitted.settings else 1,
            shown(fitted.settings.get(name, of.published)),
        )
        for name, of in WAYS.items()
    ]
    return table(("procedure", "settings tried on dev", "settings"), rows)


def shown(settings: Mapping[str, object]) -> str:
    """Write settings in a cell."""
    return ", ".join(f"{name} {value}" for name, value in settings.items())
