"""`diffumask segmentator`: train a head on the VAE decoder, use it and judge it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from diffumask.api.labelled_options import check_ignore_values, read_classes
from diffumask.api.reports import ReportOptions
from diffumask.errors import InputError

from .progress import progress, step_progress
from .result import Result

if TYPE_CHECKING:  # they load torch
    from diffusers import AutoencoderKL

    from diffumask.labelled.folder import Labelled
    from diffumask.segmentator import Predictor
    from diffumask.segmentator.training import Trained, TrainSettings

SUFFIX = ".safetensors"
UNSEEN_LISTED = 10


@dataclass(frozen=True, slots=True)
class TrainRequest:
    """The options as typed; a `size` of None stands for that of the model."""

    data: Path
    out: Path
    model: str = "tiny"
    head: str = "pyramid"
    layout: str = "auto"
    split: str | None = None
    vocabulary: str | None = None
    classes: tuple[str, ...] = ()
    ignore_values: tuple[int, ...] = ()
    steps: int = 1000
    batch_size: int = 8
    learning_rate: float = 3e-3
    views: int = 6
    held_out: float = 0.15
    size: int | None = None
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.out.suffix != SUFFIX:
            raise InputError(f"expected -o FILE{SUFFIX}, got {self.out}")
        if not self.training.exists():
            self.refuse_taken()
        check_ignore_values(self.ignore_values)

    @property
    def training(self) -> Path:
        """The folder of what a training needs to go on."""
        return self.out.with_suffix(".training")

    def refuse_taken(self) -> None:
        """Raise InputError for a name that is taken."""
        for path in (self.out, self.out.with_suffix(".md")):
            if path.exists():
                raise InputError(f"expected a free name for the head, got {path}; choose another")


@dataclass(frozen=True, slots=True)
class EvaluateRequest:
    """The options as typed."""

    segmentator: Path
    data: Path
    layout: str = "auto"
    split: str | None = None
    out: Path | None = None
    plot: Path | None = None
    model: str | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        ReportOptions(out=self.out, plot=self.plot)


def train(request: TrainRequest) -> Result:
    """Train a head and write it, and return lines that say where and how good it is.

    What is needed to go on is in a folder beside it until it is done. Raises InputError for what
    the user can mend.
    """
    labelled = _open_for_training(request)

    from diffumask.models import load_autoencoder, resolve, vae_fingerprint
    from diffumask.segmentator import TrainSettings
    from diffumask.segmentator.file import save_new
    from diffumask.segmentator.heads import HEADS
    from diffumask.segmentator.training import training_folder
    from diffumask.training.state import step_reached

    if step_reached(request.training) < request.steps:  # else a kill came after the head
        request.refuse_taken()
    if request.head not in HEADS:
        raise InputError(f"expected --head {', '.join(HEADS)}, got {request.head!r}")
    spec = resolve(request.model)
    settings = TrainSettings(
        side=request.size or min(spec.height, spec.width),
        design=request.head,
        num_steps=request.steps,
        batch_size=request.batch_size,
        learning_rate=request.learning_rate,
        n_views=request.views,
        held_out=request.held_out,
        seed=request.seed,
        classes=request.classes,
    )
    vae = load_autoencoder(spec, request.device)
    of_vae = (spec.name, vae_fingerprint(spec))
    trained = _train(vae, labelled, settings, of_vae, request.training)
    save_new(trained.segmentator, vae, request.out)
    training_folder(request.training).finish()
    facts = {
        "file": request.out,
        "labels": list(trained.segmentator.facts.labels.names),
        "miou": None if trained.report is None else trained.report.miou,
        "unseen": list(trained.unseen),
        **trained.segmentator.facts.training,
    }
    return Result("\n".join([*_notes(trained), f"the head is in {request.out}"]), facts)


def predict(
    images: Sequence[Path], segmentator: Path, out: Path, model: str | None, device: str
) -> Result:
    """Write a mask for each image, and return a line that says where.

    Raises InputError for what the user can mend, before any mask is written.
    """
    from diffumask.dataset.encode import encode_class_map
    from diffumask.files.atomic import take_over, writing
    from diffumask.files.partial import partial_folder
    from diffumask.labelled.pixels import read_image, size_hw
    from diffumask.segmentator.features import check_size, factor_of

    paths = _images(images)
    taken = [out / f"{path.stem}.png" for path in paths if (out / f"{path.stem}.png").exists()]
    if taken:
        raise InputError(f"expected a folder without {taken[0].name}, got {out}; choose another")
    predictor = _predictor(segmentator, model, device)
    for path in paths:
        check_size(size_hw(path), factor_of(predictor.vae), f"{path} to be")
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        with partial_folder(out) as partial, progress(len(paths), 0) as advance:
            for path in paths:
                made = partial / f"{path.stem}.png"
                made.write_bytes(encode_class_map(predictor(read_image(path))))
                take_over(made, out / made.name)
                advance(1)
    return Result(f"{len(paths)} masks in {out}", {"folder": out, "masks": len(paths)})


def evaluate(request: EvaluateRequest) -> Result:
    """Compare a head with real masks, write what is asked for, and return the figures."""
    from diffumask.evaluation.compare import compare_network
    from diffumask.evaluation.report import make_report
    from diffumask.labelled.folder import open_labelled
    from diffumask.labelled.mapping import ClassSelection
    from diffumask.types import ClassIds

    reports = ReportOptions(out=request.out, plot=request.plot)
    reports.refuse_foreign_files()
    predictor = _predictor(request.segmentator, request.model, request.device)
    selection = ClassSelection(ClassIds(predictor.segmentator.facts.labels.ids))
    labelled = open_labelled(request.data, request.layout, request.split, selection)
    with progress(len(labelled), 0) as advance:
        report = make_report(compare_network(labelled, predictor, advance), labelled.mapping)
    facts = {
        "data": str(request.data),
        "layout": labelled.layout,
        "split": labelled.split,
        "segmentator": str(request.segmentator),
    }
    title = f"{request.segmentator.stem} on {request.data.name}: mIoU {report.miou:.3f}"
    written = reports.write_report(report, facts, title)
    return Result(written.text, written.facts)


def _open_for_training(request: TrainRequest) -> "Labelled":
    from diffumask.labelled.folder import open_labelled
    from diffumask.labelled.mapping import ClassSelection

    selection = ClassSelection(
        read_classes(request.vocabulary) if request.vocabulary else None,
        request.classes,
        frozenset(request.ignore_values),
    )
    return open_labelled(request.data, request.layout, request.split, selection)


def _train(
    vae: "AutoencoderKL",
    labelled: "Labelled",
    settings: "TrainSettings",
    of_vae: tuple[str, str],
    folder: Path,
) -> "Trained":
    from diffumask.segmentator import train_segmentator

    with step_progress(settings.num_steps) as on_step:
        return train_segmentator(vae, labelled, settings, of_vae, folder, on_step=on_step)


def _notes(trained: "Trained") -> list[str]:
    facts = trained.segmentator.facts
    lines = [f"trained on {facts.training['images']} images of {len(facts.labels.names)} labels"]
    if trained.report is not None:
        held_out = facts.training["validation_images"]
        lines.append(f"mIoU {trained.report.miou:.3f} on {held_out} held-out images")
    if trained.unseen and len(trained.unseen) <= UNSEEN_LISTED:
        lines.append(f"no mask shows {', '.join(trained.unseen)}: the head does not know them")
    return lines


def _predictor(segmentator: Path, model: str | None, device: str) -> "Predictor":
    from diffumask.models import load_autoencoder, resolve, vae_fingerprint
    from diffumask.segmentator import Predictor, load, read_facts

    spec = resolve(model or read_facts(segmentator).model)
    vae = load_autoencoder(spec, device)
    return Predictor(load(segmentator, vae, vae_fingerprint(spec)), vae)


def _images(sources: Sequence[Path]) -> list[Path]:
    """List image files and those of folders. Raises InputError for two of a name, and for none."""
    from diffumask.labelled.layouts import IMAGE_SUFFIXES

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
