"""Who says where the object is: the references that thresholds are calibrated against."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from diffumask.errors import InputError
from diffumask.files.pictures import PNG, opened
from diffumask.types import BACKGROUND_ID, IGNORE_ID

from .cases import Case, Reference, Truth

SHOWN, HIDDEN = 1, 0
NETWORK = "transformers"


@dataclass(frozen=True, slots=True)
class Known:
    """What a reference may need besides the case.

    `class_ids` are by class, `aliases` further names of each class, `items` the names of all
    items there are; `device` is where a network runs.
    """

    class_ids: Mapping[str, int]
    aliases: Mapping[str, Sequence[str]]
    items: frozenset[str]
    device: str = "auto"


def check_reference(reference: str) -> None:
    """Raise InputError for an unknown reference, and for what can be no network; load none."""
    kind, _, source = reference.partition(":")
    if kind not in REFERENCES or not source:
        raise InputError(f"expected a reference masks:DIR or transformers:MODEL, got {reference!r}")
    if kind == NETWORK:
        from diffumask.models import check_place

        check_place(source)


def find_reference(reference: str, known: Known) -> Reference:
    """Find a reference by its name and what follows the colon: "masks:my_masks".

    Raises InputError for an unknown one, and for what it refuses.
    """
    check_reference(reference)
    kind, _, source = reference.partition(":")
    return REFERENCES[kind](source, known)


def by_masks(folder: Path, known: Known) -> Reference:
    """Take the PNG of an item's name in a folder, or in its subfolder masks/, where there is one.

    A mask is black and white (255 or 1 the object), or holds class ids and 255 where it is unsure.
    Raises InputError for a folder without masks or with one of no item, and, when a case is
    judged, for a mask of another size and for other values.
    """
    inner = folder / "masks" if (folder / "masks").is_dir() else folder
    paths = {path.stem: path for path in sorted(inner.glob("*.png"))}
    if not paths:
        raise InputError(f"expected masks NAME.png in {inner}, got none")
    strangers = sorted(set(paths) - known.items)
    if strangers:
        raise InputError(
            f"expected masks named after images of the dataset, got {paths[strangers[0]]}"
        )

    def judge(case: Case) -> Truth | None:
        path = paths.get(case.name)
        return None if path is None else _read_mask(path, case, known.class_ids)

    return judge


def by_network(model: str, known: Known) -> Reference:
    """Let a semantic segmentation network look: a folder or hub id for transformers.

    Raises InputError for what cannot be loaded, and for a class that is none of its labels.
    """
    from diffumask.segmentation.predict import label_maps
    from diffumask.segmentation.segmenter import label_ids, pretrained

    network = pretrained(model, known.device)
    names = network.label_names
    ids = {name: label_ids(names, [name, *known.aliases[name]]) for name in known.aliases}

    def look(case: Case) -> Truth:
        (labels,) = label_maps(network, [case.sample.image])
        shown = np.isin(labels, ids[case.target.class_name])
        return np.where(shown, SHOWN, HIDDEN).astype(np.uint8)

    return look


REFERENCES: dict[str, Callable[[str, Known], Reference]] = {
    "masks": lambda source, known: by_masks(Path(source), known),
    NETWORK: by_network,
}


def _read_mask(path: Path, case: Case, class_ids: Mapping[str, int]) -> Truth:
    values = _read_values(path)
    if values.shape != case.sample.image.shape[:2]:
        (h, w), (image_h, image_w) = values.shape, case.sample.image.shape[:2]
        raise InputError(f"expected a mask of {image_h}x{image_w} pixels, got {path} of {h}x{w}")
    found = set(np.unique(values).tolist())
    if found <= {HIDDEN, SHOWN} or found <= {BACKGROUND_ID, IGNORE_ID}:
        is_object = values > 0
        return np.where(is_object, SHOWN, HIDDEN).astype(np.uint8)
    others = found - {BACKGROUND_ID, IGNORE_ID, *class_ids.values()}
    if others:
        raise InputError(
            f"expected a black and white mask or class ids, got {path} with {min(others)}; "
            "save it as PNG without smooth edges"
        )
    truth = np.where(values == case.target.class_id, SHOWN, HIDDEN).astype(np.uint8)
    truth[values == IGNORE_ID] = IGNORE_ID
    return truth


def _read_values(path: Path) -> UInt8[np.ndarray, "h w"]:
    """Read the indices of a palette image, else the brightness."""
    with opened(path, PNG) as picture:
        return np.array(picture if picture.mode == "P" else picture.convert("L"))
