"""Networks that segment, of transformers."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import (
    MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING,
    AutoConfig,
    AutoModelForSemanticSegmentation,
    AutoModelForUniversalSegmentation,
    CLIPSegForImageSegmentation,
    CLIPTokenizer,
    PreTrainedModel,
)
from transformers.utils import cached_file

from diffumask.errors import InputError, reason

from .devices import find_device
from .progress_bars import progress_bars_off
from .registry import check_place
from .whole import load_tokenizer_of, load_whole

# Published checkpoints of SAM 2 and 3 are of the model for videos, which holds that for images.
# By the names of their classes, of which not every transformers has all.
SAM_MODELS = {
    "sam": ("SamModel", ("sam",)),
    "sam2": ("Sam2Model", ("sam2", "sam2_video")),
    "sam3": ("Sam3TrackerModel", ("sam3_tracker", "sam3_video")),
}
SAM3_DETECTOR = "Sam3Model"


def load_segmenter(model: str, device: str = "auto") -> tuple[PreTrainedModel, dict[str, Any]]:
    """Load a semantic segmentation network of transformers with its preprocessor_config.json.

    `model` is a folder or a hub id; the second result is empty without that file. Only safetensors
    are read, and no code of the model's. Raises `InputError` for anything else.
    """
    torch_device = find_device(device)
    network, prepared, missing = _load_segmenter(model, {})
    if missing:  # transformers fills them with noise
        raise InputError(f"expected all weights in {model}, got none for {min(missing)}")
    return network.eval().to(torch_device), prepared


def load_trainable(model: str, names: Mapping[int, str]) -> tuple[PreTrainedModel, dict[str, Any]]:
    """Load a segmentation network, or its encoder alone, to train it for labels of these names.

    As `load_segmenter`, but the head, where it is missing or made for another number of labels,
    has random weights.
    """
    options = {
        "id2label": dict(names),
        "label2id": {name: label for label, name in names.items()},
        "ignore_mismatched_sizes": True,
    }
    network, prepared, missing = _load_segmenter(model, options)
    if len(missing) == len(network.state_dict()):
        raise InputError(f"expected weights of a segmentation network in {model}, got others")
    return network, prepared


def _load_segmenter(
    model: str, options: Mapping[str, Any]
) -> tuple[Any, dict[str, Any], Collection[str]]:
    """Load in single precision; the last result names the weights that are not there."""
    check_place(model)
    safe: dict[str, Any] = {"use_safetensors": True, "trust_remote_code": False}
    try:
        with progress_bars_off():
            config = AutoConfig.from_pretrained(model, trust_remote_code=False)
            universal = type(config) in MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING
            kind: Any = (
                AutoModelForUniversalSegmentation if universal else AutoModelForSemanticSegmentation
            )
            network, info = kind.from_pretrained(
                model, dtype=torch.float32, output_loading_info=True, **safe, **options
            )
            preparation = cached_file(
                model, "preprocessor_config.json", _raise_exceptions_for_missing_entries=False
            )
    except Exception as error:  # any kind, as the hub's client lets many through
        raise InputError(
            f"expected a semantic segmentation network in safetensors, got {model!r}: "
            f"{reason(error)}"
        ) from error
    prepared = json.loads(Path(preparation).read_bytes()) if preparation else {}
    return network, prepared, info["missing_keys"]


def load_sam_model(folder: Path, device: str = "auto", kind: str = "sam") -> PreTrainedModel:
    """Load a SAM ("sam"), SAM 2 ("sam2"; of images) or the tracker of SAM 3 ("sam3").

    From safetensors in a local folder. Raises `InputError` for a folder that is missing, of
    another model, or not whole.
    """
    _check_sam_folder(folder)
    torch_device = find_device(device)
    name, types = SAM_MODELS[kind]
    return load_whole(str(folder), _sam_class(name), types, "SAM").to(torch_device)


def load_sam3(folder: Path, device: str = "auto") -> tuple[PreTrainedModel, CLIPTokenizer]:
    """Load the detector of a SAM 3, which is asked by text, with its tokenizer.

    From safetensors in a local folder. Raises `InputError` as `load_sam_model` does.
    """
    _check_sam_folder(folder)
    torch_device = find_device(device)
    detector = _sam_class(SAM3_DETECTOR)
    network = load_whole(str(folder), detector, ("sam3_video", "sam3"), "SAM 3")
    tokenizer = _clip_tokenizer(str(folder), network.config.text_config.vocab_size, "a SAM 3")
    return network.to(torch_device), tokenizer


def _sam_class(name: str) -> Any:
    try:
        return getattr(transformers, name)
    except (AttributeError, ImportError) as error:
        raise InputError(
            f"expected transformers with {name}, got {transformers.__version__} ({reason(error)});"
            " pip install -U transformers"
        ) from error


def _check_sam_folder(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise InputError(f"expected a SAM folder with config.json, got {str(folder)!r}")


def load_clipseg(model: str, device: str = "auto") -> tuple[PreTrainedModel, CLIPTokenizer]:
    """Load a CLIPSeg with its tokenizer, from safetensors in a folder or on the hub.

    Raises `InputError` for anything else.
    """
    network = load_whole(model, CLIPSegForImageSegmentation, ("clipseg",), "CLIPSeg")
    tokenizer = _clip_tokenizer(model, network.config.text_config.vocab_size, "a CLIPSeg")
    return network.to(find_device(device)), tokenizer


def _clip_tokenizer(model: str, vocab_size: int, name: str) -> CLIPTokenizer:
    tokenizer = load_tokenizer_of(CLIPTokenizer, model, name)
    if len(tokenizer) != vocab_size:  # transformers makes one up
        raise InputError(f"expected the tokenizer of {name} in {model!r}, got none")
    return tokenizer
