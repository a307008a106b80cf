"""Masks that a Segmentator makes of images."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from diffumask.articles import counted
from diffumask.errors import InputError

from .option import Option, StrPath
from .progress import progress
from .result import Result
from .segmentator_options import SegmentatorOptions
from .use_case import use_case


@dataclass(frozen=True, kw_only=True)
class SegmentatorPredictOptions(SegmentatorOptions):
    """The options of `segmentator_predict`."""

    images: Annotated[
        Sequence[StrPath], Option("Images, or folders of them.", positional=True, read=True)
    ]
    out: Annotated[StrPath, Option("Folder of the masks.")]
    agreement: Annotated[
        float, Option("Share of an ensemble that must agree on a pixel; others are 255.")
    ] = 0.0


@use_case(SegmentatorPredictOptions)
def segmentator_predict(options: SegmentatorPredictOptions) -> Result[list[Path]]:
    """Make masks of images by a head.

    The images need not be generated; the masks are palette PNG.

    Returns the files. Raises InputError for what the user can mend, before any mask is written.
    """
    from diffumask.dataset.encode import encode_class_map
    from diffumask.files.atomic import take_over, writing
    from diffumask.files.partial import partial_folder
    from diffumask.labelled.pixels import read_image, size_hw

    out = Path(options.out)
    paths = _image_files([Path(image) for image in options.images])
    masks = [out / f"{path.stem}.png" for path in paths]
    taken = [mask for mask in masks if mask.exists()]
    if taken:
        raise InputError(f"expected a folder without {taken[0].name}, got {out}; choose another")
    predictor = replace(options.load_predictor(), agreement=options.agreement)
    from diffumask.segmentator.features import check_size, factor_of  # it loads torch

    for path in paths:
        check_size(size_hw(path), factor_of(predictor.vae), f"{path} to be")
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        with partial_folder(out) as partial, progress("masks", len(paths), each="mask") as advance:
            for path, mask in zip(paths, masks, strict=True):
                new = partial / mask.name
                new.write_bytes(encode_class_map(predictor(read_image(path))))
                take_over(new, mask)
                advance(1)
    facts = {"folder": out, "masks": len(paths)}
    return Result(masks, f"{counted(len(paths), 'mask')} in {out}", facts)


def _image_files(sources: Sequence[Path]) -> list[Path]:
    """List image files and those of folders. Raises InputError for two of a name, and for none."""
    from diffumask.labelled.listing import IMAGE_SUFFIXES

    paths: dict[str, Path] = {}
    for source in sources:
        inner = sorted(source.iterdir()) if source.is_dir() else [source]
        for path in inner:
            if path != source and path.suffix.lower() not in IMAGE_SUFFIXES:
                continue
            other = paths.setdefault(path.stem, path)
            if other != path:
                raise InputError(f"expected images of different names, got {other} and {path}")
    if not paths:
        raise InputError(f"expected images, got none in {', '.join(map(str, sources))}")
    return list(paths.values())
