"""Does a checkpoint's attention know which word it is asked for? Figures, a verdict, a preset."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffumask.errors import InputError

from .batch_size import batch_size
from .doctor_options import DoctorOptions
from .model_options import introduce
from .progress import Advance, phase, progress
from .prompt_options import vocabulary_for
from .result import Result
from .use_case import use_case

if TYPE_CHECKING:  # they load torch and OpenCV
    from diffumask.masks.sources import MaskSource
    from diffumask.proof.reading import Picture, Read, Reading
    from diffumask.proof.verdict import Verdict
    from diffumask.sampling.settings import SampleSettings


@use_case(DoctorOptions)
def doctor(options: DoctorOptions) -> "Result[Verdict]":
    """Tell whether the attention of a model follows the words.

    The model draws prompts of two objects, and masks are compared with those of controls that know
    no text. Labelled pictures (for tiny rendered scenes) tell the text gain, and which settings are
    best: a preset for generate.

    Returns the verdict. Raises InputError for what the user can mend, and for a model whose
    attention cannot be read.
    """
    from .doctor_pictures import chosen_classes, labelled_pictures, prompted, rendered
    from .doctor_report import Examined, report

    options.refuse_foreign_files()
    vocabulary = vocabulary_for(options.vocabulary, options.model)
    entries = chosen_classes(options.classes, vocabulary)
    labelled = options.open_data(vocabulary)
    if options.out is not None and not (labelled or options.referee() or _has_scenes(options)):
        raise InputError("expected labelled pictures to choose a preset by, got none; name data")

    from diffumask.models import fingerprint

    spec = options.find_model(options.model)
    sampling = options.sampling(spec, negative_prompt=vocabulary.negative_prompt)
    introduce(spec, sampling)
    size_hw = sampling.height, sampling.width
    of = ""
    known: list[Picture] = []
    if labelled is not None:
        chosen = labelled_pictures(labelled, options.pictures, options.seed, vocabulary, size_hw)
        of, known = f"pictures of {labelled.folder}", _enough(list(chosen), labelled.folder)
    elif _has_scenes(options):
        of = "rendered scenes"
        known = list(rendered(entries, options.n, options.seed, vocabulary, size_hw))
    with phase(f"loading {spec.name}"):
        networks, eye = _networks(options), _eye(options, sampling)
    drawn = eye.draw(list(prompted(entries, options.n, options.seed, vocabulary, size_hw)))
    examined, referee = Examined(spec.name, fingerprint(spec), drawn, networks), options.referee()
    if known:
        examined = examined.with_truth(eye.look(known), of)
    elif referee is not None:
        reads = refereed(drawn, networks[referee])
        examined = examined.with_truth(reads, f"drawn pictures by {referee}")
    return report(options, examined)


@dataclass(frozen=True, slots=True)
class _Eye:
    """A loaded model that draws pictures and looks at others."""

    pipe: Any
    sampling: "SampleSettings"
    batch_size: int
    factors: Sequence[int]
    chooses: bool

    def draw(self, pictures: "Sequence[Picture]") -> "list[Read]":
        """Draw the pictures, and read them."""
        from diffumask.proof import reading

        ways = self._ways(observed=False)
        with progress("drawing", len(pictures), each="picture") as advance:
            return self._batches(
                pictures,
                lambda some: reading.draw(self.pipe, some, self.sampling, ways, advance.on_phase),
                advance,
            )

    def look(self, pictures: "Sequence[Picture]") -> "list[Read]":
        """Look at pictures with truth."""
        from diffumask.proof import reading
        from diffumask.sampling.decoding import in_single_precision

        ways = self._ways(observed=True)
        with (
            in_single_precision(self.pipe.vae),  # once for all
            progress("looking", len(pictures), each="picture") as advance,
        ):
            return self._batches(
                pictures, lambda some: reading.look(self.pipe, some, ways), advance
            )

    def _ways(self, observed: bool) -> "list[Reading]":
        from diffumask.proof.search import readings_for

        ways = readings_for(self.factors, observed)
        return ways if self.chooses else ways[:1]

    def _batches(
        self,
        pictures: "Sequence[Picture]",
        read: "Callable[[Sequence[Picture]], list[Read]]",
        advance: Advance,
    ) -> "list[Read]":
        from diffumask.sampling.sample import enough_memory

        found: list[Read] = []
        for start in range(0, len(pictures), self.batch_size):
            some = pictures[start : start + self.batch_size]
            with enough_memory(len(some), self.sampling):
                found += read(some)
            advance(len(some))
        return found


def _eye(options: DoctorOptions, sampling: "SampleSettings") -> _Eye:
    """Load the model, and find the grids of its attention."""
    from diffumask.models import load
    from diffumask.proof.reading import grids

    spec = options.find_model(options.model)
    size = batch_size(options, options.batch_size, spec, sampling)
    pipe = load(spec, options.device, options.dtype, options.loading)
    options.log_dtype(str(getattr(pipe, "dtype", "")).removeprefix("torch."))
    factors = grids(pipe, (sampling.height, sampling.width))
    return _Eye(pipe, sampling, size, factors, options.chooses)


def _networks(options: DoctorOptions) -> "dict[str, MaskSource]":
    from diffumask.masks.prompted import find_prompted

    return {name: find_prompted(name, options.device) for name in options.against}


def _has_scenes(options: DoctorOptions) -> bool:
    """Whether the model knows rendered scenes, and they can be rendered."""
    from diffumask.scenes.sprites import find_font

    return options.model == "tiny" and options.vocabulary is None and find_font() is not None


def _enough(pictures: "list[Picture]", folder: Path) -> "list[Picture]":
    if len(pictures) < 2:
        raise InputError(
            f"expected at least 2 pictures in {folder} with a class of the vocabulary on a fiftieth"
            f" of them, got {len(pictures)}; name another vocabulary or other classes"
        )
    return pictures


def refereed(reads: "Sequence[Read]", referee: "MaskSource") -> "list[Read]":
    """Take what a network sees for the truth, where it sees what is asked for."""
    from diffumask.proof.judging import truth_of

    found = []
    for read in reads:
        truth = truth_of(next(iter(read.samples.values())), referee)
        if (truth == 1).any():
            found.append(replace(read, picture=replace(read.picture, truth=truth)))
    return found
