"""What is captured and how it becomes a heat map unless the caller says otherwise.

The one place for these choices; every function that takes them names this module.
"""

from collections.abc import Callable, Collection, Mapping

# A share of the trajectory, 0 its start in noise and 1 its end; or a function of the index of a
# step and the number of steps.
Steps = tuple[float, float] | Callable[[int, int], bool]

STEPS: Steps = (0.0, 1.0)

# By how much the grid of a layer is smaller than the latents: 1, 2, 4, ...; None is all there are.
RESOLUTIONS: Collection[int] | None = None

# Weight of each of these resolutions in a heat map; None is the same for all.
WEIGHTS: Mapping[int, float] | None = None

# Cells on the shorter side below which the grid of a layer tells no outline; `sample` leaves such
# grids out. On `tiny` the grid of 4 reaches an IoU of 0.27 alone and lowers that of all.
MIN_GRID_CELLS = 16

# Self-attention is kept as a matrix of the coarsest grid with enough cells, or of the finest where
# none has; what has more than the most is pooled to that many, of the same aspect: 4 MiB an image.
# On 120 renders by `tiny` layers of 16x16 pooled to 8x8 gave masks of an IoU of 0.74, those that
# are of 8x8 0.63: so fewer than enough cells give way to the next finer grid.
MAX_MATRIX_CELLS = 32 * 32
ENOUGH_MATRIX_CELLS = MAX_MATRIX_CELLS * 3 // 4

# Self-attention is seen at one of so many steps, and in one of so many layers of its grid. Of 20
# steps of `tiny` 2 make the masks of all: the cheapest choice that surely loses less than 0.002 of
# their IoU (`python -m benchmarks matrix_choice`).
EVERY_MATRIX = (1, 1)
MATRIX_STRIDES = (10, 2)

# How the tokens of a word become one map.
MERGE = "mean"

# How often heat is propagated along self-attention. Nguyen et al. 2023 take 4; on `tiny` 1 to 8
# differ little, 1 is best on renders.
POWER = 1

# What a pixel may be instead of a word, for the softmax over concepts. Helbling et al. 2025 take
# such a list too; persons and animals are left out of it, as users ask for them.
BACKGROUND_CONCEPTS = ("background", "ground", "wall", "sky", "grass", "tree", "water")
