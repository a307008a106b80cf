"""Rendered scenes on disk: the image-caption pairs that `tiny` is trained on."""

import json
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from diffumask.scenes import render_scene

IMAGE_SIZE = 128
CHUNK = 500


@dataclass(frozen=True, slots=True)
class Renders:
    """Images of the training split, seeds 0..n-1, and their captions; no masks."""

    images: UInt8[np.ndarray, "n 128 128 3"]
    captions: Sequence[str]


def load_renders(folder: Path, count: int) -> Renders:
    """Render `count` training scenes into a folder, or map those already there."""
    images_path, captions_path = folder / "images.npy", folder / "captions.json"
    if not captions_path.exists():
        _write_renders(images_path, captions_path, count)
    captions = json.loads(captions_path.read_text("utf-8"))
    if len(captions) != count:
        raise ValueError(f"expected {count} renders in {folder}, got {len(captions)}")
    return Renders(np.load(images_path, mmap_mode="r"), captions)


def _write_renders(images_path: Path, captions_path: Path, count: int) -> None:
    images_path.parent.mkdir(parents=True, exist_ok=True)
    shape = (count, IMAGE_SIZE, IMAGE_SIZE, 3)
    images = np.lib.format.open_memmap(images_path, "w+", np.uint8, shape)
    captions: list[str] = []
    chunks = [range(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for chunk, (pixels, texts) in zip(chunks, pool.map(_render_chunk, chunks), strict=True):
            images[chunk.start : chunk.stop] = pixels
            captions += texts
    images.flush()
    partial = captions_path.with_suffix(".tmp")
    partial.write_text(json.dumps(captions), "utf-8")
    partial.replace(captions_path)


def _render_chunk(seeds: range) -> tuple[UInt8[np.ndarray, "n 128 128 3"], list[str]]:
    scenes = [render_scene(seed, (IMAGE_SIZE, IMAGE_SIZE)) for seed in seeds]
    return np.stack([scene.image for scene in scenes]), [scene.caption for scene in scenes]
