"""Devices and number types by name."""

import psutil
import torch

from diffumask.errors import InputError, reason

from .precision import computes_in

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


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


def find_dtype(dtype: str, device: torch.device, half: str = "float16") -> torch.dtype:
    """Return the number type of that name, float32 where the device has no kernels for it.

    "auto" is `half` on cuda, where the device has it, and float32 elsewhere. Raises `InputError`
    for another name.
    """
    if dtype == "auto":
        dtype = half if device.type == "cuda" else "float32"
    if dtype not in DTYPES:
        raise InputError(f"expected auto or one of {', '.join(DTYPES)} as dtype, got {dtype!r}")
    found = DTYPES[dtype]
    return found if computes_in(found, device.type) else torch.float32


def free_bytes(device: torch.device) -> int | None:
    """Return how much memory a device has left; None for one that does not tell."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available if device.type == "cpu" else None
