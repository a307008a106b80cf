"""A dataset in a format that others read."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from diffumask.articles import counted
from diffumask.errors import InputError

from . import values
from .new_folder import refuse_inside
from .option import Option, Options, StrPath
from .progress import log, progress
from .result import Result
from .use_case import use_case

if TYPE_CHECKING:  # they load OpenCV
    from diffumask.formats.items import Selection
    from diffumask.formats.registry import Format, Write

TRAIN_SHARE = 0.9
KEEP, CONTIGUOUS = IDS = ("keep", "contiguous")
PALETTE, GREY = PNG_MODES = ("P", "L")


@dataclass(frozen=True, kw_only=True)
class ExportOptions(Options):
    """The options of `export`."""

    folder: Annotated[
        StrPath, Option("Dataset to export; stays as it is.", positional=True, read=True)
    ]
    format: Annotated[
        str,
        Option(
            "voc, coco, yolo, yolo-detect, cityscapes, hf, webdataset, png, or to correct masks: "
            "cvat, label-studio.",
            values=values.FORMATS,
        ),
    ]
    out: Annotated[StrPath, Option("New folder.")]
    split: Annotated[
        float | None, Option("Share of the items for train.", default=str(TRAIN_SHARE))
    ] = None
    split_seed: Annotated[int, Option("Another seed makes another split.", least=0)] = 0
    stratified: Annotated[bool, Option("Give each class its share of both splits.")] = False
    instances: Annotated[bool, Option("Each connected component is an object.")] = False
    ids: Annotated[
        str | None,
        Option(
            "Class ids in masks: keep, or contiguous (1, 2, 3 ...); for hf, webdataset, png, voc.",
            default="contiguous for hf and webdataset",
            values=IDS,
        ),
    ] = None
    png_mode: Annotated[
        str,
        Option("Masks of the format png: P (palette) or L (grey, for OpenCV).", values=PNG_MODES),
    ] = PALETTE
    with_dropped: Annotated[
        bool, Option("Also the items that diffumask filter dropped.", name="all")
    ] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_inside(self.out, self.folder)
        for value, known in ((self.ids or KEEP, IDS), (self.png_mode, PNG_MODES)):
            if value not in known:
                raise InputError(f"expected {' or '.join(known)}, got {value!r}")


@use_case(ExportOptions)
def export(options: ExportOptions) -> Result[Path]:
    """Write a dataset in a format of other tools.

    They train with it, or people correct masks in them.

    The new folder is there as a whole or not at all. An item is in the same split whatever other
    items there are.

    Returns the new folder. Raises InputError for what the user can mend, and leaves no new folder
    then.
    """
    from diffumask.dataset.left_out import left_out
    from diffumask.formats.folder import new_folder
    from diffumask.formats.items import SPLITS
    from diffumask.formats.registry import find_format

    source, out = Path(options.folder), Path(options.out)
    chosen = find_format(options.format)
    write = _writer(options, chosen)
    selection = _select(options, chosen)
    with new_folder(out) as folder, progress("exporting", len(selection)) as advance:
        notes = write(replace(selection, advance=advance), folder, options.instances)
    counts = {split: len(selection.positions[split]) for split in SPLITS}
    what = " and ".join(f"{count} {split}" for split, count in counts.items()) + " items"
    facts: dict[str, Any] = {"folder": out, "format": options.format, "items": len(selection)}
    if chosen.has_splits:
        facts |= counts
        _warn_of_empty(counts, options)
    else:
        what = counted(len(selection), "item")
    missing = left_out(source, options.with_dropped)
    lines = [f"{what} in {out}", *([str(missing)] if missing else []), *notes]
    facts |= {"left_out": missing.facts(), "notes": list(notes)}
    return Result(out, "\n".join(lines), facts)


def _writer(options: ExportOptions, chosen: "Format") -> "Write":
    """Return what writes the format. Raises InputError for options that it does not have."""
    from diffumask.formats.registry import FORMATS

    kinds = FORMATS.items()
    for option, is_given, known in (
        ("instances", options.instances, [name for name, one in kinds if one.has_instances]),
        (
            "a choice of ids",
            options.ids is not None,
            [name for name, one in kinds if one.contiguous_ids is not None],
        ),
        ("grey masks", options.png_mode == GREY, [name for name, one in kinds if one.write_grey]),
    ):
        if is_given and options.format not in known:
            raise InputError(
                f"expected {option} with one of {', '.join(sorted(known))}, got "
                f"{options.format}; leave it out"
            )
    if not chosen.has_splits and (
        options.split is not None or options.split_seed or options.stratified
    ):
        raise InputError(
            f"expected no options of splits for {options.format}, got one; leave it out"
        )
    grey = chosen.write_grey if options.png_mode == GREY else None
    return grey or chosen.write


def _select(options: ExportOptions, chosen: "Format") -> "Selection":
    from diffumask.formats.items import select

    is_contiguous = (
        bool(chosen.contiguous_ids) if options.ids is None else options.ids == CONTIGUOUS
    )
    return select(
        Path(options.folder),
        TRAIN_SHARE if options.split is None else options.split,
        options.with_dropped,
        contiguous=is_contiguous,
        seed=options.split_seed,
        stratified=options.stratified,
    )


def _warn_of_empty(counts: dict[str, int], options: ExportOptions) -> None:
    """Log that a split that was not meant to be empty is."""
    cure = "generate more" if options.stratified else "make it stratified"
    for split, count in counts.items():
        if not count and options.split not in (0, 1):
            log.warning(
                "no item of %s is in %s; %s or take another split seed",
                options.folder,
                split,
                cure,
            )
