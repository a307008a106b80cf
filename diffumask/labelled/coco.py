"""COCO annotations of whatever tool, and the folders that they lie in."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from diffumask.errors import InputError
from diffumask.types import BACKGROUND_ID, IGNORE_ID

from .listing import Listing, existing, unknown_split
from .mapping import MaskValues
from .names import named_values
from .pairs import CocoRegions, PairFiles, Picture

MAX_JSON_BYTES = 2**30
COCO_FOLDER, INSTANCES = "annotations", "instances_"
ROBOFLOW_FILE, LABEL_STUDIO_FILE = "_annotations.coco.json", "result.json"


@dataclass(frozen=True, slots=True)
class CocoImage:
    """An image by its file name, with the regions that lie on it: category and segmentation."""

    file_name: str
    size_hw: tuple[int, int]
    regions: Sequence[tuple[int, Any]]

    @property
    def name(self) -> str:
        """The file name without its folders and its ending."""
        return PurePosixPath(self.file_name.replace("\\", "/")).stem


@dataclass(frozen=True, slots=True)
class Coco:
    """The content of a file: the name of each category, and the images in their order."""

    names: Mapping[int, str]
    images: Sequence[CocoImage]


def parse_coco(content: Any, where: str) -> Coco:
    """Take the parts of a COCO file; no region is drawn yet. Raises InputError for another."""
    try:
        names = {_number(one["id"]): str(one["name"]) for one in content["categories"]}
        regions: dict[Any, list[tuple[int, Any]]] = {}
        for one in content["annotations"]:
            region = _number(one["category_id"]), one.get("segmentation")
            regions.setdefault(one["image_id"], []).append(region)
            if region[0] not in names:
                raise InputError(f"expected the category {region[0]} in {where}, got none; add it")
        images = [
            CocoImage(
                str(one["file_name"]),
                (_number(one["height"]), _number(one["width"])),
                regions.get(one["id"], ()),
            )
            for one in content["images"]
        ]
        astray = regions.keys() - {one["id"] for one in content["images"]}
        if astray:
            raise InputError(
                f"expected annotations of the images in {where}, got one of {min(map(str, astray))}"
            )
    except InputError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise InputError(
            f"expected COCO instances in {where} (images, annotations, categories), got something "
            f"else ({error!r}); export COCO with masks or polygons"
        ) from error
    return Coco(names, images)


def coco(folder: Path, split: str | None) -> Listing:
    """List the images of annotations/instances_SPLIT.json, or SPLIT/_annotations.coco.json.

    Images lie beside the JSON, in images/, SPLIT/ or images/SPLIT/. Category ids are class ids; if
    one is 0 or above 254 classes are numbered from 1 in the order of theirs.
    """
    files = coco_files(folder)
    if split is not None and split not in files:
        raise unknown_split(folder, split, sorted(files))
    chosen = files if split is None else {split: files[split]}
    parts = {one: read_coco_file(path) for one, path in chosen.items()}
    names = {i: name for part in parts.values() for i, name in part.names.items()}
    for part in parts.values():
        other = next((i for i, name in part.names.items() if names[i] != name), None)
        if other is not None:
            raise InputError(
                f"expected the same categories in all splits of {folder}, got {names[other]!r} and "
                f"{part.names[other]!r} for {other}; choose a split"
            )
    values = _category_values(names)
    pairs: list[PairFiles] = []
    for one, path in chosen.items():
        places = [path.parent, folder / "images", folder / one, folder / "images" / one, folder]
        pairs += _coco_pairs(parts[one], path, places, values)
    return Listing(pairs, _values(names, values, ", ".join(path.name for path in chosen.values())))


def coco_files(folder: Path) -> dict[str, Path]:
    """Return the COCO files of a folder by their split; none where it is no such folder."""
    listed = sorted((folder / COCO_FOLDER).glob("*.json"))
    instances = [path for path in listed if path.stem.startswith(INSTANCES)] or listed
    found = {path.stem.removeprefix(INSTANCES): path for path in instances}
    found |= {path.parent.name: path for path in sorted(folder.glob(f"*/{ROBOFLOW_FILE}"))}
    single = [folder / name for name in (ROBOFLOW_FILE, LABEL_STUDIO_FILE)]
    return found or {path.stem: path for path in single if path.is_file()}


def coco_beside(images: Path, annotations: Path) -> Listing:
    """List the images of one COCO file, which lie in a folder of whatever name."""
    content = read_coco_file(annotations)
    values = _category_values(content.names)
    pairs = _coco_pairs(content, annotations, [images], values)
    return Listing(pairs, _values(content.names, values, annotations.name))


def read_coco_file(path: Path) -> Coco:
    """Read a COCO file of at most 1 GiB. Raises InputError for anything else."""
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_JSON_BYTES + 1)
        if len(content) > MAX_JSON_BYTES:
            raise InputError(f"expected {path} of at most {MAX_JSON_BYTES} bytes, got more")
        parsed: Any = json.loads(content)
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"expected a COCO file, got {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"expected JSON in {path}, got {error}") from error
    return parse_coco(parsed, str(path))


def _number(value: Any) -> int:
    if type(value) not in (int, float) or value != int(value):
        raise TypeError(f"no whole number: {value!r}")
    return int(value)


def _category_values(names: Mapping[int, str]) -> dict[int, int]:
    """Return the value in a mask of each category."""
    ids = sorted(names)
    if all(BACKGROUND_ID < category < IGNORE_ID for category in ids):
        return {category: category for category in ids}
    if len(ids) >= IGNORE_ID:
        raise InputError(f"expected at most 254 categories, got {len(ids)}; leave some out")
    return {category: value for value, category in enumerate(ids, 1)}


def _values(names: Mapping[int, str], values: Mapping[int, int], files: str) -> MaskValues:
    is_same = all(category == value for category, value in values.items())
    named_by = files if is_same else f"{files}, numbered from 1 in the order of their ids"
    return named_values({values[category]: name for category, name in names.items()}, named_by)


def _coco_pairs(
    content: Coco, path: Path, places: Sequence[Path], values: Mapping[int, int]
) -> list[PairFiles]:
    return [
        PairFiles(
            image.name,
            Picture(_image_file(image, path, places)),
            CocoRegions(
                path,
                image.size_hw,
                tuple((values[category], shape) for category, shape in image.regions),
            ),
        )
        for image in content.images
    ]


def _image_file(image: CocoImage, path: Path, places: Sequence[Path]) -> Path:
    """Find an image in one of the folders, by its path in the file or by its name alone."""
    posix = PurePosixPath(image.file_name.replace("\\", "/"))
    if ".." in posix.parts or posix.is_absolute() or PureWindowsPath(image.file_name).drive:
        raise InputError(
            f"expected images within {places[0]}, got {image.file_name!r} in {path}; do not trust "
            "it"
        )
    tried = [place / name for place in places for name in (posix, posix.name)]
    return next((one for one in tried if one.is_file()), None) or existing(tried[0], path)
