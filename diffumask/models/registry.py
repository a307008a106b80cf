"""Which models there are: by name, folder or hub id."""

import difflib
import re
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from pathlib import Path

from diffumask.errors import InputError
from diffumask.notices import notices_off

from .files import (
    UNUSED_PARTS,
    default_size_hw,
    family_in,
    fingerprint_folder,
    fingerprint_vae,
    reason,
    usual_pace,
)
from .files import text_width as width_in
from .known import MODELS
from .spec import ModelSpec

HUB_ID = re.compile(r"\w[\w.-]*/[\w.-]+")
# Entered around a download, whose bars are the hub's: what shows progress of its own steps aside.
around_download: ContextVar[Callable[[], AbstractContextManager[None]]] = ContextVar(
    "around_download", default=nullcontext
)


def resolve(model: str) -> ModelSpec:
    """Find a model by its name in `MODELS`, as a local folder, or by its hub id ("owner/name").

    The sizes of an unlisted model come from its files, so an unlisted hub id is downloaded here.
    Raises `InputError` for anything else, and if the hub or the needed files are out of reach.
    """
    if model in MODELS:
        return MODELS[model]
    folder = Path(model)
    if folder.is_dir():
        return spec_of(folder.resolve().name, folder, folder)
    if HUB_ID.fullmatch(model):
        return spec_of(model, model, _fetch(model))
    near = difflib.get_close_matches(model, MODELS, n=1, cutoff=0.5)
    raise InputError(
        f"expected one of {', '.join(MODELS)}, a folder or a hub id like owner/name, got {model!r}"
        + (f"; did you mean {near[0]!r}?" if near else "")
    )


def spec_of(name: str, source: Path | str, folder: Path) -> ModelSpec:
    """Return how a model samples by what its folder says. Raises `InputError` as `read_index`."""
    sizes, pace = default_size_hw(folder), usual_pace(folder)
    return ModelSpec(name, source, *sizes, *pace, family=family_in(folder))


def model_name(model: str) -> str:
    """Return the name that `resolve` will give a model, without looking for it."""
    return Path(model).resolve().name if model not in MODELS and Path(model).is_dir() else model


def fingerprint(spec: ModelSpec) -> str:
    """Return 16 hex digits that change with any configuration or weight file that is loaded."""
    return fingerprint_folder(model_folder(spec))


def vae_fingerprint(spec: ModelSpec) -> str:
    """Return 16 hex digits of the weights of a model's VAE, whatever the rest of the model is."""
    return fingerprint_vae(model_folder(spec))


def text_width(spec: ModelSpec) -> int:
    """Return the width of the text that a model attends to, which tells 1, 2 and XL apart."""
    return width_in(model_folder(spec))


def model_folder(spec: ModelSpec) -> Path:
    """Return the folder of a model; one of the hub is downloaded. Raises `InputError`."""
    return spec.source if isinstance(spec.source, Path) else _fetch(spec.source)


def _fetch(hub_id: str) -> Path:
    from diffusers import DiffusionPipeline  # it loads torch
    from diffusers.utils import logging as diffusers_logging

    verbosity = diffusers_logging.get_verbosity()
    diffusers_logging.set_verbosity(diffusers_logging.ERROR)  # the error below says it in one line
    try:
        skipped = dict.fromkeys(UNUSED_PARTS)
        with notices_off(), around_download.get()():
            return Path(DiffusionPipeline.download(hub_id, use_safetensors=True, **skipped))
    # Any kind: the hub's client lets errors of its HTTP library through, and has changed library.
    except Exception as error:
        raise InputError(
            f"expected a folder or a model on the hub, got {hub_id!r} ({reason(error)});"
            " check the name and the connection, or use the model tiny"
        ) from error
    finally:
        diffusers_logging.set_verbosity(verbosity)
