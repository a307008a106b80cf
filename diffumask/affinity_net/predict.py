"""Heat that walks at random between the cells that the network takes for alike."""

from collections.abc import Mapping

import cv2
import numpy as np
import torch
from jaxtyping import Float32
from scipy import sparse

from diffumask.errors import InputError
from diffumask.masks.area_mean import area_mean
from diffumask.types import FLAT, GridHeat, Heat, Image

from .checkpoint import AffinityNet
from .network import distances, half_disc, pair_slices, to_pixels, working_image

BETA = 8.0  # power of the affinity, of Ahn & Kwak 2018's code

# The square of the cells on the longer side of the grid, for each step of the walk: 8 steps for
# 32 cells, 32 for 64. Wu et al. 2023's code takes 256 for 64; on `tiny` more than 8 are worse.
SQUARED_CELLS_A_STEP = 128


def affinity_heat(
    net: AffinityNet,
    image: Image,
    heat: GridHeat,
    beta: float = BETA,
    steps: int | None = None,
) -> Heat:
    """Return a heat map, of any size, after its walk, at the size of the image.

    As `affinity_heats`, of one word.
    """
    return affinity_heats(net, image, {"": heat}, beta, steps)[""]


def affinity_heats(
    net: AffinityNet,
    image: Image,
    heats: Mapping[str, GridHeat],
    beta: float = BETA,
    steps: int | None = None,
) -> dict[str, Heat]:
    """Return the heat maps, of any size, of words after a random walk, at the image's size.

    In each step a cell takes the mean heat of the cells within the radius of the training,
    weighted by affinity^beta; a constant background plane would stay as it is. The maps are
    stretched to [0, 1], as the walk evens them out; one that is flat by then is 0
    (`diffumask.types.FLAT`). Without `steps` their number follows the grid, so that heat gets as
    far in images of any size. Raises `InputError` for heat that is not finite.
    """
    if not heats:
        return {}
    if not all(np.isfinite(heat).all() for heat in heats.values()):
        raise InputError("expected finite heat, got nan or infinity; try dtype float32")
    walk, cells_hw = transitions(net, image, beta)
    if steps is None:
        steps = max(1, round(max(cells_hw) ** 2 / SQUARED_CELLS_A_STEP))
    columns = np.stack([_on_cells(heat, cells_hw).ravel() for heat in heats.values()], axis=-1)
    for _ in range(steps):
        columns = walk @ columns
    planes = columns.T.reshape(len(heats), *cells_hw)
    return {
        word: _at_size(plane, image.shape[:2]) for word, plane in zip(heats, planes, strict=True)
    }


@torch.no_grad()
def transitions(
    net: AffinityNet, image: Image, beta: float = BETA
) -> tuple[sparse.csr_array, tuple[int, int]]:
    """Return the matrix of one step of the walk, whose rows sum to 1, and the size of its grid.

    Only pairs of cells within the radius have an entry, so that it grows with the number of
    cells and not with its square.
    """
    small = working_image(image, net.network.config.side)
    features = net.network(to_pixels(small[None]))
    size_hw = (features.shape[-2], features.shape[-1])
    offsets = list(half_disc(net.network.config.radius))
    cells = np.arange(size_hw[0] * size_hw[1]).reshape(size_hw)
    rows, columns, weights = [cells.ravel()], [cells.ravel()], [np.ones(cells.size, np.float32)]
    for offset, distance in zip(offsets, distances(features, offsets), strict=True):
        first, second = pair_slices(offset, size_hw)
        weight = np.exp(-beta * distance[0].numpy()).ravel()
        rows += [cells[first].ravel(), cells[second].ravel()]
        columns += [cells[second].ravel(), cells[first].ravel()]
        weights += [weight, weight]
    entries = (np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns)))
    affinity = sparse.csr_array(entries, shape=(cells.size, cells.size))
    return sparse.diags_array(1 / affinity.sum(axis=1)) @ affinity, size_hw


def _on_cells(heat: GridHeat, cells_hw: tuple[int, int]) -> Float32[np.ndarray, "cell_h cell_w"]:
    h, w = cells_hw
    return cv2.resize(area_mean(heat, cells_hw), (w, h), interpolation=cv2.INTER_LINEAR)


def _at_size(plane: Float32[np.ndarray, "cell_h cell_w"], size_hw: tuple[int, int]) -> Heat:
    """Resize a plane to the image and stretch it to [0, 1]; a flat one is 0."""
    h, w = size_hw
    heat = cv2.resize(plane, (w, h), interpolation=cv2.INTER_LINEAR).astype(np.float32)
    low, peak = heat.min(), heat.max()
    flat = peak - low <= FLAT * peak
    return np.zeros_like(heat) if flat else (heat - low) / (peak - low)
