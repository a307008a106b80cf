"""Train a head on labelled images, the autoencoder being frozen."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from diffumask.errors import InputError
from diffumask.evaluation.report import Report
from diffumask.files.partial import partial_folder
from diffumask.labelled.folder import Labelled
from diffumask.training import Schedule, train
from diffumask.training.folder import TrainingFolder, digest
from diffumask.training.log import cut_back
from diffumask.training.state import step_reached
from diffumask.types import OnStep, unseen_step

from .examples import LATENTS_FILE, Examples, encode_examples
from .features import Autoencoder, decoded_states, factor_of
from .file import Facts, Segmentator, card_path
from .heads import DEFAULT_HEAD, new_head, reduced
from .kept import KeptStates, has_room
from .labels import find_labels
from .loss import loss
from .validation import CHECKPOINT_FILE, VALIDATION_FILE, Validation, earlier_scores, split

MADE_BY = "diffumask segmentator train"
SCRATCH_FILES = (LATENTS_FILE, CHECKPOINT_FILE, card_path(Path(CHECKPOINT_FILE)).name)
CALIBRATION_IMAGES = 16
MOST_STEPS = 3000
PIXELS_AT_ONCE = 4 * 512 * 512  # whose hidden states take 2.3 GB of an autoencoder of SD
PATIENCE = 8  # means of 25 losses


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """How to train; `n_views` versions of each image are encoded, and kept.

    Without `num_steps` a training goes on until validations, one each `validate_every` steps, get
    no better, or without images held out the loss; at most for MOST_STEPS.
    `side` is the shorter side, in pixels, that images are brought to. `held_out` is the share of
    the images that only validate, chosen by a hash of their names. `classes` must be in the masks;
    if `class_agnostic` the head learns what is an object of any, and the prompt will name it.
    """

    side: int
    design: str = DEFAULT_HEAD
    num_steps: int | None = None
    batch_size: int = 16
    learning_rate: float = 3e-3
    n_views: int = 6
    held_out: float = 0.15
    validate_every: int = 100
    seed: int = 0
    classes: tuple[str, ...] = ()
    class_agnostic: bool = False

    def __post_init__(self) -> None:
        for name in ("side", "num_steps", "batch_size", "n_views", "validate_every"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"expected {name} of 1 or more, got {value}")
        if not 0 <= self.held_out < 1:
            raise InputError(f"expected a held-out share in [0, 1), got {self.held_out}")
        if not self.learning_rate > 0:
            raise InputError(f"expected a learning rate above 0, got {self.learning_rate}")

    @property
    def images_at_once(self) -> int:
        """How many images of a step have their hidden states in memory, a divisor of them all."""
        parts = range(1, self.batch_size + 1)
        sizes = [self.batch_size // n for n in parts if self.batch_size % n == 0]
        return next((one for one in sizes if one * self.side**2 <= PIXELS_AT_ONCE), 1)


@dataclass(frozen=True, slots=True)
class Trained:
    """A head, what it reaches on the held-out images, and the classes that no mask showed."""

    segmentator: Segmentator
    report: Report | None
    unseen: tuple[str, ...]


def train_segmentator(
    vae: Autoencoder,
    labelled: Labelled,
    settings: TrainSettings,
    of_vae: tuple[str, str],
    folder: Path | None = None,
    on_encoded: Callable[[int], None] = lambda count: None,
    on_step: OnStep = unseen_step,
) -> Trained:
    """Train a head for the autoencoder, which must be frozen; `of_vae`: its model, fingerprint.

    With a folder a stopped training goes on there, each validation leaves a line and a head that
    works. The same settings and data give the same head on the same machine. Raises InputError
    for a folder of other settings or data, for what is wrong with the data, and for a loss that is
    not finite, after which the folder keeps the last head.
    """
    factor = factor_of(vae)
    settings = replace(settings, side=max(factor, settings.side // factor * factor))
    chosen, validating = split(labelled, settings.held_out)
    labels = find_labels(chosen, range(len(chosen)), settings.classes)
    unseen = tuple(n for n in labelled.mapping.names.values() if n not in labels.names)
    if settings.class_agnostic:
        chosen, validating = chosen.as_objects(), validating.as_objects()
        labels = find_labels(chosen, range(len(chosen)))
    facts = Facts(
        settings.design, labels, *of_vae, settings.side, class_agnostic=settings.class_agnostic
    )
    identity = {**asdict(settings), **_identity(labelled, facts)}
    place = training_folder(folder) if folder else None
    with place.held(identity) if place else nullcontext():
        if folder:
            cut_back(folder, VALIDATION_FILE, step_reached(folder))
        examples = encode_examples(
            vae, chosen, labels, settings.n_views, settings.side, settings.seed, folder, on_encoded
        )
        head = new_head(settings.design, vae, len(labels), settings.seed)
        earlier = earlier_scores(folder) if folder else {}
        validation = Validation(Segmentator(head, facts), vae, validating, folder, earlier)
        num_steps = _fit(examples, settings, validation, on_step)
    report = validation.report(num_steps)
    done = replace(settings, num_steps=num_steps)
    facts = replace(facts, training=_training_facts(done, chosen, validating, report))
    return Trained(Segmentator(head.eval(), facts), report, unseen)


def _fit(
    examples: Examples, settings: TrainSettings, validation: Validation, on_step: OnStep
) -> int:
    """Train the head that the validation looks at; return how many steps that took."""
    head, vae, folder = validation.segmentator.head, validation.vae, validation.folder
    whole = decoded_states(vae, examples.latents[:CALIBRATION_IMAGES, -1].to(vae.device))
    head.calibrate(whole)

    def on_checkpoint(step: int) -> bool:
        return validation(step) and settings.num_steps is None

    keeps = folder is not None and has_room(folder, examples, whole)
    with partial_folder(folder) if folder and keeps else nullcontext() as room:
        states_of = KeptStates(vae, examples, room)

        def loss_at(part: int) -> Float[Tensor, ""]:
            views = examples.draw(part, settings.images_at_once, settings.seed)
            truth = examples.labels_of(views).to(vae.device)
            logits = head(reduced(head, states_of(views)))
            return torch.stack([loss(one, truth) for one in logits]).mean()

        schedule = _schedule(settings, by_loss=not len(validation.images))
        return train(head, loss_at, schedule, folder, on_checkpoint, on_step)


def training_folder(folder: Path) -> TrainingFolder:
    """Return the folder of a training, whose encodings and last head go when it is finished."""
    return TrainingFolder(folder, MADE_BY, SCRATCH_FILES)


def _schedule(settings: TrainSettings, by_loss: bool) -> Schedule:
    num_steps = settings.num_steps or MOST_STEPS
    return Schedule(
        num_steps,
        settings.learning_rate,
        warmup_steps=max(1, min(50, num_steps // 20)),
        log_every=min(25, num_steps),
        checkpoint_every=min(settings.validate_every, num_steps),
        accumulation_steps=settings.batch_size // settings.images_at_once,
        patience=PATIENCE if by_loss and settings.num_steps is None else None,
    )


def _identity(labelled: Labelled, facts: Facts) -> dict[str, Any]:
    """Name what a head depends on beside the settings of the training."""
    return {
        "images": digest(pair.name for pair in labelled.pairs),
        "labels": list(facts.labels.class_ids),
        "vae_fingerprint": facts.vae_fingerprint,
    }


def _training_facts(
    settings: TrainSettings, chosen: Labelled, validating: Labelled, report: Report | None
) -> dict[str, Any]:
    return {
        "data": chosen.folder.resolve().name,
        "layout": chosen.layout,
        "images": len(chosen),
        "validation_images": len(validating),
        "validation_miou": None if report is None else round(report.miou, 4),
        "steps": settings.num_steps,
        "batch_size": settings.batch_size,
        "learning_rate": settings.learning_rate,
        "views_of_an_image": settings.n_views,
        "seed": settings.seed,
    }
