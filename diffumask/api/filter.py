"""A verdict on every item of a dataset, by networks that did not see it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffumask.articles import counted
from diffumask.errors import InputError

from .filter_options import FilterOptions
from .progress import phase, step_progress
from .result import Result
from .use_case import use_case

if TYPE_CHECKING:  # they load torch
    from diffumask.dataset.dataset import Dataset
    from diffumask.noise.items import MaskSummary
    from diffumask.noise.trial import CrossValidation, Trial
    from diffumask.noise.verdicts import Rule, Verdict


@use_case(FilterOptions)
def filter(options: FilterOptions) -> "Result[Mapping[str, Verdict]]":  # noqa: A001
    """Find the items whose masks networks do not confirm.

    The networks are trained on the other items. Verdict, reason and quality go into
    metadata.jsonl; train and augment leave dropped items out. Another alpha reads what the
    networks found before.

    Returns the verdict on each item by name, with `marks_only` on each that is marked. Raises
    InputError for what the user can mend, before anything is written where it can be told.
    """
    if options.marks_only:
        return _apply_marks(options)
    from diffumask.dataset.annotate import annotate
    from diffumask.dataset.dataset import Dataset
    from diffumask.noise.admission import Outcome, admission, counts, warnings
    from diffumask.noise.by_hand import overrule
    from diffumask.noise.gates import apply_gates
    from diffumask.noise.items import summarize_masks
    from diffumask.noise.page import refuse_foreign, write_report
    from diffumask.noise.quality import check_method

    check_method(options.method)
    report = None if options.report is None else Path(options.report)
    if report is not None:
        refuse_foreign(report)
    gates, marks = options.gates(), options.read_marks()
    source = Dataset.open(options.folder, with_dropped=True).require_items()
    with phase("reading masks"):
        items = summarize_masks(source)
    gated = apply_gates(items, gates)
    eligible = [item for item in items if item.name not in gated]
    rule = _rule(options, list(source.classes), eligible)
    trial = _trial(source, eligible, options.cross_validation(len(eligible)))
    verdicts = overrule(gated | _cross_validated(trial, rule, options), marks)
    annotate(source.folder, _facts_by_name(verdicts, options.method))
    outcome = Outcome(items, verdicts, options.method)
    lines = [admission(outcome), *warnings(outcome)]
    if report is not None:
        with phase("writing the report"):
            write_report(report, outcome, source, trial.predictions, options.report_items)
        lines.append(f"the report is in {report}")
    applied = None if options.apply is None else Path(options.apply)
    if applied is not None:
        lines.append(_apply(options, trial, rule, verdicts))
    facts: dict[str, Any] = {"folder": options.folder, **counts(outcome)}
    facts |= {"report": report, "applied": applied}
    return Result(verdicts, "\n".join(lines), facts, applied)


def _facts_by_name(verdicts: "Mapping[str, Verdict]", method: str) -> dict[str, dict[str, object]]:
    return {name: verdict.facts(method) for name, verdict in verdicts.items()}


def _apply_marks(options: FilterOptions) -> "Result[Mapping[str, Verdict]]":
    """Give the marked items the verdict of their mark, and leave all other verdicts."""
    from diffumask.dataset.annotate import annotate
    from diffumask.dataset.record import DROPPED, KEPT, VERDICT
    from diffumask.noise.by_hand import by_hand

    verdicts = {name: by_hand(mark) for name, mark in options.read_marks().items()}
    facts = {
        name: {VERDICT: KEPT if verdict.is_kept else DROPPED, "reason": verdict.reason}
        for name, verdict in verdicts.items()
    }
    annotate(Path(options.folder), facts)
    n_kept = sum(verdict.is_kept for verdict in verdicts.values())
    n_dropped = len(verdicts) - n_kept
    return Result(
        verdicts,
        f"{counted(n_kept, 'item')} kept and {n_dropped} dropped by hand; all others stay as is",
        {"folder": options.folder, "kept_by_hand": n_kept, "dropped_by_hand": n_dropped},
    )


def _trial(
    source: "Dataset", eligible: "Sequence[MaskSummary]", settings: "CrossValidation"
) -> "Trial":
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


def _cross_validated(trial: "Trial", rule: "Rule", options: FilterOptions) -> "dict[str, Verdict]":
    """Train and predict, unless the qualities are there already; return the verdicts by name."""
    from diffumask.noise.verdicts import ItemQuality, prune

    if not trial.is_done(options.method):
        from diffumask.noise.crossval import cross_validate

        with phase("checking items"):
            trial.source.check()
        with step_progress("training", at_most=options.steps is None) as on_step:
            cross_validate(trial, options.method, on_step, options.device)
    qualities = trial.read(options.method)
    ranked = [ItemQuality(item.name, item.class_name, qualities[item.name]) for item in trial.items]
    return prune(ranked, rule, options.method)


def _rule(
    options: FilterOptions, classes: Sequence[str], eligible: "Sequence[MaskSummary]"
) -> "Rule":
    from diffumask.noise.cutoffs import read_cut_offs
    from diffumask.noise.verdicts import DEFAULT_ALPHA, CutOffs, Proportion

    if options.min_iou is None and options.cutoffs is None:
        return Proportion(DEFAULT_ALPHA if options.alpha is None else options.alpha)
    lowest = {} if options.min_iou is None else dict.fromkeys(classes, options.min_iou)
    if options.cutoffs is not None:
        lowest |= read_cut_offs(Path(options.cutoffs), classes)
    rule = CutOffs(lowest)
    for item in eligible:
        rule.check(item.areas)
    return rule


def _apply(
    options: FilterOptions, trial: "Trial", rule: "Rule", verdicts: "Mapping[str, Verdict]"
) -> str:
    from diffumask.dataset.preview import write_preview
    from diffumask.dataset.store import open_store
    from diffumask.noise.view import kept_records, link_items, view_settings

    assert options.apply is not None
    source, out = trial.source, Path(options.apply)
    records = kept_records(source, _facts_by_name(verdicts, options.method))
    if not records:
        raise InputError(f"expected items that are kept for {out}, got none")
    described = {**asdict(rule), **asdict(options.gates()), **asdict(trial.settings)}
    settings = view_settings(source, records, described | {"method": options.method})
    notes = {"filtered_of": str(source.folder), "source_items": len(source)}
    with open_store(out, settings, source.classes, notes) as store:
        link_items(source, records, store)
        write_preview(store)
    return f"{counted(len(records), 'item')} in {out}"
