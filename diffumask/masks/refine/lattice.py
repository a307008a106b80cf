"""Gaussian filtering in many dimensions on a permutohedral lattice (Adams et al. 2010).

Each point spreads its values over the d + 1 lattice vertices around it, the values of the occupied
vertices are blurred along the d + 1 lattice directions, and each point reads its vertices again.
All three steps are sparse matrices, so that any number of value columns is filtered at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64
from scipy import sparse

# Splatting, blurring and slicing together spread a value by this many lattice steps (standard
# deviation along each axis); Adams et al. 2010.
SIGMA_STEPS = np.sqrt(2 / 3)
BLUR_WEIGHTS = np.array([0.5, 0.25, 0.25], np.float32)  # a vertex and its two neighbours
HASH_SEED = 0


@dataclass(frozen=True, slots=True)
class Lattice:
    """The occupied vertices around `n` points; see `build_lattice`."""

    splat: sparse.csr_array  # vertex x point
    blurs: Sequence[sparse.csr_array]  # vertex x vertex, one for each direction
    slice: sparse.csr_array  # point x vertex

    def filter(self, values: Float32[np.ndarray, "n column"]) -> Float32[np.ndarray, "n column"]:
        """Return about sum_j exp(-|f_i - f_j|^2 / 2) values_j, up to one constant factor."""
        vertices = self.splat @ values
        for blur in self.blurs:
            vertices = blur @ vertices
        return self.slice @ vertices

    def scaled(self, factors: Float32[np.ndarray, " n"]) -> "Lattice":
        """Return the lattice whose filter multiplies by `factors` before and after."""
        slicer, splat = self.slice.copy(), self.splat.copy()
        slicer.data *= np.repeat(factors, slicer.indptr[1])
        splat.data *= factors[splat.indices]
        return Lattice(splat, self.blurs, slicer)


def build_lattice(features: Float32[np.ndarray, "n d"]) -> Lattice:
    """Build the lattice around points whose coordinates are in units of the standard deviation."""
    n, d = features.shape
    base, rank, weights = _enclosing_simplex(features.T)
    strides = np.random.default_rng(HASH_SEED).integers(2**48, size=d + 1)
    keys, columns = np.unique(_vertex_keys(base, rank, strides), return_inverse=True)
    slicer = sparse.csr_array(
        (
            np.ascontiguousarray(weights.T).ravel(),
            np.ascontiguousarray(columns.T, np.int32).ravel(),
            np.arange(0, n * (d + 1) + 1, d + 1, dtype=np.int32),
        ),
        shape=(n, len(keys)),
    )
    blurs = [_blur(keys, int(strides.sum() - (d + 1) * stride)) for stride in strides]
    return Lattice(slicer.T.tocsr(), blurs, slicer)


def _enclosing_simplex(
    features: Float32[np.ndarray, "d n"],
) -> tuple[
    Int64[np.ndarray, "coordinate n"],
    Int64[np.ndarray, "coordinate n"],
    Float32[np.ndarray, "vertex n"],
]:
    """Return the simplex around each point: base vertex, ranks, and barycentric weights.

    A vertex has d + 1 integer coordinates that sum to 0 and are equal modulo d + 1. From vertex k
    to the next every coordinate grows by 1, but that of rank d - k falls by d.
    """
    d, n = features.shape
    elevated = _elevation(d) @ features
    quotients = np.rint(elevated / (d + 1))
    rest = elevated - quotients * (d + 1)
    rank = np.zeros((d + 1, n), np.int64)
    for first in range(d + 1):
        for second in range(first + 1, d + 1):
            behind = rest[first] < rest[second]
            rank[first] += behind
            rank[second] += ~behind
    # the rounded coordinates need not sum to 0; those with the largest error go one further
    rank += quotients.sum(0).astype(np.int64)
    wraps = (rank < 0).astype(np.int64) - (rank > d)
    rank += wraps * (d + 1)
    base = (quotients.astype(np.int64) + wraps) * (d + 1)
    sorted_rest = np.empty_like(rest)
    sorted_rest[rank, np.arange(n)] = elevated - base
    weights = np.empty_like(rest)
    weights[0] = d + 1 + sorted_rest[d] - sorted_rest[0]
    weights[1:] = (sorted_rest[:-1] - sorted_rest[1:])[::-1]
    return base, rank, weights / np.float32(d + 1)


def _elevation(d: int) -> Float32[np.ndarray, "coordinate d"]:
    """Return d orthogonal columns that sum to 0, in lattice steps for one standard deviation."""
    matrix = np.zeros((d + 1, d))
    for column in range(d):
        matrix[: column + 1, column] = 1
        matrix[column + 1, column] = -(column + 1)
        matrix[:, column] /= np.sqrt((column + 1) * (column + 2))
    return (matrix * (d + 1) * SIGMA_STEPS).astype(np.float32)


def _vertex_keys(
    base: Int64[np.ndarray, "coordinate n"],
    rank: Int64[np.ndarray, "coordinate n"],
    strides: Int64[np.ndarray, " coordinate"],
) -> Int64[np.ndarray, "vertex n"]:
    """Number the vertices by the product of their coordinates and `strides`, modulo 2^64.

    With random strides any two of ten thousand vertices share a number with odds below 1e-6.
    """
    d = len(base) - 1
    stride_of_rank = np.empty_like(rank)
    stride_of_rank[rank, np.arange(rank.shape[1])] = strides[:, None]
    keys = np.empty_like(base)
    keys[0] = strides @ base
    for vertex in range(d):
        keys[vertex + 1] = keys[vertex] + strides.sum() - (d + 1) * stride_of_rank[d - vertex]
    return keys


def _blur(keys: Int64[np.ndarray, " vertex"], step: int) -> sparse.csr_array:
    """Average each vertex with its two neighbours in one direction, by 1/4, 1/2 and 1/4."""
    found = np.searchsorted(keys, keys + step)
    found[found == len(keys)] = 0
    here = np.flatnonzero(keys[found] == keys + step)
    there = found[here]
    diagonal = np.arange(len(keys))
    weights = np.repeat(BLUR_WEIGHTS, [len(keys), len(here), len(here)])
    rows = np.concatenate([diagonal, here, there])
    columns = np.concatenate([diagonal, there, here])
    return sparse.csr_array((weights, (rows, columns)), shape=(len(keys),) * 2)
