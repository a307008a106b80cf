"""What a layout finds in a folder, how masks get their images, and what is said of missing ones."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from diffumask.errors import InputError

from .mapping import MaskValues
from .pairs import PairFiles, file_pair

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
LIST_FILE = "labels.csv"


@dataclass(frozen=True, slots=True)
class Listing:
    """The images with masks that a layout found, and what the values of the masks stand for."""

    pairs: Sequence[PairFiles]
    values: MaskValues


def unknown_split(folder: Path, split: str, known: Sequence[str]) -> InputError:
    """Make the error for a split that a folder does not have."""
    return InputError(
        f"expected a split of {folder} ({', '.join(known) or 'it has none'}), got {split!r}"
    )


def existing(image: Path, mask: Path) -> Path:
    """Return an image that is there. Raises InputError for one that is not."""
    if not image.is_file():
        raise InputError(f"expected an image for each mask, got {mask} without {image}")
    return image


def png_files(folder: Path) -> list[Path]:
    """List the PNG files of a folder, without those that macOS leaves in archives."""
    return [path for path in sorted(folder.glob("*.png")) if not path.name.startswith(".")]


def mirrored_pairs(images: Path, masks: Path, split: str | None) -> list[PairFiles]:
    """Pair two folders, whose subfolders go by the same names."""
    pairs: list[PairFiles] = []
    for top in split_folders(masks, split) if split is not None else [masks]:
        for one in [top, *sorted(path for path in top.rglob("*") if path.is_dir())]:
            pairs += pairs_of_masks(png_files(one), images / one.relative_to(masks))
    return pairs


def pairs_of_masks(masks: Iterable[Path], images: Path) -> list[PairFiles]:
    """Give each mask the image of its stem.

    Raises InputError where there is none, and where there are two.
    """
    by_stem: dict[str, list[Path]] = {}
    for path in sorted(images.iterdir()) if images.is_dir() else []:
        if path.suffix.lower() in IMAGE_SUFFIXES:
            by_stem.setdefault(path.stem, []).append(path)
    pairs = []
    for mask in masks:
        others = [path for path in by_stem.get(mask.stem, ()) if path != mask]
        if len(others) > 1:
            raise InputError(
                f"expected one image for each mask, got {others[0]} and {others[1]}; take one out"
            )
        image = others[0] if others else existing(images / f"{mask.stem}.jpg", mask)
        pairs.append(file_pair(mask.stem, image, mask))
    return pairs


def listed_pairs(folder: Path, split: str) -> list[PairFiles]:
    """List the pairs of a split that labels.csv names, in its columns file, mask and split."""
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
        raise unknown_split(folder, split, sorted(splits))
    chosen = [row for row in rows if row["split"] == split]
    masks = [folder / row["mask"] for row in chosen]
    return [
        file_pair(mask.stem, existing(folder / row["file"], mask), mask)
        for row, mask in zip(chosen, masks, strict=True)
    ]


def names_of_list(folder: Path, split: str) -> list[str]:
    """Read the first word of each line of SPLIT.txt."""
    path = folder / f"{split}.txt"
    if not path.is_file():
        raise unknown_split(folder, split, sorted(one.stem for one in folder.glob("*.txt")))
    lines = path.read_text("utf-8").splitlines()
    return [line.split()[0] for line in lines if line.strip() and not line.startswith("#")]


def split_folders(folder: Path, split: str | None) -> list[Path]:
    """List the subfolders, or that of a split. Raises InputError where there is none."""
    splits = sorted(path.name for path in folder.iterdir() if path.is_dir())
    if split is None:
        return [folder / name for name in splits]
    if split not in splits:
        raise unknown_split(folder, split, splits)
    return [folder / split]
