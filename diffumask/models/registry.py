"""Which models there are: by name, folder or hub id."""

import difflib
import re
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import Any

from diffumask.errors import InputError
from diffumask.notices import notices_off

from .files import (
    UNUSED_PARTS,
    check_whole,
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


def resolve(model: str, revision: str | None = None, variant: str | None = None) -> ModelSpec:
    """Find a model by its name in `MODELS`, as a local folder, or by its hub id ("owner/name").

    The sizes of an unlisted model come from its files, so an unlisted hub id is downloaded here.
    Raises `InputError` for anything else, for a revision of what is not on the hub, for a variant
    that a folder lacks, and if the hub or the needed files are out of reach.
    """
    spec = _find(model, revision, variant)
    if revision is not None and isinstance(spec.source, Path):
        raise InputError(
            f"expected a revision of a model on the hub, got {revision!r} of {spec.name}, which is "
            "a folder"
        )
    if variant is not None and isinstance(spec.source, Path):
        check_whole(spec.source, variant)
    return (
        spec if revision is variant is None else replace(spec, revision=revision, variant=variant)
    )


def _find(model: str, revision: str | None, variant: str | None) -> ModelSpec:
    if model in MODELS:
        return MODELS[model]
    folder = Path(model)
    if folder.is_dir():
        return spec_of(folder.resolve().name, folder, folder)
    if HUB_ID.fullmatch(model):
        return spec_of(model, model, _fetch(model, revision, variant))
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
    return fingerprint_folder(model_folder(spec), spec.variant)


def vae_fingerprint(spec: ModelSpec) -> str:
    """Return 16 hex digits of the weights of a model's VAE, whatever the rest of the model is."""
    return fingerprint_vae(model_folder(spec))


def text_width(spec: ModelSpec) -> int:
    """Return the width of the text that a model attends to, which tells 1, 2 and XL apart."""
    return width_in(model_folder(spec))


def model_folder(spec: ModelSpec) -> Path:
    """Return the folder of a model; one of the hub is downloaded. Raises `InputError`."""
    if isinstance(spec.source, Path):
        return spec.source
    return _fetch(spec.source, spec.revision, spec.variant)


def _fetch(hub_id: str, revision: str | None, variant: str | None) -> Path:
    from diffusers import DiffusionPipeline  # it loads torch
    from diffusers.utils import logging as diffusers_logging

    verbosity = diffusers_logging.get_verbosity()
    diffusers_logging.set_verbosity(diffusers_logging.ERROR)  # the error below says it in one line
    try:
        options: dict[str, Any] = {
            "revision": revision,
            "variant": variant,
            "use_safetensors": True,
        }
        options |= dict.fromkeys(UNUSED_PARTS)
        with notices_off(), around_download.get()():
            return Path(DiffusionPipeline.download(hub_id, **options))
    # Any kind: the hub's client lets errors of its HTTP library through, and has changed library.
    except Exception as error:
        raise InputError(
            f"expected a folder or a model on the hub, got {_named(hub_id, revision, variant)}"
            f" ({reason(error)});"
            " check the name and the connection, or use the model tiny"
        ) from error
    finally:
        diffusers_logging.set_verbosity(verbosity)


def _named(hub_id: str, revision: str | None, variant: str | None) -> str:
    asked = {"revision": revision, "variant": variant}
    return ", ".join([repr(hub_id), *(f"{name} {one!r}" for name, one in asked.items() if one)])
