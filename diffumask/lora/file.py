"""LoRA files: one safetensors of named matrices, in the format of diffusers or of kohya."""

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from diffumask.errors import InputError

SUFFIX = ".safetensors"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
# Scales and norms beside the matrices, by the end of their names.
NO_MATRICES = (".alpha", ".dora_scale")


@dataclass(frozen=True, slots=True)
class LoraFile:
    """A file that holds `n_matrices` LoRA matrices; the fingerprint is 16 hex digits of it."""

    path: Path
    fingerprint: str
    n_matrices: int


def require_peft() -> None:
    """Raise InputError where peft is not installed."""
    if importlib.util.find_spec("peft") is None:
        raise InputError("expected peft for LoRA, got none; pip install 'diffumask[lora]'")


def read_lora(path: Path) -> LoraFile:
    """Look at a LoRA file without reading its weights.

    Raises InputError for anything but a safetensors of LoRA matrices; pickles are not opened.
    """
    if path.suffix in PICKLES:
        raise InputError(
            f"expected a LoRA in {SUFFIX}, got {path}, which may run code when it is read; "
            f"use the LoRA's {SUFFIX}"
        )
    if path.suffix != SUFFIX or not path.is_file():
        raise InputError(f"expected a LoRA file {SUFFIX}, got {str(path)!r}")
    try:
        with safe_open(path, "np") as file:
            names = [name for name in file.keys() if not name.endswith(NO_MATRICES)]  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise InputError(f"expected a whole {SUFFIX} file, got {path}: {error}") from error
    others = [name for name in names if "lora" not in name]
    if others or not names:
        what = f"the tensor {others[0]!r}" if others else "no tensors"
        raise InputError(f"expected a LoRA, got {path} with {what}")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "blake2b").hexdigest()
    return LoraFile(path, digest[:16], len(names))
