"""Training examples: encodings of changed versions of each image, and the labels that fit them.

Every change is made before the encoder sees the image, so that nothing is pretended about how
latents flip or change colour: the encodings of a few versions are kept in place of the image.
"""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float16, Int64, UInt8
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from diffumask.errors import InputError
from diffumask.files.atomic import new_file
from diffumask.labelled.folder import Labelled
from diffumask.labelled.labels import Labels
from diffumask.seeds import item_seed
from diffumask.types import IGNORE_ID, ClassMap, Image

from .features import Autoencoder, check_size, encode_images, factor_of

SCALES = (0.75, 1.5)  # of the image, beside the square that is cut out of it
GAINS, OFFSETS = (0.7, 1.3), (-25.0, 25.0)
SATURATIONS = (0.5, 1.5)
HUE_STEPS = 10  # of OpenCV's 180
ENCODED_AT_ONCE = 8
LATENTS_FILE = "latents.safetensors"
HASH_STEPS = 10_000


@dataclass(frozen=True, slots=True)
class View:
    """A version of an image: its size before a square is cut out at (top, left), and its looks."""

    size_hw: tuple[int, int]
    top: int
    left: int
    side: int
    flipped: bool
    colour_seed: int | None

    def image(self, image: Image) -> UInt8[np.ndarray, "side side 3"]:
        """Return the square of the image, its last row and column repeated where it is small."""
        height, width = self.size_hw
        shrinks = height < image.shape[0]
        way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        square = self._cut(cv2.resize(image, (width, height), interpolation=way), None)
        return square if self.colour_seed is None else recoloured(square, self.colour_seed)

    def class_map(self, class_map: ClassMap) -> UInt8[np.ndarray, "side side"]:
        """Return the square of the class map, 255 where there is none."""
        height, width = self.size_hw
        # INTER_NEAREST takes the corner of a pixel, half a pixel beside what the image shows
        resized = cv2.resize(class_map, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
        return self._cut(resized, IGNORE_ID)

    def _cut(self, pixels: np.ndarray, fill: int | None) -> np.ndarray:
        cut = pixels[self.top : self.top + self.side, self.left : self.left + self.side]
        missing = [(0, self.side - cut.shape[0]), (0, self.side - cut.shape[1])]
        missing += [(0, 0)] * (cut.ndim - 2)
        filled = (
            np.pad(cut, missing, mode="edge")
            if fill is None
            else np.pad(cut, missing, constant_values=fill)
        )
        return np.ascontiguousarray(filled[:, ::-1] if self.flipped else filled)


def make_view(size_hw: tuple[int, int], side: int, name: str, number: int, seed: int) -> View:
    """Draw a version of an image; number 0 is only cut, its shorter side being `side`."""
    rng = np.random.default_rng(item_seed(seed, name, number))
    low, high = map(math.log, SCALES)
    scale = side / min(size_hw) * (math.exp(rng.uniform(low, high)) if number else 1.0)
    height, width = (max(1, round(length * scale)) for length in size_hw)
    top, left = (int(rng.integers(max(0, length - side) + 1)) for length in (height, width))
    flipped = bool(number and rng.random() < 0.5)
    colour_seed = int(rng.integers(2**32)) if number else None
    return View((height, width), top, left, side, flipped, colour_seed)


def recoloured(image: Image, seed: int) -> Image:
    """Change contrast, brightness, saturation and hue at random."""
    rng = np.random.default_rng(seed)
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV).astype(np.float32)
    hsv[..., 0] = (hsv[..., 0] + rng.integers(-HUE_STEPS, HUE_STEPS + 1)) % 180
    hsv[..., 1] = np.clip(hsv[..., 1] * rng.uniform(*SATURATIONS), 0, 255)
    rgb = cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB).astype(np.float32)
    changed = (rgb - 127.5) * rng.uniform(*GAINS) + 127.5 + rng.uniform(*OFFSETS)
    return changed.clip(0, 255).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class Examples:
    """Labelled images with the latents of `views` of each, which `seed` determines."""

    labelled: Labelled
    labels: Labels
    latents: Float16[Tensor, "n view c h_latent w_latent"]
    views: tuple[tuple[View, ...], ...]

    def draw(self, step: int, size: int, seed: int) -> list[tuple[int, int]]:
        """Draw views, each the number of an image and of its view; step and seed alone say which.

        Every view comes once before any comes again.
        """
        n, n_views = self.latents.shape[:2]
        places = range(step * size, (step + 1) * size)
        rounds = {place // (n * n_views) for place in places}
        order = {one: np.random.default_rng((seed, one)).permutation(n * n_views) for one in rounds}
        drawn = [int(order[place // (n * n_views)][place % (n * n_views)]) for place in places]
        return [divmod(one, n_views) for one in drawn]

    def labels_of(self, views: Sequence[tuple[int, int]]) -> Int64[Tensor, "b h w"]:
        """Return the labels of views."""
        labels = [self._labels(image, number) for image, number in views]
        return torch.from_numpy(np.stack(labels)).long()

    def _labels(self, index: int, number: int) -> UInt8[np.ndarray, "h w"]:
        return self.labels.encode(
            self.views[index][number].class_map(self.labelled.class_map(index))
        )


def held_out(names: tuple[str, ...], share: float) -> list[bool]:
    """Say which items are held out, about a share of them; the names alone decide.

    At least one item is held out and one is not, of two or more.
    """
    places = [_place(name) for name in names]
    chosen = [place < share for place in places]
    if len(names) > 1 and all(chosen):
        chosen[places.index(max(places))] = False
    if len(names) > 1 and not any(chosen):
        chosen[places.index(min(places))] = True
    return chosen


def _place(name: str) -> float:
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % HASH_STEPS / HASH_STEPS


def encode_examples(
    vae: Autoencoder,
    labelled: Labelled,
    labels: Labels,
    n_views: int,
    side: int,
    seed: int,
    folder: Path | None,
    advance: Callable[[int], None] = lambda count: None,
) -> Examples:
    """Encode some views of every image, or read what an earlier run left in the folder.

    Raises InputError for an image smaller than the factor of the autoencoder, and for damaged
    encodings.
    """
    path = folder / LATENTS_FILE if folder else None
    known = _read_latents(path) if path and path.exists() else None
    views, latents = [], []
    for index, pair in enumerate(labelled.pairs):
        if known is not None:
            size_hw, image = pair.size_hw(), None
        else:
            image = labelled[index].image
            size_hw = (image.shape[0], image.shape[1])
        check_size(size_hw, factor_of(vae), f"{pair.name} to be")
        of_one = tuple(make_view(size_hw, side, pair.name, k, seed) for k in range(n_views))
        views.append(of_one)
        if image is not None:
            latents.append(_encoded(vae, [view.image(image) for view in of_one]))
        advance(1)
    tensor = torch.stack(latents) if known is None else known
    if path and known is None:
        with new_file(path) as partial:
            save_file({"latents": tensor}, partial)
    return Examples(labelled, labels, tensor, tuple(views))


def _read_latents(path: Path) -> Tensor:
    try:
        return load_file(path)["latents"]
    except (OSError, SafetensorError, KeyError) as error:
        what = (str(error).splitlines() or [""])[0]
        raise InputError(
            f"expected the encodings of a training in {path}, got: {what}; take it out to make "
            "them again"
        ) from error


def _encoded(vae: Autoencoder, images: list[Image]) -> Float16[Tensor, "view c h_latent w_latent"]:
    starts = range(0, len(images), ENCODED_AT_ONCE)
    parts = [encode_images(vae, np.stack(images[s : s + ENCODED_AT_ONCE])) for s in starts]
    return torch.cat(parts).half().cpu().contiguous()
