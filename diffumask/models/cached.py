"""Models of the hub that are on this machine: told by the cache of the hub's client alone."""

from dataclasses import replace
from pathlib import Path

from diffumask.errors import InputError

from .files import has_weights
from .index import INDEX
from .registry import spec_of
from .spec import ModelSpec


def cached_spec(hub_id: str) -> ModelSpec | None:
    """Find a model as `resolve` does, but without the network.

    None for one that is not there, not whole, or of no known family.
    """
    folder = _cached_folder(hub_id)
    try:
        return None if folder is None else spec_of(hub_id, hub_id, folder)
    except InputError:
        return None


def offline(spec: ModelSpec) -> ModelSpec | None:
    """Return the model with the folder where it lies on this machine; None where it does not."""
    if isinstance(spec.source, Path):
        return spec
    folder = _cached_folder(spec.source, spec.revision, spec.variant)
    return None if folder is None else replace(spec, source=folder)


def _cached_folder(
    hub_id: str, revision: str | None = None, variant: str | None = None
) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    index = try_to_load_from_cache(hub_id, INDEX, revision=revision)
    if not isinstance(index, str):
        return None
    try:
        return Path(index).parent if has_weights(Path(index).parent, variant) else None
    except InputError:
        return None


def cached_specs() -> list[ModelSpec]:
    """List all such models, in the order of their ids."""
    from huggingface_hub import CacheNotFound, scan_cache_dir

    try:
        repos = scan_cache_dir().repos
    except CacheNotFound:
        return []
    ids = sorted(repo.repo_id for repo in repos if repo.repo_type == "model")
    return [spec for spec in map(cached_spec, ids) if spec is not None]
