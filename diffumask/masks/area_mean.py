"""Planes made coarser, so that what lies between the new cells counts as well."""

import cv2
import numpy as np
from jaxtyping import Float32


def area_mean(
    plane: Float32[np.ndarray, "_h _w"], size_hw: tuple[int, int]
) -> Float32[np.ndarray, "_to_h _to_w"]:
    """Average a plane over the cells of a coarser grid; an axis that would grow stays as it is."""
    h, w = plane.shape
    to_wh = min(w, size_hw[1]), min(h, size_hw[0])
    return cv2.resize(plane, to_wh, interpolation=cv2.INTER_AREA)
