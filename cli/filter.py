"""`diffumask filter`: a verdict on every item of a dataset, by networks that did not see it."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffumask.errors import InputError

from .progress import step_progress
from .result import Result

if TYPE_CHECKING:  # they load torch
    from diffumask.dataset.dataset import Dataset
    from diffumask.noise.admission import Outcome
    from diffumask.noise.gates import Gates
    from diffumask.noise.items import Item
    from diffumask.noise.trial import CrossValidation, Trial
    from diffumask.noise.verdicts import Judged, Rule
    from diffumask.noise.view import Facts

IOU = "iou"
NUMBER = re.compile(r"\d{1,3}(\.\d{1,9})?|\.\d{1,9}")


@dataclass(frozen=True, slots=True)
class Request:
    """The options as typed; at most one of `alpha`, and `min_iou` with `cutoffs`, is there."""

    folder: Path
    alpha: float | None = None
    min_iou: float | None = None
    cutoffs: Path | None = None
    method: str = IOU
    min_scores: Sequence[str] = ()
    area: str | None = None
    training: dict[str, Any] = field(default_factory=dict)
    device: str = "auto"
    apply: Path | None = None
    report: Path | None = None
    report_items: int = 60
    marks: Path | None = None
    marks_only: bool = False

    def __post_init__(self) -> None:
        if self.alpha is not None and (self.min_iou is not None or self.cutoffs is not None):
            raise InputError("expected either --alpha or cut-offs, got both; choose one")
        if self.min_iou is not None and self.method != IOU:
            raise InputError(
                f"expected --min-iou with --method iou, got {self.method}; use --cutoffs FILE"
            )
        if self.marks_only and self.marks is None:
            raise InputError("expected --marks FILE beside --marks-only, got none")
        if self.marks_only and (self.apply is not None or self.report is not None):
            raise InputError(
                "expected no --apply and no --report beside --marks-only, got one; leave out "
                "--marks-only"
            )
        if self.report_items < 1:
            raise InputError(f"expected --report-items of 1 or more, got {self.report_items}")
        if self.apply is not None and self.apply.resolve().is_relative_to(self.folder.resolve()):
            raise InputError(
                f"expected a new folder outside of {self.folder}, got {self.apply}; choose another"
            )


def run(request: Request) -> Result:
    """Judge every item, write the verdicts and what is asked for, and return the report as text.

    Raises InputError for what the user can mend, before anything is written where it can be told.
    """
    if request.marks_only:
        return _apply_marks(request)
    from diffumask.dataset.annotate import annotate
    from diffumask.dataset.dataset import Dataset
    from diffumask.noise.admission import Outcome, admission, counts, warnings
    from diffumask.noise.by_hand import overrule
    from diffumask.noise.gates import stopped
    from diffumask.noise.items import read_items
    from diffumask.noise.page import refuse_foreign
    from diffumask.noise.quality import check_method
    from diffumask.noise.trial import CrossValidation
    from diffumask.noise.verdicts import prune

    check_method(request.method)
    if request.report is not None:
        refuse_foreign(request.report)
    settings, gates = CrossValidation(**request.training), _gates(request)
    marks = _marks(request)
    source = Dataset.open(request.folder, with_dropped=True).require_items()
    items = read_items(source)
    gated = stopped(items, gates)
    eligible = [item for item in items if item.name not in gated]
    rule = _rule(request, list(source.run.classes), eligible)
    trial = _trial(source, eligible, settings)
    found = gated | prune(_judged(trial, request), rule, request.method)
    verdicts = overrule(found, marks)
    facts = {name: one.facts(request.method) for name, one in verdicts.items()}
    annotate(request.folder, facts)
    outcome = Outcome(items, verdicts, request.method)
    told: dict[str, Any] = {"folder": request.folder, **counts(outcome)}
    lines = [admission(outcome), *warnings(outcome)]
    if request.report is not None:
        lines.append(_report(request, outcome, trial))
    if request.apply is not None:
        lines.append(_apply(request, trial, rule, facts))
    told |= {"report": request.report, "applied": request.apply}
    return Result("\n".join(lines), told, folder=request.apply)


def _marks(request: Request) -> dict[str, str]:
    from diffumask.gallery.marks import read_marks

    return {} if request.marks is None else read_marks(request.marks, request.folder)


def _apply_marks(request: Request) -> Result:
    """Give the marked items the verdict of their mark, and leave all other verdicts."""
    from diffumask.dataset.annotate import annotate
    from diffumask.dataset.record import DROPPED, KEPT, VERDICT
    from diffumask.gallery.marks import ACCEPTED
    from diffumask.noise.by_hand import REASONS

    marks = _marks(request)
    verdict_of = {name: KEPT if mark == ACCEPTED else DROPPED for name, mark in marks.items()}
    annotate(
        request.folder,
        {name: {VERDICT: verdict_of[name], "reason": REASONS[marks[name]]} for name in marks},
    )
    n_kept = list(verdict_of.values()).count(KEPT)
    n_dropped = len(marks) - n_kept
    return Result(
        f"{n_kept} items kept and {n_dropped} dropped by hand; all others stay as is",
        {"folder": request.folder, "kept_by_hand": n_kept, "dropped_by_hand": n_dropped},
    )


def _trial(source: "Dataset", eligible: "Sequence[Item]", settings: "CrossValidation") -> "Trial":
    from diffumask.noise.folds import assign_folds
    from diffumask.noise.trial import Trial

    if not eligible:
        raise InputError(
            f"expected items of {source.folder} that pass the gates, got none of {len(source)}; "
            "loosen them"
        )
    class_of = {item.name: item.class_name for item in eligible}
    folds = assign_folds(class_of, settings.num_folds, settings.seed)
    return Trial(source, eligible, folds, settings)


def _judged(trial: "Trial", request: Request) -> "list[Judged]":
    """Train and predict, unless the qualities are there already."""
    from diffumask.noise.verdicts import Judged

    if not trial.is_done(request.method):
        trial.source.check()
        _cross_validate(trial, request)
    qualities = trial.read(request.method)
    return [Judged(one.name, one.class_name, qualities[one.name]) for one in trial.items]


def _cross_validate(trial: "Trial", request: Request) -> None:
    from diffumask.noise.crossval import cross_validate

    with step_progress(trial.num_folds * trial.settings.num_steps) as on_step:
        cross_validate(trial, request.method, on_step, request.device)


def _rule(request: Request, classes: Sequence[str], eligible: "Sequence[Item]") -> "Rule":
    from diffumask.noise.cutoffs import read_cut_offs
    from diffumask.noise.verdicts import DEFAULT_ALPHA, CutOffs, Proportion

    if request.min_iou is None and request.cutoffs is None:
        return Proportion(DEFAULT_ALPHA if request.alpha is None else request.alpha)
    lowest = {} if request.min_iou is None else dict.fromkeys(classes, request.min_iou)
    if request.cutoffs is not None:
        lowest |= read_cut_offs(request.cutoffs, classes)
    rule = CutOffs(lowest)
    for item in eligible:
        rule.check(item.areas)
    return rule


def _gates(request: Request) -> "Gates":
    from diffumask.noise.gates import Gates

    area = None
    if request.area is not None:
        low, separator, high = request.area.partition("..")
        if not separator or not NUMBER.fullmatch(low) or not NUMBER.fullmatch(high):
            raise InputError(f"expected --area LOW..HIGH such as 0.02..0.9, got {request.area!r}")
        area = float(low), float(high)
    return Gates(dict(map(_min_score, request.min_scores)), area)


def _min_score(text: str) -> tuple[str, float]:
    name, separator, value = text.partition("=")
    if not separator or not NUMBER.fullmatch(value):
        raise InputError(f"expected --min-score NAME=VALUE such as stability=0.5, got {text!r}")
    return name.strip(), float(value)


def _report(request: Request, outcome: "Outcome", trial: "Trial") -> str:
    from diffumask.noise.page import write_report

    assert request.report is not None
    write_report(request.report, outcome, trial.source, trial.predictions, request.report_items)
    return f"the report is in {request.report}"


def _apply(request: Request, trial: "Trial", rule: "Rule", facts: "Facts") -> str:
    from diffumask.dataset.preview import write_preview
    from diffumask.dataset.store import open_store
    from diffumask.noise.view import kept_records, link_items, view_settings

    assert request.apply is not None
    source = trial.source
    records = kept_records(source, facts)
    if not records:
        raise InputError(f"expected items that are kept for {request.apply}, got none")
    how = {**asdict(rule), **asdict(_gates(request)), **asdict(trial.settings)}
    how["method"] = request.method
    settings = view_settings(source, records, how)
    notes = {"filtered_of": str(source.folder), "source_items": len(source)}
    with open_store(request.apply, settings, source.run.classes, notes) as store:
        link_items(source, records, store)
        write_preview(store)
    return f"{len(records)} items in {request.apply}"
