"""The oracle: a small SegFormer trained on renders, which says what a generated image shows.

`python -m benchmarks judges` trains and evaluates it. Its weights lie under benchmarks/oracle/. It
sees the training sprites in other scenes than `tiny` does and, in every other scene, sprites of its
own beside them, all varied in hue, shape, turn and style; images are blurred and noised, so that a
soft generated one is no surprise to it. The weights that are committed are of the recipe before:
7,200 steps, training sprites on plain grounds alone.
"""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional
from transformers import SegformerConfig, SegformerForSemanticSegmentation

from diffumask.metrics import class_ious, confusion_matrix
from diffumask.scenes import load_catalog, render_scene
from diffumask.scenes.catalog import Split
from diffumask.scenes.variation import PLAIN, STRONG, Variation
from diffumask.tiny.autoencoder import to_tensor
from diffumask.training import Schedule, train

Kind = tuple[Split, Variation]
Job = tuple[int, Split, Variation]

FOLDER = Path(__file__).parents[1] / "oracle"
FIRST_SEED = 10_000_000  # far from the seeds of the renders that `tiny` sees
HELD_OUT_SEED = 20_000_000
BATCH_SIZE = 32
TRAINING_KINDS: tuple[Kind, ...] = (("train", PLAIN), ("judge", STRONG))
MIN_AREA = 0.02  # share of the image from which a class counts as present


def new_oracle() -> SegformerForSemanticSegmentation:
    """Build the untrained network: 1.6 M parameters, labels = class ids of the catalogue."""
    config = SegformerConfig(
        hidden_sizes=[32, 48, 96, 160],
        decoder_hidden_size=96,
        depths=[2, 2, 2, 2],
        num_attention_heads=[1, 2, 3, 5],
        id2label=dict(enumerate(label_names())),
        classifier_dropout_prob=0.0,
        drop_path_rate=0.0,
    )
    return SegformerForSemanticSegmentation(config)


def label_names() -> list[str]:
    """Return the name of every label; ids that the catalogue leaves out have an empty one."""
    names = {entry.class_id: name for name, entry in load_catalog().classes.items()}
    return ["background", *(names.get(index, "") for index in range(1, 1 + max(names)))]


@cache
def load_oracle() -> SegformerForSemanticSegmentation:
    """Load the committed oracle in single precision."""
    return SegformerForSemanticSegmentation.from_pretrained(FOLDER, dtype=torch.float32).eval()


@torch.no_grad()
def predict(
    oracle: SegformerForSemanticSegmentation, images: Sequence[UInt8[np.ndarray, "h w 3"]]
) -> UInt8[np.ndarray, "n h w"]:
    """Return the class map of each image; all images of one size."""
    stacked = np.stack(images)
    return _logits(oracle, stacked, stacked.shape[1:3]).argmax(1).numpy().astype(np.uint8)


def _logits(
    oracle: SegformerForSemanticSegmentation,
    images: UInt8[np.ndarray, "n h w 3"],
    size_hw: tuple[int, int],
) -> Float[Tensor, "n c height width"]:
    logits = oracle(pixel_values=to_tensor(images)).logits
    return functional.interpolate(logits.float(), size_hw, mode="bilinear")


def _render(job: Job) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]:
    seed, split, variation = job
    scene = render_scene(seed, split=split, variation=variation)
    return scene.image, scene.class_map


def render_pairs(
    first_seed: int, count: int, *kinds: Kind
) -> tuple[UInt8[np.ndarray, "n h w 3"], UInt8[np.ndarray, "n h w"]]:
    """Render images with their class maps on all cores, of the kinds in turn."""
    jobs = [(first_seed + index, *kinds[index % len(kinds)]) for index in range(count)]
    with ProcessPoolExecutor() as pool:
        images, class_maps = zip(*pool.map(_render, jobs, chunksize=250), strict=True)
    return np.stack(images), np.stack(class_maps)


def degrade(
    image: UInt8[np.ndarray, "h w 3"], rng: np.random.Generator
) -> UInt8[np.ndarray, "h w 3"]:
    """Blur and add noise by a random amount, as a generator's images are softer than renders."""
    sigma = rng.uniform(0, 1.6)
    if sigma > 0.3:
        image = cv2.GaussianBlur(image, (0, 0), sigma)
    noise = rng.normal(0, rng.uniform(0, 8), image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def train_oracle(work: Path, num_steps: int, num_renders: int) -> None:
    """Train, write half-precision weights to benchmarks/oracle/, resume where it stopped."""
    images, class_maps = render_pairs(FIRST_SEED, num_renders, *TRAINING_KINDS)
    torch.manual_seed(0)
    oracle = new_oracle()

    def loss_at(step: int) -> Float[Tensor, ""]:
        rng = np.random.default_rng((1, step))
        chosen = rng.integers(num_renders, size=BATCH_SIZE)
        batch = np.stack([degrade(images[index], rng) for index in chosen])
        # Every other pixel is enough; which ones is random, as their grid is half a pixel off.
        top, left = rng.integers(2, size=2)
        truth = torch.from_numpy(class_maps[chosen][:, top::2, left::2].copy()).long()
        with torch.autocast("cpu", torch.bfloat16):
            logits = _logits(oracle, batch, (truth.shape[1], truth.shape[2]))
        return functional.cross_entropy(logits, truth)

    schedule = Schedule(
        num_steps, learning_rate=1e-3, weight_decay=1e-2, ema_decay=0.99, checkpoint_every=500
    )
    train(oracle, loss_at, schedule, work)
    oracle.half().save_pretrained(FOLDER)


def evaluate_oracle(count: int) -> dict[str, float]:
    """Return mIoU over classes and background on unseen scenes and on unseen sprites."""
    oracle = load_oracle()
    num_labels = len(label_names())
    results = {}
    splits: dict[str, Split] = {"unseen scenes": "train", "unseen sprites": "test"}
    for name, split in splits.items():
        images, class_maps = render_pairs(HELD_OUT_SEED, count, (split, PLAIN))
        confusion = np.zeros((num_labels, num_labels), np.int64)
        for start in range(0, count, 50):
            batch = slice(start, start + 50)
            predicted = predict(oracle, list(images[batch]))
            confusion += confusion_matrix(predicted, class_maps[batch], num_labels)
        results[name] = float(np.nanmean(class_ious(confusion)))
    return results
