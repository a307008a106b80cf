"""Which models there are: by name, folder or hub id."""

import difflib
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import Any

from diffumask.errors import InputError, reason
from diffumask.notices import notices_off

from .files import check_whole, fingerprint_folder, fingerprint_vae, stamp_folder
from .index import INDEX, UNUSED_PARTS, read_index
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
        _check_on_hub(model, revision, variant)
        return spec_of(model, model, _fetch(model, revision, variant))
    near = difflib.get_close_matches(model, MODELS, n=1, cutoff=0.5)
    raise InputError(
        f"expected one of {', '.join(MODELS)}, a folder or a hub id like owner/name, got {model!r}"
        + (f"; did you mean {near[0]!r}?" if near else "")
    )


def spec_of(name: str, source: Path | str, folder: Path) -> ModelSpec:
    """Return how a model samples by what its folder says. Raises `InputError` as `read_index`."""
    index = read_index(folder)
    return ModelSpec(name, source, *index.default_size_hw, *index.usual_pace, family=index.family)


def model_name(model: str) -> str:
    """Return the name that `resolve` will give a model, without looking for it."""
    return Path(model).resolve().name if model not in MODELS and Path(model).is_dir() else model


def fingerprint(spec: ModelSpec) -> str:
    """Return 16 hex digits that change with any configuration or weight file that is loaded."""
    return fingerprint_folder(model_folder(spec), spec.variant)


def stamp(spec: ModelSpec) -> str:
    """Return 16 hex digits that change whenever `fingerprint` does on this machine; reads no file.

    They may change where that does not: with the place, the time or the medium of a file.
    """
    return stamp_folder(model_folder(spec), spec.variant)


def vae_fingerprint(spec: ModelSpec) -> str:
    """Return 16 hex digits of the weights of a model's VAE, whatever the rest of the model is."""
    return fingerprint_vae(model_folder(spec))


def text_width(spec: ModelSpec) -> int:
    """Return the width of the text that a model attends to, which tells 1, 2 and XL apart."""
    return read_index(model_folder(spec)).text_width


def model_folder(spec: ModelSpec) -> Path:
    """Return the folder of a model; one of the hub is downloaded. Raises `InputError`."""
    if isinstance(spec.source, Path):
        return spec.source
    return _fetch(spec.source, spec.revision, spec.variant)


def check_place(model: str) -> None:
    """Raise InputError for what is neither the folder of a transformers model nor a hub id."""
    if not (Path(model) / "config.json").is_file() and not HUB_ID.fullmatch(model):
        raise InputError(
            f"expected a folder with config.json or a hub id like owner/name, got {model!r}"
        )


def _check_on_hub(hub_id: str, revision: str | None, variant: str | None) -> None:
    """Raise InputError for what is no model on the hub, before the libraries are imported."""
    import huggingface_hub

    with _reaching(hub_id, revision, variant):
        huggingface_hub.hf_hub_download(hub_id, INDEX, revision=revision)


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
        with notices_off(), _reaching(hub_id, revision, variant):
            return Path(DiffusionPipeline.download(hub_id, **options))
    finally:
        diffusers_logging.set_verbosity(verbosity)


@contextmanager
def _reaching(hub_id: str, revision: str | None, variant: str | None) -> Iterator[None]:
    """Turn what goes wrong in a download into one line."""
    try:
        with around_download.get()():
            yield
    # Any kind: the hub's client lets errors of its HTTP library through, and has changed library.
    except Exception as error:
        raise InputError(
            f"expected a folder or a model on the hub, got {_named(hub_id, revision, variant)}"
            f" ({reason(error)});"
            " check the name and the connection, or use the model tiny"
        ) from error


def _named(hub_id: str, revision: str | None, variant: str | None) -> str:
    asked = {"revision": revision, "variant": variant}
    return ", ".join([repr(hub_id), *(f"{name} {one!r}" for name, one in asked.items() if one)])
