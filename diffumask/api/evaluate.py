"""Compare predictions, or what a network predicts, with real masks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from diffumask.cores import n_cores
from diffumask.errors import InputError

from . import values
from .labelled_options import LabelledFolderOptions, read_mapping
from .option import Option, StrPath
from .progress import progress, starting_torch
from .reports import ReportOptions, check_suffix
from .result import Result
from .use_case import use_case

if TYPE_CHECKING:  # they load OpenCV and, for networks, torch
    from diffumask.evaluation.counts import Counts
    from diffumask.evaluation.report import Report
    from diffumask.labelled.folder import Labelled

LISTED = 10  # classes in a note


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(LabelledFolderOptions, ReportOptions):
    """The options of `evaluate`; there are either predictions or a checkpoint."""

    predictions: Annotated[
        StrPath | None,
        Option("Folder of predicted masks, PNG of class ids.", default="none", read=True),
    ] = None
    checkpoint: Annotated[
        str | None,
        Option(
            "Instead: segmentation network of transformers, a folder or hub id.", default="none"
        ),
    ] = None
    predicted_mapped: Annotated[
        Sequence[str],
        Option("As for the masks, in the predictions.", name="map-predictions", default="none"),
    ] = ()
    ignore_background: Annotated[bool, Option("Leave out pixels that are background.")] = False
    per_image: Annotated[
        StrPath | None, Option("Figures of each image (.csv).", default="none")
    ] = None
    workers: Annotated[
        int | None, Option("Processes that read masks.", default="all cores", least=1)
    ] = None
    device: Annotated[str, Option("As for generate; for a checkpoint.", values=values.DEVICES)] = (
        "auto"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.predictions is None) == (self.checkpoint is None):
            raise InputError(
                "expected either predictions or a checkpoint, got both or neither; choose one"
            )
        if self.predictions is not None and not Path(self.predictions).is_dir():
            raise InputError(f"expected a folder of predictions, got {str(self.predictions)!r}")
        check_suffix("figures of each image", self.per_image, ".csv")
        read_mapping(self.predicted_mapped)

    def report_files(self) -> list[Path]:
        """List the files that will be written."""
        each = [] if self.per_image is None else [Path(self.per_image)]
        return [*super().report_files(), *each]


@use_case(EvaluateOptions)
def evaluate(options: EvaluateOptions) -> "Result[Report]":
    """Compare predicted masks with real ones.

    They are files, or what a network predicts; the figures are IoU, boundary F and confusion.
    The folder of the data is read as it was downloaded.

    Returns the report. Raises InputError for what the user can mend, and changes no file then.
    """
    from diffumask.evaluation.report import make_report

    options.refuse_foreign_files()
    labelled = _open(options)
    counts, notes = (_by_network if options.checkpoint else _by_files)(options, labelled)
    report = make_report(counts, labelled.mapping)
    predicted_by = Path(options.checkpoint or str(options.predictions)).name
    title = f"{predicted_by} on {labelled.folder.name}: mIoU {report.miou:.3f}"
    if labelled.named_by:
        notes.append(f"class names from {labelled.named_by}")
    if options.per_image is not None:
        _write_images(Path(options.per_image), labelled, counts, report)
        notes.append(f"the figures of each image are in {options.per_image}")
    return options.write_report(report, _facts(options, labelled), title, notes)


def _open(options: EvaluateOptions) -> "Labelled":
    from diffumask.labelled.folder import open_labelled

    selection = replace(
        options.class_selection(),
        ignore_background=options.ignore_background,
        predicted_mapped=read_mapping(options.predicted_mapped),
    )
    return open_labelled(
        options.folder, options.layout, options.split, selection, options.masks_path
    )


def _by_files(options: EvaluateOptions, labelled: "Labelled") -> "tuple[Counts, list[str]]":
    from diffumask.evaluation.compare import compare_files, find_predictions

    paths = find_predictions(Path(str(options.predictions)), labelled)
    with progress("comparing", len(labelled), each="image") as advance:
        return compare_files(labelled, paths, advance, options.workers or n_cores()), []


def _by_network(options: EvaluateOptions, labelled: "Labelled") -> "tuple[Counts, list[str]]":
    from diffumask.evaluation.compare import compare_network
    from diffumask.models import check_place

    check_place(str(options.checkpoint))
    with starting_torch():
        from diffumask.segmentation.predictor import load_predictor

    predict = load_predictor(str(options.checkpoint), labelled.mapping, options.device)
    unknown = ", ".join(predict.unknown[:LISTED]) + ", ..." * (len(predict.unknown) > LISTED)
    notes = [f"the network has no label for {unknown}"] if unknown else []
    with progress("predicting", len(labelled), each="image") as advance:
        return compare_network(labelled, predict, advance), notes


def _write_images(path: Path, labelled: "Labelled", counts: "Counts", report: "Report") -> None:
    from diffumask.evaluation.file import write_images

    names = [pair.name for pair in labelled.pairs]
    ids = {name: figures.class_id for name, figures in report.classes.items()}
    write_images(path, names, counts.each, ids)


def _facts(options: EvaluateOptions, labelled: "Labelled") -> Mapping[str, Any]:
    return {
        "data": str(labelled.folder),
        "masks": _path_text(options.masks),
        "layout": labelled.layout,
        "split": labelled.split,
        "class_names": labelled.named_by or None,
        "predictions": _path_text(options.predictions),
        "checkpoint": options.checkpoint,
        "vocabulary": options.vocabulary,
        "ignore_values": sorted(options.ignore_values),
        "ignore_background": options.ignore_background,
        "mapped": list(options.mapped),
        "predicted_mapped": list(options.predicted_mapped),
        "per_image": _path_text(options.per_image),
    }


def _path_text(path: StrPath | None) -> str | None:
    return None if path is None else str(path)
