"""How datasets lie on disk: where the masks are, which image belongs to each, what values mean."""

import csv
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from diffumask.errors import InputError
from diffumask.labelled.coding import Values
from diffumask.labelled.values import (
    ADE20K,
    CAMVID,
    CITYSCAPES_LABEL_IDS,
    CITYSCAPES_TRAIN_IDS,
    OXFORD_PETS,
    VOC,
)
from diffumask.records import METADATA_FILE, item_paths, record_name, whole_records
from diffumask.store import RUN_FILE, read_run

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
LIST_FILE = "labels.csv"
PLAIN_FOLDERS = (("images", "masks"), ("img_dir", "ann_dir"))


@dataclass(frozen=True, slots=True)
class FilePair:
    """An image file and the PNG of its mask; names differ within a dataset."""

    name: str
    image: Path
    mask: Path


@dataclass(frozen=True, slots=True)
class Found:
    """What a layout found in a folder."""

    pairs: Sequence[FilePair]
    values: Values


@dataclass(frozen=True, slots=True)
class Layout:
    """A way to lie on disk: what it looks like, whether a folder does, and how to list it."""

    structure: str
    fits: Callable[[Path], bool]
    find: Callable[[Path, str | None], Found]


def native(folder: Path, split: str | None) -> Found:
    """List the finished items of `diffumask generate`; there are no splits."""
    if split is not None:
        raise InputError(f"expected no split for {folder}, a dataset of diffumask, got {split!r}")
    classes = read_run(folder)["classes"]
    names = [record_name(record) for record in whole_records(folder)]
    files = [(name, item_paths(name)) for name in sorted(names)]
    pairs = [
        FilePair(name, folder / two["file_name"], folder / two["mask_file_name"])
        for name, two in files
    ]
    return Found(pairs, Values({class_id: name for name, class_id in classes.items()}))


def voc(folder: Path, split: str | None) -> Found:
    """List SegmentationClass, or what ImageSets/Segmentation/SPLIT.txt names of it."""
    masks = _pngs(folder / "SegmentationClass")
    if split is not None:
        names = _names_of_list(folder / "ImageSets" / "Segmentation", split)
        masks = [folder / "SegmentationClass" / f"{name}.png" for name in names]
    return Found(_pairs(masks, folder / "JPEGImages"), VOC)


def cityscapes(folder: Path, split: str | None) -> Found:
    """List gtFine; labelIds where there are such files, else labelTrainIds."""
    folders = _split_folders(folder / "gtFine", split)
    ending, values = "_gtFine_labelIds.png", CITYSCAPES_LABEL_IDS
    if not any(any(one.rglob(f"*{ending}")) for one in folders):
        ending, values = "_gtFine_labelTrainIds.png", CITYSCAPES_TRAIN_IDS
    masks = [path for one in folders for path in sorted(one.rglob(f"*{ending}"))]
    pairs = []
    for mask in masks:
        name = mask.name.removesuffix(ending)
        place = folder / "leftImg8bit" / mask.parent.relative_to(folder / "gtFine")
        pairs.append(FilePair(name, _existing(place / f"{name}_leftImg8bit.png", mask), mask))
    return Found(pairs, values)


def ade20k(folder: Path, split: str | None) -> Found:
    """List annotations/{training,validation}."""
    return Found(_mirrored(folder / "images", folder / "annotations", split), ADE20K)


def oxford_pets(folder: Path, split: str | None) -> Found:
    """List annotations/trimaps, or what annotations/{trainval,test}.txt names of it."""
    masks = _pngs(folder / "annotations" / "trimaps")
    if split is not None:
        names = _names_of_list(folder / "annotations", split)
        masks = [folder / "annotations" / "trimaps" / f"{name}.png" for name in names]
    return Found(_pairs(masks, folder / "images"), OXFORD_PETS)


def camvid(folder: Path, split: str | None) -> Found:
    """List SPLITannot beside SPLIT, as in the version of SegNet."""
    splits = sorted(path.name.removesuffix("annot") for path in folder.glob("*annot"))
    if split is not None and split not in splits:
        raise _unknown_split(folder, split, splits)
    pairs: list[FilePair] = []
    for one in splits if split is None else [split]:
        pairs += _pairs(_pngs(folder / f"{one}annot"), folder / one)
    return Found(pairs, CAMVID)


def plain(folder: Path, split: str | None) -> Found:
    """List masks/ beside images/ (or ann_dir/ beside img_dir/), with or without subfolders.

    A split is a column of labels.csv, which also has the columns file and mask, or a subfolder.
    """
    images, masks = _plain_folders(folder)
    if split is not None and (folder / LIST_FILE).is_file():
        return Found(_listed_pairs(folder, split), Values())
    return Found(_mirrored(images, masks, split), Values())


