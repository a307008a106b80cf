"""Masks as single closed polygons, holes included."""

import cv2
import numpy as np
from jaxtyping import Int32

from diffumask.types import Mask

Points = Int32[np.ndarray, "n 2"]
MIN_POINTS = 3


def polygons(mask: Mask) -> list[Points]:
    """Outline each 8-connected component by one polygon through the centres of its edge pixels.

    Points are (x, y). A hole is joined to what lies left of it by a bridge that is walked there
    and back inside of the object, so that filling with the even-odd rule, edges included, gives
    the mask again (`cv2.fillPoly`). A component of one pixel or in one straight line has fewer
    than three points.
    """
    found, hierarchy = cv2.findContours(
        mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE
    )
    if hierarchy is None:
        return []
    contours = [_xy(one) for one in found]
    holes: dict[int, list[list[tuple[int, int]]]] = {}
    for position, parent in enumerate(hierarchy[0, :, 3].tolist()):
        if parent >= 0:
            holes.setdefault(parent, []).append(contours[position])
    outer = [at for at, parent in enumerate(hierarchy[0, :, 3].tolist()) if parent < 0]
    return [_simplified(_joined(contours[at], holes.get(at, []))) for at in outer]


def _xy(contour: np.ndarray) -> list[tuple[int, int]]:
    return [(x, y) for x, y in contour.reshape(-1, 2).tolist()]


def _joined(
    outline: list[tuple[int, int]], holes: list[list[tuple[int, int]]]
) -> list[tuple[int, int]]:
    """Insert each hole where a walk to the left from its leftmost point meets the polygon.

    Holes come from left to right, so that whatever the walk meets is already part of it.
    """
    polygon = list(outline)
    for hole in sorted(holes, key=min):
        start = hole.index(min(hole))
        x, y = hole[start]
        there = set(polygon)
        while (x, y) not in there:
            x -= 1
        at = polygon.index((x, y))
        round_trip = [*hole[start:], *hole[: start + 1]]
        polygon[at : at + 1] = [(x, y), *round_trip, (x, y)]
    return polygon


def _simplified(polygon: list[tuple[int, int]]) -> Points:
    """Leave out points between others in a straight line; steps go in eight directions only."""
    points = np.array(polygon, np.int32)
    points = points[(points != np.roll(points, 1, axis=0)).any(axis=1)]
    if not len(points):
        return np.array(polygon[:1], np.int32)
    before = np.sign(points - np.roll(points, 1, axis=0))
    after = np.sign(np.roll(points, -1, axis=0) - points)
    return points[(before != after).any(axis=1)]
