"""Random walker with priors (Grady 2005): all labels of all candidates in one factorisation."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32
from scipy import sparse
from scipy.sparse.linalg import splu

from diffumask.types import Image

from .grid import grid_size, on_grid


@dataclass(frozen=True, slots=True)
class WalkerSettings:
    """`beta` weighs squared differences of colours in [0, 1]; `prior` is the pull of the input."""

    beta: float = 1000.0
    prior: float = 0.002
    least_weight: float = 1e-4


def random_walker(
    image: Image,
    probabilities: Float32[np.ndarray, "candidate label h w"],
    settings: WalkerSettings = WalkerSettings(),
) -> Float32[np.ndarray, "candidate label h w"]:
    """Return the chances that a walker who starts at a pixel ends at each label.

    At each pixel the walk ends by the input probabilities at rate `prior`, and goes on to a
    neighbour by exp(-beta times squared difference of colour). No seeds are needed, so that flat
    planes stay flat. Works on a grid of at least 64 cells on the shorter side.
    """

    def solve(
        small: Float32[np.ndarray, "h w 3"], columns: Float32[np.ndarray, "pixel column"]
    ) -> Float32[np.ndarray, "pixel column"]:
        graph = _laplacian(small / 255, settings)
        system = graph + settings.prior * sparse.eye_array(len(columns), format="csc")
        factors = splu(sparse.csc_matrix(system), permc_spec="MMD_AT_PLUS_A")
        return factors.solve(settings.prior * columns.astype(np.float64)).astype(np.float32)

    return on_grid(solve, image, probabilities, grid_size((image.shape[0], image.shape[1])))


def _laplacian(image: Float32[np.ndarray, "h w 3"], settings: WalkerSettings) -> sparse.csc_array:
    """Return the Laplacian of the 4-connected grid."""
    h, w = image.shape[:2]
    index = np.arange(h * w).reshape(h, w)
    starts = np.concatenate([index[:, :-1].ravel(), index[:-1].ravel()])
    ends = np.concatenate([index[:, 1:].ravel(), index[1:].ravel()])
    colours = image.reshape(-1, 3).astype(np.float64)
    distance = ((colours[starts] - colours[ends]) ** 2).sum(1)
    weights = np.exp(-settings.beta * distance) + settings.least_weight
    half = sparse.csc_array((weights, (starts, ends)), shape=(h * w, h * w))
    adjacency = half + half.T
    return sparse.csc_array(sparse.diags_array(adjacency.sum(0)) - adjacency)
