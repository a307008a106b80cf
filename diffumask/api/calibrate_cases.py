"""What `calibrate` measures: curves of the masks of kept or newly sampled heat."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from diffumask.errors import InputError
from diffumask.plot import check_plot

from . import values
from .batch_size import batch_size
from .loading_options import LoadingOptions
from .model_options import SamplingOptions, introduce
from .option import Option, StrPath
from .progress import Advance, phase, progress, starting_torch
from .prompt_options import vocabulary_for

if TYPE_CHECKING:  # torch takes seconds to import, and a mistyped class should not
    from diffumask.calibration.cases import Case, Gathered
    from diffumask.calibration.file import Thresholds
    from diffumask.calibration.sampled import Job
    from diffumask.prompts.vocabulary import Vocabulary, VocabularyClass

MASKS = "masks:"


@dataclass(frozen=True, kw_only=True)
class CalibrateOptions(LoadingOptions):
    """The options of `calibrate`."""

    classes: Annotated[
        Sequence[str],
        Option("Class to calibrate; repeat for several.", name="class", values=values.classes),
    ]
    out: Annotated[StrPath, Option("Thresholds file (.json).")]
    reference: Annotated[
        str,
        Option(
            "What shows where objects are: masks:DIR or transformers:MODEL.",
            values=("masks:", "transformers:"),
        ),
    ]
    n: Annotated[int, Option("Most images of each class.", least=1)] = 50
    data: Annotated[
        StrPath | None,
        Option("Dataset that keeps its heat maps.", default="sample new images", read=True),
    ] = None
    model: Annotated[
        str | None,
        Option("As for generate.", default="tiny, or that of the data", values=values.models),
    ] = None
    vocabulary: Annotated[
        str | None, Option("As for generate.", default="by model", values=values.vocabularies)
    ] = None
    batch_size: Annotated[
        int | None, Option("Images at a time.", default="by model and free memory", least=1)
    ] = None
    seed: Annotated[int, Option("Seed of the images and of resampling.", least=0)] = 0
    plot: Annotated[
        StrPath | None, Option("Picture of the curves (.svg, .png).", default="none")
    ] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if Path(self.out).suffix != ".json":  # by which the threshold of `generate` knows it
            raise InputError(f"expected thresholds in FILE.json, got {self.out}")
        if self.plot is not None:
            check_plot(Path(self.plot))
        if self.data is None and self.reference.startswith(MASKS):
            raise InputError(
                "expected the dataset that the masks are of as data, got none; make it with "
                "generate, keeping maps"
            )
        loaded = {"model": self.model} if self.model is not None else self.describe_loading()
        for name, value in loaded.items():
            if self.data is not None:
                raise InputError(f"expected no {name} beside data, which has its own, got {value}")


def _as_measured(thresholds: "Thresholds") -> "Thresholds":
    return thresholds


@dataclass(frozen=True, slots=True)
class Measured:
    """The curves of all cases in every setting, and the model they are of.

    `finish` measures what thresholds make together, which curves tell where images have one class.
    """

    model: str
    checkpoint: str
    gathered: "Gathered"
    finish: "Callable[[Thresholds], Thresholds]" = _as_measured


def measure_kept(options: CalibrateOptions) -> Measured:
    """Compare the masks of a dataset's kept heat maps with the reference."""
    from diffumask.calibration.cases import as_shipped, gather
    from diffumask.calibration.kept import kept_cases, kept_settings
    from diffumask.calibration.references import Known, find_reference
    from diffumask.dataset.listing import read_records
    from diffumask.dataset.run import read_run

    assert options.data is not None
    folder = Path(options.data)
    run = read_run(folder)
    class_ids, model = run.classes, run.setting("model")
    if not run.keeps_maps:
        raise InputError(f"expected a dataset made with keep_maps, got {folder}; make it so")
    aliases = _aliases(options, run.setting("vocabulary"), class_ids)
    for name in aliases:
        if name not in class_ids:
            raise InputError(f"expected classes of {folder} ({', '.join(class_ids)}), got {name!r}")
    items = frozenset(record.name for record in read_records(folder))
    known = Known(class_ids, aliases, items, options.device)
    reference = find_reference(options.reference, known)
    names, settings = list(aliases), kept_settings(run)
    gathered = gather(kept_cases(folder, settings, names, options.n), reference, names)

    def finish(thresholds: "Thresholds") -> "Thresholds":
        cases = kept_cases(folder, [thresholds.setting], names, options.n)
        return as_shipped(thresholds, cases, reference)

    return Measured(model, run.setting("checkpoint"), gathered, finish)


def _aliases(
    options: CalibrateOptions, vocabulary: str, known: Mapping[str, int]
) -> dict[str, tuple[str, ...]]:
    """Return the wanted classes with their other names; without those if it is another's file."""
    from diffumask.prompts.classes import Classes
    from diffumask.prompts.vocabulary import load_vocabulary, vocabulary_names

    if options.vocabulary is None and vocabulary not in vocabulary_names():
        return dict.fromkeys(options.classes, ())
    classes = Classes(load_vocabulary(options.vocabulary or vocabulary), known)
    return {name: one.known_as for name, one in classes.find_all(options.classes).items()}


def measure_new(options: CalibrateOptions) -> Measured:
    """Sample the items that `generate` would make, and compare their masks with the reference."""
    from diffumask.prompts.classes import Classes

    model = options.model or "tiny"
    words = vocabulary_for(options.vocabulary, model)
    entries = Classes(words).find_all(options.classes)

    from diffumask.calibration.cases import gather
    from diffumask.calibration.references import Known, check_reference, find_reference
    from diffumask.models import fingerprint

    check_reference(options.reference)
    spec = options.find_model(model)
    with starting_torch():
        from diffumask.calibration.sampled import sampled_cases
        from diffumask.models import load

    class_ids = {name: entry.class_id for name, entry in entries.items()}
    aliases = {name: entry.known_as for name, entry in entries.items()}
    known = Known(class_ids, aliases, frozenset(), options.device)
    reference = find_reference(options.reference, known)
    sampling = SamplingOptions().sampling(spec, negative_prompt=words.negative_prompt)
    introduce(spec, sampling)
    size = batch_size(options, options.batch_size, spec, sampling)
    with phase(f"loading {spec.name}"):
        pipe = load(spec, options.device, options.dtype, options.loading)
    options.log_dtype(str(pipe.dtype).removeprefix("torch."))
    jobs = _jobs(options, words, entries)
    with progress("images", options.n * len(entries), each="image") as advance:
        cases = sampled_cases(pipe, jobs, sampling, size, advance.on_phase)
        gathered = gather(_counted(cases, advance), reference, list(entries))
    return Measured(spec.name, fingerprint(spec), gathered)


def _jobs(
    options: CalibrateOptions, words: "Vocabulary", entries: "Mapping[str, VocabularyClass]"
) -> "Iterator[Job]":
    from diffumask.calibration.sampled import Job
    from diffumask.generation.plan import plan
    from diffumask.prompts.build import build_for

    for item in plan(list(entries), options.n, options.seed):
        prompt = build_for(words, entries[item.class_name], item.seed)
        yield Job(item.name, prompt, item.seed)


def _counted(cases: "Iterable[Case]", advance: Advance) -> "Iterator[Case]":
    for case in cases:
        yield case
        advance(1)
