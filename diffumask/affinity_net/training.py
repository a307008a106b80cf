"""Training of the network on pairs of sure cells that lie near each other."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from diffumask.errors import InputError
from diffumask.types import BACKGROUND_ID, IGNORE_ID, GridHeat, Image

from .checkpoint import AffinityNet, Facts
from .examples import augmented, sure_examples
from .network import AffinityNetwork, NetworkConfig, Offset, distances, half_disc, pair_slices
from .seeds import SeedSettings

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


def train_affinity(
    images: Sequence[Image],
    heats: Sequence[Mapping[str, GridHeat]],
    settings: AffinitySettings = AffinitySettings(),
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> AffinityNet:
    """Train a network on images of one size and the heat maps, of any size, of their words.

    The network knows no classes: it may be trained on one or on several. Nothing but the heat
    maps tells it what is object. `on_step` is given the number of steps done and the last loss.
    Raises `InputError` for images of several sizes, for heat that is not finite, and where no
    image has sure cells.
    """
    small, labels = sure_examples(images, heats, settings.seeds, settings.network.side)
    device = torch.device(settings.device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        network = AffinityNetwork(settings.network).to(device).train()
    optimizer = torch.optim.AdamW(
        network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
    )
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate_factor(step, settings))
    offsets = list(half_disc(settings.network.radius))
    rng = np.random.default_rng(settings.seed)
    for step in range(1, settings.num_steps + 1):
        chosen = rng.integers(len(small), size=settings.batch_size)
        pixels, truth = augmented(small[chosen], labels[chosen], rng)
        loss = pair_loss(network(pixels.to(device)), truth.to(device), offsets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        rate.step()
        on_step(step, float(loss.detach()))
    return AffinityNet(network.eval().cpu(), _facts(heats, len(small), settings))


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


def _rate_factor(step: int, settings: AffinitySettings) -> float:
    """Return the share of the learning rate: a linear warm-up, then a linear decay to 0."""
    warmup = max(1, round(settings.warmup_share * settings.num_steps))
    left = (settings.num_steps - step) / max(1, settings.num_steps - warmup)
    return min((step + 1) / warmup, max(left, 0.0))
