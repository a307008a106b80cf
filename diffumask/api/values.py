"""What the values of options may be, for a shell to complete: told at once, nothing is loaded.

Names of what is slow to import stand here once more; a test compares them with what they name.
What ends with a colon is followed by a folder.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from diffumask.masks.source_name import ATTENTION, BOTH, FUSED, PROMPTED, SEGMENTATOR
from diffumask.prompts.shipped import class_names, vocabulary_names
from diffumask.segmentation.known import KNOWN as NETWORKS  # noqa: F401

PRESETS = ("none", "sd15", "sd21")
DEVICES = ("auto", "cpu", "cuda", "mps")
DTYPES = ("auto", "float32", "float16", "bfloat16")
OFFLOADS = ("model", "sequential")
QUANTIZATIONS = ("int8", "nf4")
SCHEDULERS = (
    *("ddim", "pndm", "euler", "euler-a", "heun", "dpm++", "dpm++-karras", "dpm++-sde"),
    *("unipc", "lcm"),
)
THRESHOLDS = ("auto", "otsu", "adaptive")
REFINERS = ("auto", "none", "crf", "crf-wide", "guided", "pamr", "sam:", "sam2:", "sam3:")
AFFINITIES = ("none", "self-attention")
HEATS = ("auto", "attention", "affinity")
NETWORK_SOURCES = tuple(f"{kind}:" for kind in PROMPTED)
MASK_SOURCES = (
    *(ATTENTION, SEGMENTATOR, BOTH, *NETWORK_SOURCES),
    *(f"{FUSED}{kind}" for kind in NETWORK_SOURCES),
)
FORMATS = (
    *("voc", "coco", "yolo", "yolo-detect", "cityscapes", "hf", "webdataset", "png"),
    *("cvat", "label-studio"),
)
READ_FORMATS = ("cvat", "label-studio", "coco", "png")
LAYOUTS = (
    *("auto", "native", "voc", "cityscapes", "oxford-pets", "ade20k", "camvid", "plain"),
    *("coco", "hf"),
)
HEADS = ("pyramid", "linear", "decoder-copy", "mlp")
METHODS = ("iou", "confident-learning")
VOCABULARIES = {"tiny": "tiny"}  # by model name; all others get "voc"


def models(given: Mapping[str, Any]) -> Iterable[str]:
    """List the models that have a name."""
    from diffumask.models import MODELS

    return MODELS


def gpus(given: Mapping[str, Any]) -> Iterable[str]:
    """List the GPUs that a dry run counts with."""
    from diffumask.generation.cost import GPUS

    return GPUS


def vocabularies(given: Mapping[str, Any]) -> Iterable[str]:
    """List the vocabularies that ship with the package."""
    return vocabulary_names()


def classes(given: Mapping[str, Any]) -> Iterable[str]:
    """List the classes of the data that is given, else of the vocabulary or that of the model.

    Words are joined by hyphens, with which every class is found, as no shell parts them.
    """
    names = _classes_of(given.get("data") or given.get("folder"))
    if not names:
        by_model = VOCABULARIES.get(given.get("model") or "tiny", "voc")
        names = class_names(str(given.get("vocabulary") or by_model))
    return ["-".join(name.split()) for name in names]


def _classes_of(data: Any) -> Sequence[str]:
    """List the classes of a dataset of ours, of anything else none."""
    try:
        return list(json.loads((Path(data) / "run.json").read_bytes())["classes"])
    except (OSError, ValueError, KeyError, TypeError):
        return []
