"""What loading a model of transformers has in common."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import (
    AutoConfig,
)

from diffumask.errors import InputError, reason
from diffumask.notices import notices_off

from .progress_bars import progress_bars_off
from .registry import check_place


def load_tokenizer_of(kind: Any, model: str, name: str, **options: Any) -> Any:
    """Load the tokenizer of the model `name`. Raises InputError for what cannot be loaded."""
    try:
        return kind.from_pretrained(model, local_files_only=Path(model).is_dir(), **options)
    except Exception as error:  # any kind, as the hub's client lets many through
        raise InputError(
            f"expected the tokenizer of {name} in {model!r}, got: {reason(error)}"
        ) from error


def load_whole(model: str, network: Any, types: Sequence[str], name: str) -> Any:
    """Load a model of one of the types, all of whose weights are there, in evaluation mode.

    Without types, any that the class of the network takes.
    """
    check_place(model)
    options: dict[str, Any] = {"use_safetensors": True, "local_files_only": Path(model).is_dir()}
    options["trust_remote_code"] = False
    try:
        found = AutoConfig.from_pretrained(model, trust_remote_code=False).model_type
        if types and found not in types:
            raise InputError(f"expected a model of type {types[0]!r} in {model!r}, got {found!r}")
        with progress_bars_off(), notices_off():
            loaded, info = network.from_pretrained(model, output_loading_info=True, **options)
    except InputError:
        raise
    except Exception as error:  # any kind, as the hub's client lets many through
        raise InputError(f"expected a whole {name} in {model!r}, got: {reason(error)}") from error
    if info["missing_keys"]:  # transformers fills them with noise
        raise InputError(
            f"expected all weights in {model!r}, got none for {min(info['missing_keys'])}"
        )
    return loaded.eval()
