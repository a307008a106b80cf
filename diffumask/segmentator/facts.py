"""What the file of a trained head says of it, read without torch.

The metadata of the file has one key, "diffumask", whose JSON holds the `Facts`.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from diffumask.errors import InputError
from diffumask.labelled.labels import Labels

from .labels import labels_of

FORMAT = "diffumask-segmentator-1"
KEY = "diffumask"
DESIGNS = ("linear", "pyramid", "decoder-copy", "mlp")


@dataclass(frozen=True, slots=True)
class Facts:
    """What a head is for and how it was made; `training` holds figures and settings as JSON.

    One that is `class_agnostic` tells objects from background, and names none.
    """

    design: str
    labels: Labels
    model: str
    vae_fingerprint: str
    side: int
    training: Mapping[str, Any] = field(default_factory=dict)
    class_agnostic: bool = False


def read_facts(path: Path) -> Facts:
    """Read the facts alone. Raises InputError for anything that is not a head of this format."""
    try:
        with safe_open(path, "np") as file:
            raw = json.loads((file.metadata() or {})[KEY])
        if raw.pop("format") != FORMAT or raw["design"] not in DESIGNS:
            raise ValueError("another format or design")
        if not isinstance(raw.get("class_agnostic", False), bool):
            raise ValueError("class_agnostic that is neither true nor false")
        labels = raw.pop("labels")
        return Facts(
            labels=labels_of(dict(zip(labels["ids"], labels["names"], strict=True))), **raw
        )
    except (
        *(OSError, ValueError, KeyError, TypeError, AttributeError),
        *(RecursionError, SafetensorError),
    ) as error:
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise InputError(
            f"expected a Segmentator of diffumask at {path}, got {reason}; make one with "
            "`diffumask segmentator train`"
        ) from error


def check_fingerprint(path: Path, facts: Facts, vae_fingerprint: str) -> None:
    """Raise InputError for a head that was trained for another VAE."""
    if facts.vae_fingerprint != vae_fingerprint:
        raise InputError(
            f"expected a head for the VAE {vae_fingerprint} of this model, got {path} for the VAE "
            f"{facts.vae_fingerprint} of {facts.model!r}; train one for this model"
        )


def check_classes(facts: Facts, class_names: Sequence[str], fused: bool) -> None:
    """Raise InputError for classes whose masks the head cannot make.

    Alone it must know every class, or name none; fused with attention it needs a background to
    tell objects from.
    """
    labels = facts.labels
    if facts.class_agnostic or (fused and labels.has_background):
        return
    unknown = [name for name in class_names if labels.find(name) is None]
    if unknown:
        source = "attention" if fused else "both"
        raise InputError(
            f"expected classes that the Segmentator knows ({', '.join(labels.names)}), got "
            f"{unknown[0]!r}; take masks from {source}, or train one for it or for any class"
        )


def fingerprint_file(path: Path) -> str:
    """Return 16 hex digits that change with any byte of a head."""
    return hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()
