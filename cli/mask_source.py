"""Options of where masks come from: attention, a Segmentator or both, or a prompted network."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from diffumask.errors import InputError
from diffumask.masks.source_name import BOTH, SEGMENTATOR, parse_source

if TYPE_CHECKING:  # they load torch
    from diffusers import AutoencoderKL

    from diffumask.masks.class_map import MaskSettings
    from diffumask.models import ModelSpec


@runtime_checkable
class Chosen(Protocol):
    """Options that say where masks come from."""

    @property
    def source(self) -> str: ...
    @property
    def segmentator(self) -> Path | None: ...


def check(source: str, segmentator: Path | None) -> None:
    """Raise InputError for a source that is none, or that the file is missing or too much for."""
    if (parse_source(source).kind == SEGMENTATOR) != (segmentator is not None):
        raise InputError(
            f"expected --segmentator FILE with --mask-source {SEGMENTATOR} or {BOTH}, and with"
            f" these alone, got --mask-source {source} "
            f"{'with' if segmentator else 'without'} a file"
        )
    if segmentator is not None:
        from diffumask.segmentator.file import read_facts

        read_facts(segmentator)


def with_prompted(options: Chosen, settings: "MaskSettings", device: str) -> "MaskSettings":
    """Return the settings on a device, with the network that is asked for objects, if any."""
    settings = replace(settings, device=device)
    if not parse_source(options.source).is_prompted:
        return settings
    from diffumask.masks.prompted import find_prompted

    return replace(settings, source=find_prompted(options.source, device))


def identity(source: str, segmentator: Path | None) -> dict[str, Any]:
    """Return what masks depend on, for run.json."""
    if segmentator is None:
        return {"mask_source": source, "segmentator": None}
    from diffumask.segmentator.file import fingerprint_file

    return {"mask_source": source, "segmentator": fingerprint_file(segmentator)}


def check_fit(options: Chosen, spec: "ModelSpec", class_names: Sequence[str]) -> None:
    """Refuse, before a model is loaded, a head of another VAE or one without the classes."""
    if options.segmentator is None:
        return
    from diffumask.models import vae_fingerprint
    from diffumask.segmentator.file import check_fingerprint, read_facts
    from diffumask.segmentator.source import check_classes

    facts = read_facts(options.segmentator)
    check_fingerprint(options.segmentator, facts, vae_fingerprint(spec))
    check_classes(facts.labels, class_names, parse_source(options.source).fused)


def bound(
    options: Chosen, settings: "MaskSettings", vae: "AutoencoderKL", spec: "ModelSpec"
) -> "MaskSettings":
    """Return the settings with the source that reads this autoencoder, if one was asked for."""
    if options.segmentator is None:
        return settings
    from diffumask.masks.sources import MaskSource
    from diffumask.models import vae_fingerprint
    from diffumask.segmentator.file import load
    from diffumask.segmentator.source import SegmentatorSource

    head = load(options.segmentator, vae, vae_fingerprint(spec))
    source = MaskSource(SegmentatorSource(head, vae), fused=parse_source(options.source).fused)
    return replace(settings, source=source)
