"""The second judge: a small ResNet that names the sprite on a crop, class and sub-class.

`python -m benchmarks judges` trains and evaluates it. It shares nothing with the oracle but the
renderer: crops of single objects,
from seeds of their own, varied in hue, shape, turn and style, blurred and noised. Its weights lie
under benchmarks/classifier/. The features before its last layer give the Fréchet distance.
"""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.nn import functional
from transformers import ResNetConfig, ResNetForImageClassification

from diffumask.scenes import load_catalog, render_scene
from diffumask.scenes.catalog import Split
from diffumask.scenes.variation import PLAIN, STRONG
from diffumask.tiny.autoencoder import to_tensor
from diffumask.training import Schedule, train

from .oracle import degrade

FOLDER = Path(__file__).parents[1] / "classifier"
FIRST_SEED = 60_000_000
HELD_OUT_SEED = 70_000_000
CROP_SIZE = 64
MARGIN = 0.12  # around the object, in shares of its longer side
BATCH_SIZE = 64

Crop = UInt8[np.ndarray, "crop crop 3"]
Job = tuple[int, str, Split, bool]


def sub_class_names() -> list[tuple[str, str]]:
    """Return (class, sub-class) of every label: the sprites of the splits train and judge."""
    return [
        (name, sub_class)
        for name, entry in load_catalog().classes.items()
        for sub_class in entry.sub_classes("judge")
    ]


def crop_around(image: UInt8[np.ndarray, "h w 3"], mask: np.ndarray) -> Crop:
    """Cut out a square around a mask with a margin; the whole image for an empty mask."""
    h, w = mask.shape
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        rows, columns = np.arange(h), np.arange(w)
    centre_xy = (columns[0] + columns[-1]) / 2, (rows[0] + rows[-1]) / 2
    side = (1 + 2 * MARGIN) * max(len(range(rows[0], rows[-1] + 1)), columns[-1] - columns[0] + 1)
    scale = CROP_SIZE / side
    middle = (CROP_SIZE - 1) / 2
    matrix = np.array(
        [[scale, 0, middle - scale * centre_xy[0]], [0, scale, middle - scale * centre_xy[1]]]
    )
    return cv2.warpAffine(
        image, matrix, (CROP_SIZE, CROP_SIZE), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REFLECT
    )


def new_classifier() -> ResNetForImageClassification:
    """Build the untrained network, 1.5 M parameters."""
    labels = [f"{name}/{sub_class}" for name, sub_class in sub_class_names()]
    config = ResNetConfig(
        embedding_size=32,
        hidden_sizes=[32, 64, 128, 192],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        id2label=dict(enumerate(labels)),
    )
    return ResNetForImageClassification(config)


def load_classifier() -> ResNetForImageClassification:
    """Load the committed classifier in single precision."""
    return ResNetForImageClassification.from_pretrained(FOLDER, dtype=torch.float32).eval()


@torch.no_grad()
def judged(
    classifier: ResNetForImageClassification, crops: Sequence[Crop]
) -> tuple[Float[np.ndarray, "n classes"], Float[np.ndarray, "n sub"], Float[np.ndarray, "n f"]]:
    """Return the probabilities of classes and of sub-classes, and the features, of crops.

    Classes are in the order of the catalogue; the probability of one is the sum of those of its
    sub-classes.
    """
    hidden = classifier.resnet(to_tensor(np.stack(crops))).pooler_output.flatten(1)
    sub_classes = classifier.classifier(hidden).softmax(-1).numpy()
    names = list(load_catalog().classes)
    class_of = np.array([names.index(name) for name, _ in sub_class_names()])
    classes = np.stack([sub_classes[:, class_of == i].sum(1) for i in range(len(names))], 1)
    return classes, sub_classes, hidden.numpy()


def _render_crop(job: Job) -> tuple[Crop, str]:
    seed, name, split, is_strong = job
    variation = STRONG if is_strong else PLAIN
    scene = render_scene(seed, split=split, class_names=[name], variation=variation)
    (item,) = scene.objects
    return crop_around(scene.image, item.mask), item.sub_class


def render_crops(
    first_seed: int, count: int, split: Split, strong: bool
) -> tuple[UInt8[np.ndarray, "n crop crop 3"], list[tuple[str, str]]]:
    """Render crops of single objects, class after class, on all cores; every other one `strong`."""
    names = list(load_catalog().classes)
    jobs: list[Job] = [
        (first_seed + i, names[i % len(names)], split, strong and i % 2 == 0) for i in range(count)
    ]
    with ProcessPoolExecutor() as pool:
        crops, sub_classes = zip(*pool.map(_render_crop, jobs, chunksize=200), strict=True)
    shown = [(job[1], sub_class) for job, sub_class in zip(jobs, sub_classes, strict=True)]
    return np.stack(crops), shown


def train_classifier(work: Path, num_steps: int, num_renders: int) -> None:
    """Train, write half-precision weights to benchmarks/classifier/, resume where it stopped."""
    crops, shown = render_crops(FIRST_SEED, num_renders, "judge", strong=True)
    labels = sub_class_names()
    truth = np.array([labels.index(one) for one in shown])
    torch.manual_seed(0)
    classifier = new_classifier()

    def loss_at(step: int) -> Float[Tensor, ""]:
        rng = np.random.default_rng((3, step))
        chosen = rng.integers(num_renders, size=BATCH_SIZE)
        batch = np.stack([degrade(_jittered(crops[index], rng), rng) for index in chosen])
        with torch.autocast("cpu", torch.bfloat16):
            logits = classifier(to_tensor(batch)).logits
        wanted: Int64[Tensor, " n"] = torch.from_numpy(truth[chosen])
        return functional.cross_entropy(logits.float(), wanted, label_smoothing=0.05)

    schedule = Schedule(
        num_steps, learning_rate=2e-3, weight_decay=2e-2, ema_decay=0.99, checkpoint_every=500
    )
    train(classifier, loss_at, schedule, work)
    classifier.half().save_pretrained(FOLDER)


def _jittered(crop: Crop, rng: np.random.Generator) -> Crop:
    """Shift and scale a crop a little, as the mask of a generated object is not exact."""
    scale, shift = rng.uniform(0.85, 1.15), rng.uniform(-4, 4, 2)
    matrix = cv2.getRotationMatrix2D((CROP_SIZE / 2, CROP_SIZE / 2), 0.0, scale)
    matrix[:, 2] += shift
    return cv2.warpAffine(crop, matrix, (CROP_SIZE, CROP_SIZE), borderMode=cv2.BORDER_REFLECT)


def evaluate_classifier(count: int) -> dict[str, float]:
    """Return the share of crops named rightly: by class and sub-class, and of unseen sprites."""
    classifier = load_classifier()
    names, labels = list(load_catalog().classes), sub_class_names()
    results = {}
    splits: dict[str, Split] = {"seen sprites": "train", "unseen sprites": "test"}
    for name, split in splits.items():
        crops, shown = render_crops(HELD_OUT_SEED, count, split, strong=False)
        classes, sub_classes, _ = judged(classifier, list(crops))
        wanted = [names.index(class_name) for class_name, _ in shown]
        results[f"class, {name}"] = float((classes.argmax(1) == wanted).mean())
        if split == "train":
            wanted = [labels.index(one) for one in shown]
            results[f"sub-class, {name}"] = float((sub_classes.argmax(1) == wanted).mean())
    return results
