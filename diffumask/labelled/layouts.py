"""How datasets lie on disk: where the masks are, which image belongs to each, what values mean."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from diffumask.dataset.listing import whole_records
from diffumask.dataset.names import item_paths
from diffumask.dataset.parts import METADATA_FILE, RUN_FILE
from diffumask.dataset.run import read_run
from diffumask.errors import InputError

from .class_tables import known_values
from .coco import coco, coco_beside, coco_files
from .hub import hf, parquet_files
from .listing import (
    LIST_FILE,
    Listing,
    existing,
    listed_pairs,
    mirrored_pairs,
    names_of_list,
    pairs_of_masks,
    png_files,
    split_folders,
    unknown_split,
)
from .mapping import MaskValues
from .names import ID2LABEL_FILE, values_beside
from .pairs import PairFiles, file_pair

NATIVE = "native"
PLAIN_FOLDERS = (("images", "masks"), ("img_dir", "ann_dir"))


@dataclass(frozen=True, slots=True)
class Layout:
    """A way to lie on disk: what it looks like, whether a folder does, and how to list it."""

    structure: str
    fits: Callable[[Path], bool]
    find: Callable[[Path, str | None], Listing]


def native(folder: Path, split: str | None) -> Listing:
    """List the finished items of `diffumask generate`; there are no splits."""
    if split is not None:
        raise InputError(f"expected no split for {folder}, a dataset of diffumask, got {split!r}")
    classes = read_run(folder).classes
    names = [record.name for record in whole_records(folder)]
    files = [(name, item_paths(name)) for name in sorted(names)]
    pairs = [
        file_pair(name, folder / two["file_name"], folder / two["mask_file_name"])
        for name, two in files
    ]
    return Listing(pairs, MaskValues({i: name for name, i in classes.items()}, named_by=RUN_FILE))


def voc(folder: Path, split: str | None) -> Listing:
    """List SegmentationClass, or what ImageSets/Segmentation/SPLIT.txt names of it.

    Classes are those of labelmap.txt, or of VOC where there is none.
    """
    masks = png_files(folder / "SegmentationClass")
    if split is not None:
        names = names_of_list(folder / "ImageSets" / "Segmentation", split)
        masks = [folder / "SegmentationClass" / f"{name}.png" for name in names]
    return Listing(
        pairs_of_masks(masks, folder / "JPEGImages"), values_beside(folder) or known_values("voc")
    )


def cityscapes(folder: Path, split: str | None) -> Listing:
    """List gtFine; labelIds where there are such files, else labelTrainIds."""
    folders = split_folders(folder / "gtFine", split)
    ending, values = "_gtFine_labelIds.png", known_values("cityscapes")
    if not any(any(one.rglob(f"*{ending}")) for one in folders):
        ending, values = "_gtFine_labelTrainIds.png", known_values("cityscapes-train-ids")
    masks = [path for one in folders for path in sorted(one.rglob(f"*{ending}"))]
    pairs = []
    for mask in masks:
        name = mask.name.removesuffix(ending)
        place = folder / "leftImg8bit" / mask.parent.relative_to(folder / "gtFine")
        pairs.append(file_pair(name, existing(place / f"{name}_leftImg8bit.png", mask), mask))
    return Listing(pairs, values)


def ade20k(folder: Path, split: str | None) -> Listing:
    """List annotations/{training,validation}."""
    return Listing(
        mirrored_pairs(folder / "images", folder / "annotations", split), known_values("ade20k")
    )


def oxford_pets(folder: Path, split: str | None) -> Listing:
    """List annotations/trimaps, or what annotations/{trainval,test}.txt names of it."""
    masks = png_files(folder / "annotations" / "trimaps")
    if split is not None:
        names = names_of_list(folder / "annotations", split)
        masks = [folder / "annotations" / "trimaps" / f"{name}.png" for name in names]
    return Listing(pairs_of_masks(masks, folder / "images"), known_values("oxford-pets"))


def camvid(folder: Path, split: str | None) -> Listing:
    """List SPLITannot beside SPLIT, as in the version of SegNet."""
    splits = sorted(path.name.removesuffix("annot") for path in folder.glob("*annot"))
    if split is not None and split not in splits:
        raise unknown_split(folder, split, splits)
    pairs: list[PairFiles] = []
    for one in splits if split is None else [split]:
        pairs += pairs_of_masks(png_files(folder / f"{one}annot"), folder / one)
    return Listing(pairs, known_values("camvid"))


def plain(folder: Path, split: str | None) -> Listing:
    """List masks/ beside images/ (or ann_dir/ beside img_dir/), with or without subfolders.

    Classes have the names of classes.json, if it is there. A split is a column of labels.csv, which
    also has the columns file and mask, or a subfolder.
    """
    images, masks = _plain_folders(folder)
    values = values_beside(folder) or MaskValues()
    if split is not None and (folder / LIST_FILE).is_file():
        return Listing(listed_pairs(folder, split), values)
    return Listing(mirrored_pairs(images, masks, split), values)


def named_folders(images: Path, masks: Path, split: str | None) -> Listing:
    """List the PNG of a folder, or a COCO file, whose images lie in another folder.

    A mask has the stem of its image. A split is a subfolder of both. Classes have the names of the
    file beside the masks, if there is one.
    """
    if masks.suffix.lower() == ".json":
        if split is not None:
            raise InputError(f"expected no split beside {masks}, got {split!r}")
        return coco_beside(images, masks)
    for folder in (images, masks):
        if not folder.is_dir():
            raise InputError(f"expected a folder of images and one of masks, got {str(folder)!r}")
    values = values_beside(masks) or values_beside(masks.parent) or MaskValues()
    return Listing(mirrored_pairs(images, masks, split), values)


LAYOUTS: dict[str, Layout] = {
    NATIVE: Layout(
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
    "coco": Layout(
        "annotations/instances_*.json, or _annotations.coco.json, or result.json",
        lambda folder: bool(coco_files(folder)),
        coco,
    ),
    "hf": Layout(
        f"data/*.parquet, {ID2LABEL_FILE}",
        lambda folder: bool(parquet_files(folder)) and (folder / ID2LABEL_FILE).is_file(),
        hf,
    ),
}


def _has(folder: Path, *names: str) -> bool:
    return all((folder / name).is_dir() for name in names)


def _plain_folders(folder: Path) -> tuple[Path, Path]:
    images, masks = next(both for both in PLAIN_FOLDERS if _has(folder, *both))
    return folder / images, folder / masks
