"""Train a head on labelled images, the autoencoder being frozen."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from diffumask.errors import InputError
from diffumask.evaluation.compare import compare_network
from diffumask.evaluation.report import Report, make_report
from diffumask.files.atomic import write_file
from diffumask.files.json_kinds import parse
from diffumask.files.lock import LOCK_FILE
from diffumask.files.partial import is_partial
from diffumask.labelled.folder import Labelled
from diffumask.training import (
    STATE_FILE,
    Schedule,
    cut_back,
    folder_held,
    log_line,
    step_reached,
    train,
)
from diffumask.types import IGNORE_ID

from .examples import LATENTS_FILE, Examples, encode_examples, held_out
from .features import decoded_states, factor_of
from .file import Facts, Segmentator, card_path, save
from .heads import DEFAULT_HEAD, new_head, reduced
from .labels import find_labels
from .predict import Predictor

SETTINGS_FILE, VALIDATION_FILE = "settings.json", "validation.jsonl"
CHECKPOINT_FILE = "checkpoint.safetensors"
CALIBRATION_IMAGES = 16
DICE_SMOOTHING = 1.0


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
    on_step: Callable[[int], None] = lambda step: None,
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
    identity = {**asdict(settings), "data": _identity(labelled, facts)}
    with folder_held(folder):
        _continue(folder, identity)
        examples = encode_examples(
            vae, chosen, labels, settings.n_views, settings.side, settings.seed, folder, on_encoded
        )
        head = new_head(settings.design, vae, len(labels.ids), settings.seed)
        head.calibrate(_whole_states(vae, examples))
        at_checkpoints = _Validation(
            Segmentator(head, facts), vae, validating, folder, time.perf_counter()
        )

        def loss_at(step: int) -> Float[Tensor, ""]:
            latents, truth = examples.batch(step, settings.batch_size, settings.seed)
            states = decoded_states(vae, latents.to(vae.device))
            logits = head(reduced(head, states))
            return torch.stack([loss(one, truth.to(vae.device)) for one in logits]).mean()

        train(head, loss_at, _schedule(settings), folder, at_checkpoints, on_step)
    known = at_checkpoints.reports.get(settings.num_steps)
    report = known or validate(at_checkpoints.one, vae, validating)
    facts = replace(facts, training=_training_facts(settings, chosen, validating, report))
    unseen = tuple(n for n in labelled.mapping.names.values() if n not in labels.names)
    return Trained(Segmentator(head.eval(), facts), report, unseen)


@dataclass(slots=True)
class _Validation:
    """Called at checkpoints: judges the head as it is and writes that, and it, to the folder."""

    one: Segmentator
    vae: AutoencoderKL
    images: Labelled
    folder: Path | None
    started: float
    reports: dict[int, Report | None] = field(default_factory=dict)

    def __call__(self, step: int) -> None:
        report = self.reports[step] = validate(self.one, self.vae, self.images)
        if self.folder is None:
            return
        save(self.one, self.vae, self.folder / CHECKPOINT_FILE)
        line = {
            "step": step,
            "miou": None if report is None else round(report.miou, 5),
            "seconds": round(time.perf_counter() - self.started, 1),
        }
        log_line(self.folder, VALIDATION_FILE, line)


def finish(folder: Path) -> None:
    """Remove what only a training that goes on needs; its settings and figures stay.

    The state goes last: as long as it is there, a kill leaves a training that can be finished.
    """
    for name in (LATENTS_FILE, CHECKPOINT_FILE, card_path(Path(CHECKPOINT_FILE)).name, STATE_FILE):
        (folder / name).unlink(missing_ok=True)


def split(labelled: Labelled, share: float) -> tuple[Labelled, Labelled]:
    """Return the images to train on and those held out; a share of 0 holds none out.

    Raises InputError for a single image of which some must be held out.
    """
    names = tuple(pair.name for pair in labelled.pairs)
    if share and len(names) < 2:
        raise InputError(
            f"expected at least 2 labelled images, one of them to validate, got {len(names)} in "
            f"{labelled.folder}; add some"
        )
    out = held_out(names, share) if share else [False] * len(names)
    trained = tuple(pair for pair, is_out in zip(labelled.pairs, out, strict=True) if not is_out)
    kept = tuple(pair for pair, is_out in zip(labelled.pairs, out, strict=True) if is_out)
    return replace(labelled, pairs=trained), replace(labelled, pairs=kept)


def validate(one: Segmentator, vae: AutoencoderKL, labelled: Labelled) -> Report | None:
    """Compare a head with real masks; None without any."""
    if not len(labelled):
        return None
    counts = compare_network(labelled, Predictor(one, vae), lambda count: None)
    return make_report(counts, labelled.mapping)


def loss(logits: Float[Tensor, "b label h w"], truth: Int64[Tensor, "b h w"]) -> Float[Tensor, ""]:
    """Return cross-entropy plus the Dice loss of the labels that are there; 255 does not count.

    A batch without a pixel that counts costs 0.
    """
    known = (truth != IGNORE_ID)[:, None]
    labels = truth.masked_fill(~known[:, 0], 0)
    costs = functional.cross_entropy(logits, labels, reduction="none")[:, None]
    cross_entropy = (costs * known).sum() / known.sum().clamp(min=1)
    one_hot = functional.one_hot(labels, logits.shape[1]).movedim(-1, 1) * known
    predicted = logits.softmax(1) * known
    sizes = one_hot.sum((0, 2, 3))
    both = (predicted * one_hot).sum((0, 2, 3))
    total = predicted.sum((0, 2, 3)) + sizes
    dice = 1 - (2 * both + DICE_SMOOTHING) / (total + DICE_SMOOTHING)
    present = sizes > 0
    return cross_entropy + (dice * present).sum() / present.sum().clamp(min=1)


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
    return {
        "images": [pair.name for pair in labelled.pairs],
        "ids": list(facts.labels.ids),
        "vae_fingerprint": facts.vae_fingerprint,
    }


def _continue(folder: Path | None, settings: dict[str, Any]) -> None:
    """Write the settings of a new training, or check that a stopped one had the same.

    They can change as long as no step is kept.
    """
    if folder is None:
        return
    path = folder / SETTINGS_FILE
    cut_back(folder, VALIDATION_FILE, step_reached(folder))
    if not (folder / STATE_FILE).exists():
        there = {one.name for one in folder.iterdir() if not is_partial(one.name)}
        if not path.exists() and there - {LOCK_FILE}:
            raise InputError(f"expected an empty folder for the training, got {folder}; move it")
        if _read_settings(path) != json.loads(json.dumps(settings)):
            (folder / LATENTS_FILE).unlink(missing_ok=True)
        write_file(path, json.dumps(settings).encode())
        return
    earlier = _read_settings(path)
    if earlier is None:
        raise InputError(
            f"expected the settings of a training in {path}, got none that are whole; choose "
            "another -o"
        )
    settings = json.loads(json.dumps(settings))  # as it was written
    changed = sorted(key for key in settings if settings[key] != earlier.get(key))
    if changed:
        raise InputError(
            f"expected the settings that {folder} was begun with, got another "
            f"{', '.join(changed)}; repeat the old ones or choose another -o"
        )


def _read_settings(path: Path) -> dict[str, Any] | None:
    try:
        found = parse(path.read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


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
