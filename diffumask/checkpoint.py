"""The files of a diffusers model folder: what it holds, and whether it is whole."""

import hashlib
import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from diffumask.errors import InputError

INDEX = "model_index.json"
UNET_CLASS = "UNet2DConditionModel"
# Parts of a Stable Diffusion folder that are never loaded, and so never downloaded.
UNUSED_PARTS = ("safety_checker", "feature_extractor", "image_encoder")


def read_index(folder: Path) -> dict[str, Any]:
    """Return which library and class load each part of the model.

    Raises `InputError` for folders that are no diffusers model, and for models of other kinds.
    """
    if not (folder / INDEX).is_file():
        raise InputError(f"expected a diffusers model folder, got {folder} without {INDEX}")
    index = _read_json(folder / INDEX)
    _, kind = index.get("unet", (None, None))
    if kind != UNET_CLASS:
        raise InputError(
            f"expected a model whose UNet has cross-attention, got {index.get('_class_name')} with"
            f" {kind or 'no UNet'} in {folder}; use a Stable Diffusion 1, 2 or XL model"
        )
    return index


def default_size_hw(folder: Path) -> tuple[int, int]:
    """Return the height and width in pixels that the model was made for."""
    read_index(folder)
    sample_size = _read_json(folder / "unet" / "config.json")["sample_size"]
    n_blocks = len(_read_json(folder / "vae" / "config.json")["block_out_channels"])
    h, w = (sample_size, sample_size) if isinstance(sample_size, int) else sample_size
    return h * 2 ** (n_blocks - 1), w * 2 ** (n_blocks - 1)


def check_whole(folder: Path) -> None:
    """Raise `InputError` if a part of the model is missing or a weight file is cut off."""
    for part in _loaded_parts(folder):
        if not part.is_dir():
            raise InputError(f"expected a whole model, got {folder} without {part.name}")
    for path in _files(folder):
        if path.suffix == ".safetensors":
            try:
                with safe_open(path, framework="pt"):
                    pass  # opening compares the header with the length of the file
            except SafetensorError as error:
                raise InputError(
                    f"expected whole weights, got {path} with {reason(error)}; copy or download the"
                    " model again"
                ) from error


def fingerprint_folder(folder: Path) -> str:
    """Return 16 hex digits that change with any configuration or weight file that is loaded."""
    total = hashlib.blake2b(digest_size=8)
    for path in _files(folder):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, hashlib.blake2b).digest()
        total.update(path.relative_to(folder).as_posix().encode() + b"\0" + content)
    return total.hexdigest()


def fingerprint_vae(folder: Path) -> str:
    """Return 16 hex digits of the weights of a model's VAE, the same in float32 and float16.

    Raises `InputError` for a model without a VAE in safetensors.
    """
    weights: dict[str, bytes] = {}
    paths = sorted(path for path in (folder / "vae").glob("*.safetensors"))
    for path in [one for one in paths if ".fp16." not in one.name] or paths:
        with safe_open(path, framework="pt") as file:
            for name in sorted(file.keys()):
                weights[name] = file.get_tensor(name).half().numpy().tobytes()
    if not weights:
        raise InputError(f"expected a VAE in safetensors, got none in {folder}")
    total = hashlib.blake2b(digest_size=8)
    for name, content in sorted(weights.items()):
        total.update(name.encode() + b"\0" + content)
    return total.hexdigest()


def reason(error: BaseException) -> str:
    """Return the first line of what a library says went wrong, or of what caused that."""
    text = str(error.__cause__ or error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def _loaded_parts(folder: Path) -> list[Path]:
    return [
        folder / name
        for name, library_and_class in read_index(folder).items()
        if name not in UNUSED_PARTS
        and isinstance(library_and_class, list)
        and library_and_class[0] is not None
    ]


def _files(folder: Path) -> list[Path]:
    kinds = {".json", ".txt", ".safetensors"}
    files = (path for part in _loaded_parts(folder) for path in part.iterdir())
    return [folder / INDEX, *sorted(path for path in files if path.suffix in kinds)]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"expected a JSON file at {path}, got {reason(error)}") from error
