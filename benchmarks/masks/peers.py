"""How other tools make masks of the same attention, each re-expressed plainly from its paper.

Only the procedure from attention to mask is theirs; model, prompts, steps and attention are ours.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Float32
from scipy import ndimage
from skimage.filters import threshold_otsu

from diffumask.attention.propagate import expand_seeds
from diffumask.masks.refine import from_labels, refine
from diffumask.masks.thresholds import GAMMAS, ious
from diffumask.masks.unary import label_probabilities
from diffumask.types import IGNORE_ID, ClassMap, Heat, Image, Mask

from .samples import matrix_layers, on_matrix_grid

Grid = Float32[np.ndarray, "grid_h grid_w"]
OFFICIAL_MIN_BOX = 1500 / 512**2  # share of the image
DATASET_DIFFUSION_POWER = 4
DATASET_DIFFUSION_BAND = (0.5, 0.6)
DAAM_THRESHOLD = 0.5
CONFIDENCE = 20 / 21  # of hard labels, 20 : 1 for the label against each of 20 others


@dataclass(frozen=True, slots=True)
class Seen:
    """What a procedure starts from: an image and the attention to one word.

    `grids` holds the mean cross-attention by the factor of the grid (1 the finest), `n_heads` how
    many heads each averages; `matrix` is the mean self-attention of the layers of one of them.
    `affinity` is the mask that the official code takes from its AffinityNet.
    """

    image: Image
    grids: Mapping[int, Grid]
    n_heads: Mapping[int, int]
    matrix: Float32[np.ndarray, "n n"]
    affinity: Mask


def daam_heat(seen: Seen, leave_out_coarsest: bool = True) -> Heat:
    """Sum over heads, layers and steps, stretched to [0, 1] (Tang et al. 2023).

    Their code leaves out the coarsest grid.
    """
    chosen = finer_grids(seen.grids) if leave_out_coarsest else seen.grids
    resized = (seen.n_heads[factor] * resize(grid, seen.image) for factor, grid in chosen.items())
    return stretched(np.sum([one.clip(min=0) for one in resized], axis=0))


def daam(seen: Seen) -> ClassMap:
    """Threshold the heat map of DAAM."""
    return (daam_heat(seen) > DAAM_THRESHOLD).astype(np.uint8)


def official_heat(seen: Seen) -> Heat:
    """Average the finer grids, each divided by its peak (released code of Wu et al. 2023)."""
    resized = [resize(grid, seen.image) for grid in finer_grids(seen.grids).values()]
    return np.stack([one / max(one.max(), 1e-12) for one in resized]).mean(0)


def official(seen: Seen) -> ClassMap:
    """Refine the mask at each of 20 thresholds by CRF, keep the one nearest to the affinity mask.

    As the released code of Wu et al. 2023 does: then objects with a small bounding box are
    dropped and holes are filled. Nothing is left where no mask overlaps the affinity mask.
    """
    heat = official_heat(seen)
    labels = heat > np.array(GAMMAS, np.float32)[:, None, None]
    unary = from_labels(labels.astype(np.uint8), 2, CONFIDENCE)
    masks = refine("crf", seen.image, unary)[:, 1] > 0.5
    agreement = ious(masks, seen.affinity)
    best = masks[int(agreement.argmax())] & bool(agreement.any())
    whole = np.asarray(ndimage.binary_fill_holes(best), bool)
    return without_small_boxes(whole, OFFICIAL_MIN_BOX).astype(np.uint8)


def dataset_diffusion(seen: Seen) -> ClassMap:
    """Self-attention to the fourth power times cross-attention, with an uncertain band as 255.

    Nguyen et al. 2023. They take cross-attention of the grid below that of self-attention; here
    both are of one grid, the only one of which the matrix is known.
    """
    grid = grid_of(seen)
    spread = grid.ravel()
    for _ in range(DATASET_DIFFUSION_POWER):
        spread = seen.matrix @ spread
    heat = stretched(resize(stretched(spread.reshape(grid.shape)), seen.image).clip(0, 1))
    low, high = DATASET_DIFFUSION_BAND
    return np.where(heat >= high, 1, np.where(heat >= low, IGNORE_ID, 0)).astype(np.uint8)


def seediff_like(seen: Seen) -> ClassMap:
    """Grow seeds of cross-attention along self-attention, then refine by PAMR (after SeeDiff 2025).

    Their background and their several scales are left out.
    """
    heats = torch.from_numpy(grid_of(seen))[None]
    grown = expand_seeds(heats, torch.from_numpy(seen.matrix))[0].numpy()
    heat = resize(grown, seen.image).clip(0, 1)
    if not heat.any():
        return np.zeros(heat.shape, np.uint8)
    rough = label_probabilities(heat[None], [[float(threshold_otsu(heat))]])
    return refine("pamr", seen.image, rough).argmax(1)[0].astype(np.uint8)


PEERS: dict[str, Callable[[Seen], ClassMap]] = {
    "DAAM, threshold 0.5": daam,
    "official DiffuMask code": official,
    "Dataset Diffusion": dataset_diffusion,
    "SeeDiff-like": seediff_like,
}


def finer_grids(grids: Mapping[int, Grid]) -> dict[int, Grid]:
    """Leave out the coarsest of several grids."""
    kept = sorted(grids)[:-1] or list(grids)
    return {factor: grids[factor] for factor in kept}


def grid_of(seen: Seen) -> Grid:
    """Return the cross-attention of the layers that the matrix is of, on its grid."""
    return on_matrix_grid(seen.grids[matrix_layers(seen.grids)], seen.grids)


def resize(grid: Grid, image: Image) -> Heat:
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
