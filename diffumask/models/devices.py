"""Devices and number types by name, and quiet libraries."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from diffumask.errors import InputError

from .files import reason
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
