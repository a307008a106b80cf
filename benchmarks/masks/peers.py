"""How other tools make masks of the same attention, each re-expressed plainly from its paper.

Only the procedure from attention to mask is theirs; model, prompts, steps and attention are ours.
Each ends in a refiner of its own or in ours, and knows no word but the asked one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float32
from scipy import ndimage
from torch import Tensor

from diffumask.attention.propagate import expand_seeds, propagate
from diffumask.masks.components import drop_small
from diffumask.masks.refine import from_labels, refine
from diffumask.masks.settings import MaskSettings
from diffumask.masks.thresholds import GAMMAS, ious
from diffumask.masks.unary import label_probabilities
from diffumask.types import GridHeat, Heat, Image, Mask

from .ways import Made, View, Way, otsu

Masks = Bool[np.ndarray, "threshold h w"]
Finish = Callable[[Image, Heat, Sequence[float]], Masks]

OFFICIAL_MIN_BOX = 1500 / 512**2  # share of the image
CONFIDENCE = 20 / 21  # of hard labels, 20 : 1 for the label against each of 20 others
OUR_REFINER = "our refiner"


def plain(image: Image, heat: Heat, thresholds: Sequence[float]) -> Masks:
    """Refine nothing."""
    return heat > np.array(thresholds, np.float32)[:, None, None]


def refined(image: Image, heat: Heat, thresholds: Sequence[float], refiner: str) -> Masks:
    """Refine by one of our refiners."""
    rough = label_probabilities(heat[None], [[threshold] for threshold in thresholds])
    return refine(refiner, image, rough).argmax(1) == 1


def hard_crf(image: Image, heat: Heat, thresholds: Sequence[float]) -> Masks:
    """Refine labels that are equally sure everywhere by a dense CRF, as the released code does."""
    labels = plain(image, heat, thresholds).astype(np.uint8)
    return refine("crf", image, from_labels(labels, 2, CONFIDENCE))[:, 1] > 0.5


def as_ours(image: Image, heat: Heat, thresholds: Sequence[float]) -> Masks:
    """Refine as the package does by default, and drop specks."""
    settings = MaskSettings()
    masks = refined(image, heat, thresholds, settings.refiner)
    return np.stack([drop_small(mask, settings.min_area * mask.size) for mask in masks])


def daam(view: View, finish: Finish, threshold: float) -> Made:
    """Threshold the heat map of DAAM."""
    return Made(finish(view.image, daam_heat(view), [threshold])[0])


def daam_heat(view: View) -> Heat:
    """Sum over heads, layers and steps, stretched to [0, 1] (Tang et al. 2023).

    Their code leaves out the coarsest grid.
    """
    n_heads, chosen = view.item.right.n_heads, finer_grids(view.grids)
    resized = (n_heads[factor] * resize(grid, view.image) for factor, grid in chosen.items())
    return stretched(np.sum([one.clip(min=0) for one in resized], axis=0))


def official(view: View, finish: Finish, low: float, high: float, min_box: float) -> Made:
    """Refine the mask at each of 20 thresholds, keep the one nearest to the affinity mask.

    As the released code of Wu et al. 2023 does: then objects with a small bounding box are
    dropped and holes are filled. Nothing is left where no mask overlaps the affinity mask.
    """
    gammas = np.linspace(low, max(low, high), len(GAMMAS)).tolist()
    masks = finish(view.image, official_heat(view), gammas)
    agreement = ious(masks, view.affinity)
    best = masks[int(agreement.argmax())] & bool(agreement.any())
    return Made(without_small_boxes(np.asarray(ndimage.binary_fill_holes(best), bool), min_box))


def official_heat(view: View) -> Heat:
    """Average the finer grids, each divided by its peak (released code of Wu et al. 2023)."""
    resized = [resize(grid, view.image) for grid in finer_grids(view.grids).values()]
    return np.stack([one / max(one.max(), 1e-12) for one in resized]).mean(0)


def dataset_diffusion(
    view: View, finish: Finish, power: int, threshold: float, band: float
) -> Made:
    """Self-attention to a power times cross-attention, with an uncertain band above a threshold.

    Nguyen et al. 2023. They take cross-attention of the grid below that of self-attention; here
    both are of one grid, the only one of which the matrix is known.
    """
    heat = stretched(resize(_spread(view, partial(propagate, power=power)), view.image).clip(0, 1))
    low, high = finish(view.image, heat, [threshold, threshold + band])
    return Made(high, low & ~high)


def seediff_like(view: View, finish: Finish, less: float, max_rounds: int) -> Made:
    """Grow seeds of cross-attention along self-attention, and refine (after SeeDiff 2025).

    Their background and their several scales are left out.
    """
    heat = resize(_spread(view, partial(expand_seeds, max_rounds=max_rounds)), view.image)
    heat = heat.clip(0, 1)
    return Made(finish(view.image, heat, [max(0.0, otsu(heat) - less)])[0])


def _spread(view: View, spread: Callable[[Tensor, Tensor], Tensor]) -> GridHeat:
    return spread(torch.from_numpy(view.cells)[None], view.matrix)[0].numpy()


_OWN: Mapping[str, tuple[Finish, Way]] = {
    "DAAM": (plain, Way(daam, {"threshold": 0.5}, {"threshold": (0.05, 0.95)})),
    "official DiffuMask code": (
        hard_crf,
        Way(
            official,
            {"low": GAMMAS[0], "high": GAMMAS[-1], "min_box": OFFICIAL_MIN_BOX},
            {"low": (0.05, 0.5), "high": (0.4, 0.8), "min_box": (0.0, 0.02)},
        ),
    ),
    "Dataset Diffusion": (
        plain,
        Way(
            dataset_diffusion,
            {"power": 4, "threshold": 0.5, "band": 0.1},
            {"power": (1, 6), "threshold": (0.2, 0.8), "band": (0.0, 0.15)},
        ),
    ),
    "SeeDiff-like": (
        partial(refined, refiner="pamr"),
        Way(
            seediff_like,
            {"less": 0.0, "max_rounds": 8},
            {"less": (-0.15, 0.25), "max_rounds": (1, 12)},
        ),
    ),
}
PEERS: dict[str, Way] = {
    **{n: replace(way, make=partial(way.make, finish=own)) for n, (own, way) in _OWN.items()},
    **{
        f"{n}, {OUR_REFINER}": replace(way, make=partial(way.make, finish=as_ours))
        for n, (_, way) in _OWN.items()
    },
}


def finer_grids(grids: Mapping[int, GridHeat]) -> dict[int, GridHeat]:
    """Leave out the coarsest of several grids."""
    kept = sorted(grids)[:-1] or list(grids)
    return {factor: grids[factor] for factor in kept}


def resize(grid: GridHeat, image: Image) -> Heat:
    """Resize bicubically to an image."""
    height, width = image.shape[:2]
    return cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)


def stretched(heat: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    """Stretch a map to [0, 1]; a flat one is 0 everywhere."""
    low, high = heat.min(), heat.max()
    return ((heat - low) / max(high - low, 1e-12)).astype(np.float32)


def without_small_boxes(mask: Mask, min_share: float) -> Mask:
    """Drop the components (8-connected) whose bounding box covers too little of the image."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    boxes = stats[:, cv2.CC_STAT_WIDTH] * stats[:, cv2.CC_STAT_HEIGHT]
    large = (np.arange(count) > 0) & (boxes >= min_share * mask.size)
    return large[labels.astype(np.intp)]
