"""`diffumask calibrate`: find the threshold of each class that a reference agrees with best."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from diffumask.errors import InputError
from diffumask.prompts.build import build_for
from diffumask.prompts.classes import Classes
from diffumask.prompts.vocabulary import (
    Vocabulary,
    VocabularyClass,
    load_vocabulary,
    vocabulary_names,
)

from .generate import Request as GenerateRequest
from .generate import introduction, resolved_settings
from .maker import tell_dtype
from .progress import Advance, progress
from .prompts import resolved_vocabulary
from .result import Result

if TYPE_CHECKING:  # torch takes seconds to import, and a mistyped class should not
    from diffumask.calibration.cases import Case, Combination, Gathered
    from diffumask.calibration.fit import ClassThreshold
    from diffumask.calibration.sampled import Job
    from diffumask.generation.pipeline import GenerateSettings
    from diffumask.models import ModelSpec

AFFINITY, MASKS = "affinity", "masks:"


@dataclass(frozen=True, slots=True)
class Request:
    """The options as typed; a model of None is tiny, or that of the dataset `data`."""

    classes: Sequence[str]
    n: int
    out: Path
    model: str | None = None
    vocabulary: str | None = None
    data: Path | None = None
    reference: str = AFFINITY
    batch_size: int | None = None
    seed: int = 0
    plot: Path | None = None
    device: str = "auto"
    dtype: str = "auto"

    def __post_init__(self) -> None:
        if self.n < 1:
            raise InputError(f"expected --n of 1 or more, got {self.n}")
        if self.out.suffix != ".json":  # by which `generate --threshold` knows it
            raise InputError(f"expected --out FILE.json, got {self.out}")
        if self.plot is not None and self.plot.suffix != ".svg":
            raise InputError(f"expected --plot FILE.svg, got {self.plot}")
        if self.data is None and self.reference.startswith(MASKS):
            raise InputError(
                "expected --data with the dataset that the masks are of, got none; make it with "
                "diffumask generate --keep-maps"
            )
        if self.data is not None and self.model is not None:
            raise InputError(
                f"expected no --model beside --data, got {self.model!r}; a dataset has its own"
            )


@dataclass(frozen=True, slots=True)
class Measured:
    """The curves of all cases in every combination, and the model they are of."""

    model: str
    checkpoint: str
    gathered: "Gathered"


def run(request: Request) -> Result:
    """Write the thresholds, and return them as a table with a line that says where they are.

    Raises InputError for what the user can mend, before the work where that can be known, and for
    a class without a threshold, once those of other classes are written.
    """
    from diffumask.calibration.file import Thresholds, write_thresholds
    from diffumask.calibration.fit import fit

    _refuse_foreign(request.out)
    measured = _measure_kept(request, request.data) if request.data else _measure_new(request)
    gathered = measured.gathered
    found = fit(gathered.curves, gathered.left_out, request.seed)
    way, model, reference = gathered.combinations[found.setting], measured.model, request.reference
    made = (way.merge, way.weights, way.heat)
    write_thresholds(
        request.out, Thresholds(model, measured.checkpoint, *made, reference, found.classes)
    )
    if request.plot:
        title = f"IoU against threshold, {model}, reference {reference}"
        _draw(request.plot, title, found.classes)
    for name, reason in found.refused.items():
        raise InputError(f"{name}: {reason}; the thresholds of other classes are in {request.out}")
    keys = ("threshold", "low", "high", "iou", "n", "left_out")
    facts = {
        "file": request.out,
        "heat": way.heat,
        "merge": way.merge,
        "classes": {
            name: {k: getattr(one, k) for k in keys} for name, one in found.classes.items()
        },
    }
    text = f"{table(found.classes)}\n{_describe(way)}\nthresholds are in {request.out}"
    return Result(text, facts)


def table(classes: "Mapping[str, ClassThreshold]") -> str:
    """Lay the thresholds out in columns."""
    width = max(len("class"), *map(len, classes))
    lines = [f"{'class':{width}}  threshold  95 % interval  IoU   items  left out"]
    lines += [
        f"{name:{width}}  {one.threshold:<9.2f}  {one.low:.2f} to {one.high:.2f}   {one.iou:.2f}"
        f"  {one.n:<5}  {one.left_out}"
        for name, one in classes.items()
    ]
    return "\n".join(lines)


def _measure_kept(request: Request, folder: Path) -> Measured:
    """Compare the kept heat maps of a dataset with the reference."""
    from diffumask.calibration.cases import ATTENTION, gather, kept_cases, kept_combinations
    from diffumask.calibration.references import Known, find_reference
    from diffumask.dataset.items import read_records
    from diffumask.dataset.store import read_run

    run = read_run(folder)
    class_ids, model = run.classes, run.setting("model")
    if not run.keeps_maps:
        raise InputError(f"expected a dataset made with --keep-maps, got {folder}; make it so")
    aliases = _aliases(request, run.setting("vocabulary"), class_ids)
    for name in aliases:
        if name not in class_ids:
            raise InputError(f"expected classes of {folder} ({', '.join(class_ids)}), got {name!r}")
    items = frozenset(record.name for record in read_records(folder))
    known = Known(class_ids, aliases, items, request.device)
    reference = find_reference(request.reference, known)
    ways = kept_combinations(run)
    if request.reference == AFFINITY:  # would favour itself
        ways = [way for way in ways if way.heat == ATTENTION]
    cases = kept_cases(folder, ways, list(aliases), request.n)
    gathered = gather(cases, reference, list(aliases))
    return Measured(model, run.setting("checkpoint"), gathered)


def _aliases(
    request: Request, vocabulary: str, known: Mapping[str, int]
) -> dict[str, tuple[str, ...]]:
    """Return the wanted classes with their other names; without those if it is another's file."""
    if request.vocabulary is None and vocabulary not in vocabulary_names():
        return dict.fromkeys(request.classes, ())
    classes = Classes(load_vocabulary(request.vocabulary or vocabulary), known)
    return {entry.name: entry.known_as for entry in map(classes.find, request.classes)}


