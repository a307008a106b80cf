"""Rendered scenes on disk: the image-caption pairs that `tiny` is trained on."""

import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from diffumask.cores import n_cores
from diffumask.scenes import render_scene

IMAGE_SIZE = 128
CHUNK = 500

Text = tuple[str, list[str]]  # a caption and the classes drawn


@dataclass(frozen=True, slots=True)
class Renders:
    """Images of the training split, seeds 0..n-1, with captions and the classes drawn; no masks."""

    images: UInt8[np.ndarray, "n 128 128 3"]
    captions: Sequence[str]
    class_names: Sequence[Sequence[str]]


def load_renders(folder: Path, count: int) -> Renders:
    """Render `count` training scenes into a folder, or map those already there."""
    images_path, texts_path = folder / "images.npy", folder / "texts.json"
    if not texts_path.exists():
        _write_renders(images_path, texts_path, count)
    texts = json.loads(texts_path.read_text("utf-8"))
    if len(texts) != count:
        raise ValueError(f"expected {count} renders in {folder}, got {len(texts)}")
    captions, class_names = zip(*texts, strict=True)
    return Renders(np.load(images_path, mmap_mode="r"), captions, class_names)


def _write_renders(images_path: Path, texts_path: Path, count: int) -> None:
    images_path.parent.mkdir(parents=True, exist_ok=True)
    shape = (count, IMAGE_SIZE, IMAGE_SIZE, 3)
    images = np.lib.format.open_memmap(images_path, "w+", np.uint8, shape)
    texts: list[Text] = []
    chunks = [range(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]
    with ProcessPoolExecutor(n_cores()) as pool:
        for chunk, (pixels, of_chunk) in zip(chunks, pool.map(_render_chunk, chunks), strict=True):
            images[chunk.start : chunk.stop] = pixels
            texts += of_chunk
    images.flush()
    partial = texts_path.with_suffix(".tmp")
    partial.write_text(json.dumps(texts), "utf-8")
    partial.replace(texts_path)


def _render_chunk(seeds: range) -> tuple[UInt8[np.ndarray, "n 128 128 3"], list[Text]]:
    scenes = [render_scene(seed, (IMAGE_SIZE, IMAGE_SIZE)) for seed in seeds]
    texts = [(scene.caption, [item.class_name for item in scene.objects]) for scene in scenes]
    return np.stack([scene.image for scene in scenes]), texts
