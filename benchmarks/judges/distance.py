"""How far sets of images are from a domain: Fréchet distances of two kinds of features."""

from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np
import torch
from diffusers import DiffusionPipeline
from jaxtyping import Float64

from diffumask.sampling.noising import encode
from diffumask.tiny.autoencoder import decode, to_tensor
from diffumask.types import Image

from .oracle import load_oracle

Features = Float64[np.ndarray, "n feature"]


def colours(images: Sequence[Image]) -> Features:
    """Return means and deviations of CIELAB, edges of two sizes, and the light in a 3x3 grid."""
    rows = []
    for image in images:
        lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB).astype(np.float64)
        light = lab[..., 0]
        half = cv2.resize(light, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        edges = [np.hypot(*np.gradient(one)).mean() for one in (light, half)]
        grid = cv2.resize(light, (3, 3), interpolation=cv2.INTER_AREA).ravel()
        rows.append(np.concatenate([lab.mean((0, 1)), lab.std((0, 1)), edges, grid]))
    return np.stack(rows)


@torch.no_grad()
def oracle_features(images: Sequence[Image]) -> Features:
    """Return the mean over the image of what the second stage of the oracle's encoder gives."""
    oracle = load_oracle()
    rows = [
        oracle(pixel_values=to_tensor(image[None]), output_hidden_states=True).hidden_states[1]
        for image in images
    ]
    return torch.cat(rows).mean((2, 3)).double().numpy()


def frechet(first: Features, second: Features) -> float:
    """Return the Fréchet distance of two sets, as normal distributions (Heusel et al. 2017)."""
    gap = first.mean(0) - second.mean(0)
    one, other = np.cov(first.T), np.cov(second.T)
    cross = np.sqrt(np.clip(np.linalg.eigvals(one @ other).real, 0, None)).sum()
    return float(gap @ gap + np.trace(one) + np.trace(other) - 2 * cross)


def distances(
    sets: Mapping[str, Sequence[Image]], target: Sequence[Image], plain: Sequence[Image]
) -> list[tuple[str, ...]]:
    """Return a row for each set: how far it is from the target, in units of data."""
    columns: list[list[float]] = []
    kinds: list[Callable[[Sequence[Image]], Features]] = [colours, oracle_features]
    for features in kinds:
        wanted = features(target)
        unit = np.concatenate([features(plain), wanted]).std(0)
        columns.append(
            [frechet(features(images) / unit, wanted / unit) for images in sets.values()]
        )
    return [
        (name, f"{colour:.2f}", f"{network:.2f}")
        for name, colour, network in zip(sets, *columns, strict=True)
    ]


@torch.no_grad()
def through_vae(pipe: DiffusionPipeline, images: Sequence[Image]) -> list[Image]:
    """Encode and decode images: the nearest that any UNet can come to them."""
    vae = pipe.vae  # type: ignore[attr-defined]
    latents = encode(pipe, np.stack(images)) / vae.config.scaling_factor
    rebuilt = torch.cat([decode(vae, one[None]) for one in latents])
    pixels = ((rebuilt + 1) * 127.5).clamp(0, 255).permute(0, 2, 3, 1).numpy()
    return list(pixels.astype(np.uint8))
