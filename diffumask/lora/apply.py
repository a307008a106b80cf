"""Put the LoRA of a file into a pipeline for a while."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from diffusers import DiffusionPipeline
from transformers.utils import logging

from diffumask.errors import InputError, reason
from diffumask.models import progress_bars_off

from .file import LoraFile, require_peft
from .layers import ADAPTER, adapted_weights


@contextmanager
def lora_applied(pipe: DiffusionPipeline, lora: LoraFile, scale: float = 1.0) -> Iterator[None]:
    """Let a pipeline draw with a LoRA, as `pipe.load_lora_weights` of diffusers does.

    On exit the pipeline is as it was: without any LoRA. Raises InputError for a LoRA of another
    architecture, of which the pipeline lacks layers or has them in other sizes, and without peft.
    """
    require_peft()
    unknown: Any = pipe  # the base class has no LoRA, its subclasses have
    if unknown.get_list_adapters():
        raise ValueError("expected a pipeline without LoRA, got one with")
    try:
        _load(unknown, lora)
        unknown.set_adapters(ADAPTER, scale)
        yield
    finally:
        unknown.unload_lora_weights()


def _load(pipe: Any, lora: LoraFile) -> None:
    kind = type(pipe).__name__
    try:
        with progress_bars_off(), _without_report():
            pipe.load_lora_weights(
                str(lora.path), adapter_name=ADAPTER, use_safetensors=True, local_files_only=True
            )
        n_loaded = sum(len(weights) for weights in adapted_weights(pipe).values())
    except (ValueError, RuntimeError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"expected a LoRA made for this {kind}, got {lora.path}: {reason(error)}; use the "
            "model that it was trained on"
        ) from error
    if n_loaded != lora.n_matrices:
        raise InputError(
            f"expected a LoRA made for this {kind}, got {lora.path}, of whose {lora.n_matrices} "
            f"matrices {n_loaded} fit; use the model that it was trained on"
        )


@contextmanager
def _without_report() -> Iterator[None]:
    """Hide a report that names the weights of the text encoder, which no LoRA holds, as missing."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
