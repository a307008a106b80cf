"""`diffumask evaluate`: compare predictions, or what a network predicts, with real masks."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffumask.errors import InputError
from diffumask.plot import check_plot
from diffumask.prompts.vocabulary import load_vocabulary
from diffumask.types import ClassIds

from .progress import progress
from .result import Result

if TYPE_CHECKING:  # they load numpy, OpenCV and, for networks, torch
    from diffumask.evaluation.counts import Counts
    from diffumask.evaluation.report import Report
    from diffumask.labelled.folder import Labelled

LISTED = 10  # classes in a note
BINARY = "masks in black and white (0 and 255) hold no ids; map 255 to a class id"


@dataclass(frozen=True, slots=True)
class Request:
    """The options as typed; exactly one of `predictions` and `checkpoint` is there.

    The data is one folder, or one of `images` and one of `masks`.
    """

    data: Path | None = None
    images: Path | None = None
    masks: Path | None = None
    predictions: Path | None = None
    checkpoint: str | None = None
    layout: str = "auto"
    split: str | None = None
    vocabulary: str | None = None
    classes: Sequence[str] = ()
    ignore_values: Sequence[int] = ()
    ignore_background: bool = False
    mapped: Sequence[str] = ()
    predicted_mapped: Sequence[str] = ()
    out: Path | None = None
    plot: Path | None = None
    per_image: Path | None = None
    workers: int | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        if (self.predictions is None) == (self.checkpoint is None):
            raise InputError("expected either --predictions or --checkpoint, got both or neither")
        if self.predictions is not None and not self.predictions.is_dir():
            raise InputError(f"expected a folder of predictions, got {str(self.predictions)!r}")
        check_place(self.data, self.images, self.masks, self.layout)
        check_report_names(self.out, self.plot)
        if self.per_image is not None and self.per_image.suffix != ".csv":
            raise InputError(f"expected --per-image FILE.csv, got {self.per_image}")
        check_ignore_values(self.ignore_values)
        if self.workers is not None and self.workers < 1:
            raise InputError(f"expected --workers of 1 or more, got {self.workers}")


def run(request: Request) -> Result:
    """Compare, write what is asked for, and return the figures as a table.

    Raises InputError for what the user can mend, and changes no file then.
    """
    from diffumask.evaluation.report import make_report

    refuse_foreign_reports(request.out, request.plot, request.per_image)
    labelled = _open(request)
    counts, notes = (_by_network if request.checkpoint else _by_files)(request, labelled)
    report = make_report(counts, labelled.mapping)
    judged = Path(request.checkpoint or str(request.predictions)).name
    title = f"{judged} on {labelled.folder.name}: mIoU {report.miou:.3f}"
    facts = _facts(request, labelled)
    if labelled.named_by:
        notes.append(f"class names from {labelled.named_by}")
    if request.per_image is not None:
        _write_images(request.per_image, labelled, counts, report)
        notes.append(f"the figures of each image are in {request.per_image}")
    return tell_report(report, facts, request.out, request.plot, title, notes)


def check_place(data: Path | None, images: Path | None, masks: Path | None, layout: str) -> None:
    """Raise InputError unless there is one folder of data, or one of images and one of masks."""
    if (images is None) != (masks is None):
        raise InputError("expected --images with --masks, got one of them")
    if (data is None) == (images is None):
        raise InputError("expected a folder of data, or --images with --masks, got both or neither")
    if images is not None and layout != "auto":
        raise InputError(f"expected no --layout beside --images, got {layout!r}")


def check_report_names(out: Path | None, plot: Path | None) -> None:
    """Raise InputError unless the report is a .json and the figure one that can be drawn."""
    if out is not None and out.suffix != ".json":
        raise InputError(f"expected -o FILE.json, got {out}")
    if plot is not None:
        check_plot(plot)


def check_ignore_values(values: Sequence[int]) -> None:
    """Raise InputError for a value that no mask can have."""
    wrong = [value for value in values if not 0 <= value <= 255]
    if wrong:
        raise InputError(f"expected --ignore-value in 0..255, got {wrong[0]}")


def read_mapping(pairs: Sequence[str], option: str) -> dict[int, int]:
    """Read values of masks and what they are read as from texts such as 255=1.

    Raises InputError for others.
    """
    found: dict[int, int] = {}
    for pair in pairs:
        value, _, other = pair.partition("=")
        numbers = [int(text) for text in (value, other) if re.fullmatch("[0-9]{1,3}", text)]
        if len(numbers) != 2 or max(numbers) > 255 or numbers[0] in found:
            raise InputError(
                f"expected {option} VALUE=ID in 0..255, a value once, such as 255=1, got {pair!r}"
            )
        found[numbers[0]] = numbers[1]
    return found


def refuse_foreign_reports(*paths: Path | None) -> None:
    """Raise InputError where there is a file already that is no report of ours."""
    from diffumask.evaluation.file import refuse_foreign

    for path in paths:
        if path is not None:
            refuse_foreign(path)


def tell_report(
    report: "Report",
    facts: Mapping[str, Any],
    out: Path | None,
    plot: Path | None,
    title: str,
    notes: Sequence[str] = (),
) -> Result:
    """Write the report and the figure that are asked for, and return the figures as a table.

    `notes` are further lines, to which is added what looks like masks in black and white.
    """
    from diffumask.evaluation.figure import write_figure
    from diffumask.evaluation.file import figures, write_report
    from diffumask.evaluation.report import looks_binary, table

    binary = looks_binary(report)
    notes = [*notes, *(f"no class is in the {which}: {BINARY}" for which in binary)]
    facts = {**facts, "notes": notes, "looks_binary": binary}
    lines = [table(report), *notes]
    if out is not None:
        write_report(out, report, facts)
        lines.append(f"the report is in {out}")
    if plot is not None:
        write_figure(plot, title, report)
        lines.append(f"the figure is in {plot}")
    written = {"report": out, "figure": plot}
    return Result("\n".join(lines), {**facts, **figures(report), **written})


def read_classes(vocabulary: str) -> ClassIds:
    """Read class ids from a vocabulary (name or .toml), or from JSON such as {"bird": 3}.

    Raises InputError for anything else.
    """
    from diffumask.labelled.names import read_class_ids

    if not vocabulary.endswith(".json"):
        return load_vocabulary(vocabulary).class_ids
    return ClassIds(read_class_ids(Path(vocabulary)))


def _open(request: Request) -> "Labelled":
    from diffumask.labelled.folder import open_labelled
    from diffumask.labelled.mapping import ClassSelection

    selection = ClassSelection(
        read_classes(request.vocabulary) if request.vocabulary else None,
        request.classes,
        frozenset(request.ignore_values),
        request.ignore_background,
        read_mapping(request.mapped, "--map"),
        read_mapping(request.predicted_mapped, "--map-predictions"),
    )
    folder = request.data or request.images
    assert folder is not None
    return open_labelled(folder, request.layout, request.split, selection, request.masks)


def _by_files(request: Request, labelled: "Labelled") -> "tuple[Counts, list[str]]":
    from diffumask.evaluation.compare import compare_files, find_predictions, n_cores

    assert request.predictions is not None
    paths = find_predictions(request.predictions, labelled)
    with progress(len(labelled), 0) as advance:
        return compare_files(labelled, paths, advance, request.workers or n_cores()), []


def _by_network(request: Request, labelled: "Labelled") -> "tuple[Counts, list[str]]":
    from diffumask.evaluation.compare import compare_network
    from diffumask.segmentation.predictor import load_predictor

    assert request.checkpoint is not None
    predict = load_predictor(request.checkpoint, labelled.mapping, request.device)
    unknown = ", ".join(predict.unknown[:LISTED]) + ", ..." * (len(predict.unknown) > LISTED)
    notes = [f"the network has no label for {unknown}"] if unknown else []
    with progress(len(labelled), 0) as advance:
        return compare_network(labelled, predict, advance), notes


def _write_images(path: Path, labelled: "Labelled", counts: "Counts", report: "Report") -> None:
    from diffumask.evaluation.file import write_images

    names = [pair.name for pair in labelled.pairs]
    ids = {name: one.class_id for name, one in report.classes.items()}
    write_images(path, names, counts.each, ids)


def _facts(request: Request, labelled: "Labelled") -> Mapping[str, Any]:
    return {
        "data": str(labelled.folder),
        "masks": None if request.masks is None else str(request.masks),
        "layout": labelled.layout,
        "split": labelled.split,
        "class_names": labelled.named_by or None,
        "predictions": None if request.predictions is None else str(request.predictions),
        "checkpoint": request.checkpoint,
        "vocabulary": request.vocabulary,
        "ignore_values": sorted(request.ignore_values),
        "ignore_background": request.ignore_background,
        "mapped": list(request.mapped),
        "predicted_mapped": list(request.predicted_mapped),
        "per_image": None if request.per_image is None else str(request.per_image),
    }
