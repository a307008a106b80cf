"""Training of the network on pairs of sure cells that lie near each other."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from diffumask.errors import InputError
from diffumask.training import Schedule, train
from diffumask.training.folder import TrainingFolder
from diffumask.types import BACKGROUND_ID, IGNORE_ID, GridHeat, Image, OnStep, unseen_step

from .checkpoint import WEIGHTS_FILE, AffinityNet, Facts, load, save
from .examples import augmented, sure_examples
from .network import AffinityNetwork, NetworkConfig, Offset, distances, half_disc, pair_slices
from .seeds import SeedSettings

MADE_BY = "diffumask affinity train"
NEAREST = 1e-4  # distance below which two cells of different labels cost no more
KINDS = {"background": 0.25, "object": 0.25, "different": 0.5}


@dataclass(frozen=True, slots=True)
class AffinitySettings:
    """How to train. The same seed and input give the same network on the same machine."""

    num_steps: int = 300
    batch_size: int = 16
    learning_rate: float = 2e-3
    weight_decay: float = 5e-4
    warmup_share: float = 0.05
    seed: int = 0
    device: str = "cpu"
    seeds: SeedSettings = field(default_factory=SeedSettings)
    network: NetworkConfig = field(default_factory=NetworkConfig)

    def __post_init__(self) -> None:
        for name in ("num_steps", "batch_size"):
            if getattr(self, name) < 1:
                raise InputError(f"expected {name} of 1 or more, got {getattr(self, name)}")

    def schedule(self) -> Schedule:
        """The pace: a linear warm-up, then a linear decay to 0; the last weights, not a mean."""
        warmup_steps = max(1, round(self.warmup_share * self.num_steps))
        return Schedule(
            self.num_steps,
            self.learning_rate,
            warmup_steps=warmup_steps,
            decay_share=max(1, self.num_steps - warmup_steps) / self.num_steps,
            ema_decay=0.0,
            weight_decay=self.weight_decay,
            max_grad_norm=math.inf,
            log_every=10,
            checkpoint_every=50,
        )


def train_affinity(
    images: Sequence[Image],
    heats: Sequence[Mapping[str, GridHeat]],
    settings: AffinitySettings = AffinitySettings(),
    folder: Path | None = None,
    on_step: OnStep = unseen_step,
) -> AffinityNet:
    """Train a network on images of one size and the heat maps, of any size, of their words.

    The network knows no classes: it may be trained on one or on several. Nothing but the heat
    maps tells it what is object. With a folder the network is written there, as by `save`; a
    training that was stopped goes on, and one that is finished is read. `on_step` is told the
    number of steps done in all, and of how many. Raises `InputError` for images of several
    sizes, for heat that is not finite, where no image has sure cells, for a loss that is not
    finite, and for a folder of other settings or data.
    """
    place = TrainingFolder(folder, MADE_BY, product=folder / WEIGHTS_FILE) if folder else None
    identity = _identity(images, heats, settings) if place else {}
    if place and place.is_finished(identity):
        on_step(settings.num_steps, settings.num_steps)
        return load(place.path)
    examples = sure_examples(images, heats, settings.seeds, settings.network.side)
    with place.held(identity) if place else nullcontext():
        network = _trained(examples, settings, folder, on_step)
        net = AffinityNet(network, _facts(heats, len(examples[0]), settings))
        if place:
            save(net, place.path)
            place.finish()
    return net


def _trained(
    examples: tuple[UInt8[np.ndarray, "n h w 3"], UInt8[np.ndarray, "n cell_h cell_w"]],
    settings: AffinitySettings,
    folder: Path | None,
    on_step: OnStep,
) -> AffinityNetwork:
    """Return a network, on the CPU, that was trained on images and the labels of their cells."""
    images, labels = examples
    device = torch.device(settings.device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        network = AffinityNetwork(settings.network).to(device)
    offsets = list(half_disc(settings.network.radius))

    def loss_at(step: int) -> Float[Tensor, ""]:
        rng = np.random.default_rng((settings.seed, step))
        chosen = rng.integers(len(images), size=settings.batch_size)
        pixels, truth = augmented(images[chosen], labels[chosen], rng)
        return pair_loss(network(pixels.to(device)), truth.to(device), offsets)

    train(network, loss_at, settings.schedule(), folder, on_step=on_step)
    return network.cpu()


def _identity(
    images: Sequence[Image], heats: Sequence[Mapping[str, GridHeat]], settings: AffinitySettings
) -> dict[str, Any]:
    """Name what a network depends on: the settings but for the device, and the data."""
    content = hashlib.blake2b(digest_size=8)
    for array in (*images, *(heat for of_words in heats for heat in of_words.values())):
        content.update(np.ascontiguousarray(array).data)
    words = sorted({word for of_words in heats for word in of_words})
    chosen = {name: value for name, value in asdict(settings).items() if name != "device"}
    return {**chosen, "words": words, "images": content.hexdigest()}


def _facts(
    heats: Sequence[Mapping[str, GridHeat]], n_sure: int, settings: AffinitySettings
) -> Facts:
    words = tuple(sorted({word for of_words in heats for word in of_words}))
    refiner = settings.seeds.refiner
    return Facts(words, len(heats), n_sure, settings.num_steps, settings.seed, refiner)


def pair_loss(
    features: Float[Tensor, "image feature h w"],
    labels: UInt8[Tensor, "image h w"],
    offsets: Sequence[Offset],
) -> Float32[Tensor, ""]:
    """Return bg/4 + fg/4 + neg/2 of Ahn & Kwak 2018: cross-entropies of the affinity of pairs.

    Of pairs of background, of pairs of one object and of pairs of two labels, each the mean over
    the pairs of its kind; a kind without pairs counts 0, and pairs with a neutral cell do not.
    """
    size_hw = (labels.shape[-2], labels.shape[-1])
    pairs = [pair_slices(offset, size_hw) for offset in offsets]
    distance = torch.cat([of.flatten() for of in distances(features, list(offsets))]).float()
    first = torch.cat([labels[one].flatten() for one, _ in pairs])
    second = torch.cat([labels[other].flatten() for _, other in pairs])
    known = (first != IGNORE_ID) & (second != IGNORE_ID)
    same = known & (first == second)
    kinds = {
        "background": same & (first == BACKGROUND_ID),
        "object": same & (first != BACKGROUND_ID),
        "different": known & (first != second),
    }
    apart = -torch.log(-torch.expm1(-distance.clamp(min=NEAREST)))  # -log(1 - affinity)
    losses = {"background": distance, "object": distance, "different": apart}
    return torch.stack(
        [KINDS[kind] * _mean_of(losses[kind], counts) for kind, counts in kinds.items()]
    ).sum()


def _mean_of(values: Float32[Tensor, " n"], counts: Tensor) -> Float32[Tensor, ""]:
    return (values * counts).sum() / counts.sum().clamp(min=1)