def _measure_new(request: Request) -> Measured:
    """Sample the items that `generate` would make, and compare their heat with the reference."""
    model = request.model or "tiny"
    words = resolved_vocabulary(request.vocabulary, model)
    entries = {entry.name: entry for entry in map(Classes(words).find, request.classes)}

    from diffumask.calibration.cases import gather
    from diffumask.calibration.references import Known, find_reference
    from diffumask.calibration.sampled import sampled_cases
    from diffumask.models import fingerprint, load, resolve

    spec = resolve(model)
    class_ids = {name: entry.class_id for name, entry in entries.items()}
    aliases = {name: entry.known_as for name, entry in entries.items()}
    known = Known(class_ids, aliases, frozenset(), request.device)
    reference = find_reference(request.reference, known)
    settings = _settings(request, spec, words)
    print(introduction(spec, settings), file=sys.stderr)
    pipe = load(spec, request.device, request.dtype)
    tell_dtype(request.dtype, str(pipe.dtype).removeprefix("torch."))
    jobs = _jobs(request, words, entries)
    # The affinity is made from the attention of the default, and so would favour that.
    combine_all = request.reference != AFFINITY
    cases = sampled_cases(pipe, jobs, settings.sampling, settings.batch_size, combine_all)
    with progress(request.n * len(entries), 0) as advance:
        gathered = gather(_counted(cases, advance), reference, list(entries))
    return Measured(spec.name, fingerprint(spec), gathered)


def _settings(request: Request, spec: "ModelSpec", words: Vocabulary) -> "GenerateSettings":
    """Sample as `generate` does by default."""
    as_generate = GenerateRequest(request.classes, request.n, batch_size=request.batch_size)
    return resolved_settings(as_generate, spec, words)


def _jobs(
    request: Request, words: Vocabulary, entries: Mapping[str, VocabularyClass]
) -> "Iterator[Job]":
    from diffumask.calibration.sampled import Job
    from diffumask.generation.plan import plan

    for item in plan(list(entries), request.n, request.seed):
        prompt = build_for(words, entries[item.class_name], item.seed)
        yield Job(item.name, prompt, item.seed)


def _counted(cases: "Iterable[Case]", advance: Advance) -> "Iterator[Case]":
    for case in cases:
        yield case
        advance(1)


def _refuse_foreign(out: Path) -> None:
    """Raise InputError if the file exists and is none of ours."""
    from diffumask.calibration.file import read_thresholds

    if out.exists():
        try:
            read_thresholds(out)
        except InputError as error:
            raise InputError(f"{error}; choose another --out") from error


def _describe(combination: "Combination") -> str:
    grids = "the default grids"
    if combination.weights is not None:
        grids = f"grids of 1/{', 1/'.join(map(str, combination.weights))} of the latents"
    return f"heat maps: {combination.heat}, {combination.merge} of a word's tokens, {grids}"


def _draw(path: Path, title: str, classes: "Mapping[str, ClassThreshold]") -> None:
    from diffumask.calibration.plot import draw_curves
    from diffumask.files.atomic import writing

    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(draw_curves(title, classes), "utf-8")
