"""Train a head on labelled images, the autoencoder being frozen."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from jaxtyping import Float
from torch import Tensor

from diffumask.errors import InputError
from diffumask.evaluation.report import Report
from diffumask.labelled.folder import Labelled
from diffumask.training import Schedule, train
from diffumask.training.folder import TrainingFolder, digest
from diffumask.training.log import cut_back
from diffumask.training.state import step_reached
from diffumask.types import OnStep, unseen_step

from .examples import LATENTS_FILE, Examples, encode_examples
from .features import decoded_states, factor_of
from .file import Facts, Segmentator, card_path
from .heads import DEFAULT_HEAD, new_head, reduced
from .labels import find_labels
from .loss import loss
from .validation import CHECKPOINT_FILE, VALIDATION_FILE, Validation, split

MADE_BY = "diffumask segmentator train"
SCRATCH_FILES = (LATENTS_FILE, CHECKPOINT_FILE, card_path(Path(CHECKPOINT_FILE)).name)
CALIBRATION_IMAGES = 16


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """How to train; `n_views` versions of each image are encoded, and kept.

    `side` is the shorter side, in pixels, that images are brought to. `held_out` is the share of
    the images that only validate, chosen by a hash of their names. `classes` must be in the masks.
    """

    side: int
    design: str = DEFAULT_HEAD
    num_steps: int = 1000
    batch_size: int = 8
    learning_rate: float = 3e-3
    n_views: int = 6
    held_out: float = 0.15
    validations: int = 5
    seed: int = 0
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("side", "num_steps", "batch_size", "n_views", "validations"):
            if getattr(self, name) < 1:
                raise InputError(f"expected {name} of 1 or more, got {getattr(self, name)}")
        if not 0 <= self.held_out < 1:
            raise InputError(f"expected a held-out share in [0, 1), got {self.held_out}")
        if not self.learning_rate > 0:
            raise InputError(f"expected a learning rate above 0, got {self.learning_rate}")


@dataclass(frozen=True, slots=True)
class Trained:
    """A head, what it reaches on the held-out images, and the classes that no mask showed."""

    segmentator: Segmentator
    report: Report | None
    unseen: tuple[str, ...]


def train_segmentator(
    vae: AutoencoderKL,
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
    facts = Facts(settings.design, labels, *of_vae, settings.side)
    identity = {**asdict(settings), **_identity(labelled, facts)}
    place = training_folder(folder) if folder else None
    with place.held(identity) if place else nullcontext():
        if folder:
            cut_back(folder, VALIDATION_FILE, step_reached(folder))
        examples = encode_examples(
            vae, chosen, labels, settings.n_views, settings.side, settings.seed, folder, on_encoded
        )
        head = new_head(settings.design, vae, len(labels), settings.seed)
        head.calibrate(_whole_states(vae, examples))
        validation = Validation(Segmentator(head, facts), vae, validating, folder)

        def loss_at(step: int) -> Float[Tensor, ""]:
            latents, truth = examples.batch(step, settings.batch_size, settings.seed)
            states = decoded_states(vae, latents.to(vae.device))
            logits = head(reduced(head, states))
            return torch.stack([loss(one, truth.to(vae.device)) for one in logits]).mean()

        train(head, loss_at, _schedule(settings), folder, validation, on_step)
    report = validation.report(settings.num_steps)
    facts = replace(facts, training=_training_facts(settings, chosen, validating, report))
    unseen = tuple(n for n in labelled.mapping.names.values() if n not in labels.names)
    return Trained(Segmentator(head.eval(), facts), report, unseen)


def training_folder(folder: Path) -> TrainingFolder:
    """Return the folder of a training, whose encodings and last head go when it is finished."""
    return TrainingFolder(folder, MADE_BY, SCRATCH_FILES)


def _schedule(settings: TrainSettings) -> Schedule:
    return Schedule(
        settings.num_steps,
        settings.learning_rate,
        warmup_steps=max(1, settings.num_steps // 20),
        decay_share=0.5,
        log_every=min(25, settings.num_steps),
        checkpoint_every=max(1, -(-settings.num_steps // settings.validations)),
    )


def _whole_states(vae: AutoencoderKL, examples: Examples) -> list[Tensor | None]:
    first = examples.latents[:CALIBRATION_IMAGES, -1]
    return decoded_states(vae, first.to(vae.device))


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
