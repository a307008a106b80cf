"""Variants of weights that lie in one folder: NAME.fp16.safetensors beside NAME.safetensors."""

import re
from collections.abc import Iterable
from pathlib import Path

from diffumask.errors import InputError

WEIGHTS = ".safetensors"
SHARD = re.compile(r"-\d{5}-of-\d{5}")


def variant_of(path: Path) -> str | None:
    """Return the variant that a file of weights, or the index of such files, is of."""
    if WEIGHTS not in path.name:
        return None
    words = SHARD.sub("", path.name).split(".")[1:-1]
    return next((word for word in words if word not in ("safetensors", "index")), None)


def weights_in(part: Path, variant: str | None) -> list[Path]:
    """List the weights of a part of a model: of the variant where it has them, else of none."""
    there = sorted(part.glob(f"*{WEIGHTS}"))
    of_variant = [path for path in there if variant is not None and variant_of(path) == variant]
    return of_variant or [path for path in there if variant_of(path) is None]


def variant_in(part: Path, variant: str | None) -> str | None:
    """Return the variant where a part of a model has it, else None, which loads the others."""
    has_variant = any(variant_of(path) == variant for path in part.glob(f"*{WEIGHTS}"))
    return variant if has_variant else None


def check_variant(folder: Path, parts: Iterable[Path], variant: str | None) -> None:
    """Raise InputError for a variant of which a model has no weights, and where it takes one."""
    found = {part: sorted(part.glob(f"*{WEIGHTS}")) for part in parts}
    known = {variant_of(path) for paths in found.values() for path in paths}
    names = ", ".join(sorted(filter(None, known))) or "none"
    if variant is not None and variant not in known:
        raise InputError(f"expected a variant that {folder} has ({names}), got {variant!r}")
    for part, paths in found.items():
        if paths and not weights_in(part, variant):
            raise InputError(
                f"expected weights of {variant or 'no variant'} in {part}, got those of "
                f"{', '.join(sorted({str(variant_of(path)) for path in paths}))}; choose a variant"
            )