LAYOUTS: dict[str, Layout] = {
    "native": Layout(
        "run.json, metadata.jsonl",
        lambda folder: (folder / RUN_FILE).is_file() and (folder / METADATA_FILE).is_file(),
        native,
    ),
    "voc": Layout(
        "JPEGImages, SegmentationClass",
        lambda folder: _has(folder, "JPEGImages", "SegmentationClass"),
        voc,
    ),
    "cityscapes": Layout(
        "leftImg8bit, gtFine", lambda folder: _has(folder, "leftImg8bit", "gtFine"), cityscapes
    ),
    "oxford-pets": Layout(
        "images, annotations/trimaps",
        lambda folder: _has(folder, "images", "annotations/trimaps"),
        oxford_pets,
    ),
    "ade20k": Layout(
        "images, annotations with training or validation in both",
        lambda folder: any(
            _has(folder, f"images/{split}", f"annotations/{split}")
            for split in ("training", "validation")
        ),
        ade20k,
    ),
    "camvid": Layout(
        "train, trainannot",
        lambda folder: any(
            _has(folder, split, f"{split}annot") for split in ("train", "val", "test")
        ),
        camvid,
    ),
    "plain": Layout(
        "images, masks or img_dir, ann_dir",
        lambda folder: any(_has(folder, *both) for both in PLAIN_FOLDERS),
        plain,
    ),
}


def _has(folder: Path, *names: str) -> bool:
    return all((folder / name).is_dir() for name in names)


def _plain_folders(folder: Path) -> tuple[Path, Path]:
    images, masks = next(both for both in PLAIN_FOLDERS if _has(folder, *both))
    return folder / images, folder / masks


def _pngs(folder: Path) -> list[Path]:
    """List the PNG files of a folder, without those that macOS leaves in archives."""
    return [path for path in sorted(folder.glob("*.png")) if not path.name.startswith(".")]


def _mirrored(images: Path, masks: Path, split: str | None) -> list[FilePair]:
    """FilePair two folders, whose subfolders go by the same names."""
    pairs: list[FilePair] = []
    for top in _split_folders(masks, split) if split is not None else [masks]:
        for one in [top, *sorted(path for path in top.rglob("*") if path.is_dir())]:
            pairs += _pairs(_pngs(one), images / one.relative_to(masks))
    return pairs


def _pairs(masks: Iterable[Path], images: Path) -> list[FilePair]:
    """Give each mask the image of its stem. Raises InputError where there is none."""
    there = sorted(images.iterdir()) if images.is_dir() else []
    by_stem = {path.stem: path for path in there if path.suffix.lower() in IMAGE_SUFFIXES}
    return [
        FilePair(
            mask.stem, by_stem.get(mask.stem) or _existing(images / f"{mask.stem}.jpg", mask), mask
        )
        for mask in masks
    ]


def _listed_pairs(folder: Path, split: str) -> list[FilePair]:
    with open(folder / LIST_FILE, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    columns = {"file", "mask", "split"}
    if any(None in (row.get(column) for column in columns) for row in rows):
        raise InputError(
            f"expected the columns {', '.join(sorted(columns))} in {folder / LIST_FILE}, got "
            f"{', '.join(rows[0])}"
        )
    splits = {row["split"] for row in rows}
    if split not in splits:
        raise _unknown_split(folder, split, sorted(splits))
    chosen = [row for row in rows if row["split"] == split]
    masks = [folder / row["mask"] for row in chosen]
    return [
        FilePair(mask.stem, _existing(folder / row["file"], mask), mask)
        for row, mask in zip(chosen, masks, strict=True)
    ]


def _names_of_list(folder: Path, split: str) -> list[str]:
    """Read the first word of each line of SPLIT.txt."""
    path = folder / f"{split}.txt"
    if not path.is_file():
        raise _unknown_split(folder, split, sorted(one.stem for one in folder.glob("*.txt")))
    lines = path.read_text("utf-8").splitlines()
    return [line.split()[0] for line in lines if line.strip() and not line.startswith("#")]


def _split_folders(folder: Path, split: str | None) -> list[Path]:
    splits = sorted(path.name for path in folder.iterdir() if path.is_dir())
    if split is None:
        return [folder / name for name in splits]
    if split not in splits:
        raise _unknown_split(folder, split, splits)
    return [folder / split]


def _unknown_split(folder: Path, split: str, known: Sequence[str]) -> InputError:
    return InputError(
        f"expected a split of {folder} ({', '.join(known) or 'it has none'}), got {split!r}"
    )


def _existing(image: Path, mask: Path) -> Path:
    if not image.is_file():
        raise InputError(f"expected an image for each mask, got {mask} without {image}")
    return image
