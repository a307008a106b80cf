"""How well the masks of a Segmentator agree with real ones."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from .labelled_options import AUTO
from .option import Option, StrPath
from .progress import progress
from .reports import ReportOptions
from .result import Result
from .segmentator_options import SegmentatorOptions
from .use_case import use_case
from .values import LAYOUTS

if TYPE_CHECKING:  # it loads OpenCV
    from diffumask.evaluation.report import Report


@dataclass(frozen=True, kw_only=True)
class SegmentatorEvaluateOptions(SegmentatorOptions, ReportOptions):
    """The options of `segmentator_evaluate`."""

    data: Annotated[StrPath, Option("Folder of images with masks.", read=True)]
    layout: Annotated[
        str,
        Option(
            "auto, native, voc, cityscapes, oxford-pets, ade20k, camvid, plain, coco, hf.",
            values=LAYOUTS,
        ),
    ] = AUTO
    split: Annotated[str | None, Option("Split of the data, such as train.", default="all")] = None


@use_case(SegmentatorEvaluateOptions)
def segmentator_evaluate(options: SegmentatorEvaluateOptions) -> "Result[Report]":
    """Compare the masks of a head with real ones.

    The classes are matched by name.

    Returns the report. Raises InputError for what the user can mend, and changes no file then.
    """
    from diffumask.evaluation.compare import compare_network
    from diffumask.evaluation.report import make_report
    from diffumask.labelled.folder import open_labelled
    from diffumask.labelled.mapping import ClassSelection
    from diffumask.types import ClassIds

    options.refuse_foreign_files()
    data, head = Path(options.data), Path(options.segmentator)
    predictor = options.load_predictor()
    of_head = predictor.segmentator.facts
    if of_head.class_agnostic:
        labelled = open_labelled(data, options.layout, options.split).as_objects()
    else:
        selection = ClassSelection(ClassIds(of_head.labels.ids))
        labelled = open_labelled(data, options.layout, options.split, selection)
    with progress("comparing", len(labelled), each="image") as advance:
        report = make_report(compare_network(labelled, predictor, advance), labelled.mapping)
    facts = {
        "data": str(data),
        "layout": labelled.layout,
        "split": labelled.split,
        "segmentator": str(head),
    }
    title = f"{head.stem} on {data.name}: mIoU {report.miou:.3f}"
    return options.write_report(report, facts, title)
