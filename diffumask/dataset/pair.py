"""An image with its class map, resized together."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from diffumask.types import BACKGROUND_ID, IGNORE_ID, ClassMap, Image

SizeHW = tuple[int, int]

# Of what was outside of an image: the mean of ImageNet, which is 0 once a network's input is
# normalised. Its label is 255.
FILL_COLOUR = (124, 116, 104)


@dataclass(frozen=True, slots=True)
class Pair:
    """A labelled image: RGB uint8, and the class id of each pixel, uint8 of the same size.

    0 is background where there is one, 255 nothing. `name` is that of the item or file, or empty.
    Operations never write into the arrays of a pair they get.
    """

    image: Image
    class_map: ClassMap
    name: str = ""

    @property
    def size_hw(self) -> SizeHW:
        """Height and width in pixels."""
        height, width = self.class_map.shape
        return height, width


# Makes a pair of `size_hw` from the first of an endless supply of pairs and, if it mixes several
# images, from as many of the next ones as it needs.
Operation = Callable[[Iterator[Pair], SizeHW, np.random.Generator], Pair]


def resized(pair: Pair, size_hw: SizeHW) -> Pair:
    """Resize a pair without keeping its aspect ratio.

    The image is averaged where it shrinks and interpolated where it grows; the class map takes
    the label at the centre of each new pixel, so that an object smaller than a new pixel can
    vanish. A pair that has the size already is returned as it is.
    """
    import cv2  # it takes a while

    if pair.size_hw == size_hw:
        return pair
    height, width = size_hw
    shrinks = height * width < pair.class_map.size
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return Pair(
        cv2.resize(pair.image, (width, height), interpolation=method),
        # INTER_NEAREST takes the corner of a pixel, half a pixel beside what the image shows
        cv2.resize(pair.class_map, (width, height), interpolation=cv2.INTER_NEAREST_EXACT),
    )


def labels_of(class_map: ClassMap) -> list[int]:
    """List the labels that occur, 0 and 255 among them, in rising order."""
    import cv2  # it takes a while

    counts = cv2.calcHist([np.ascontiguousarray(class_map)], [0], None, [256], [0, 256])
    return np.flatnonzero(counts).tolist()


def class_ids(class_map: ClassMap) -> list[int]:
    """List the classes that occur, in rising order."""
    return [label for label in labels_of(class_map) if label not in (BACKGROUND_ID, IGNORE_ID)]
