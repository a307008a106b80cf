"""Folders that one run begins and others go on with: of what settings, and of nothing else."""

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from diffumask.errors import InputError

from .lock import LOCK_FILE
from .partial import is_partial


def refuse_changes(folder: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Raise InputError that names the settings in which a run differs from what began a folder."""
    changed = sorted(key for key in {*old, *new} if old.get(key) != new.get(key))
    if changed:
        listed = ", ".join(f"{key} ({old.get(key)!r}, now {new.get(key)!r})" for key in changed)
        raise InputError(
            f"expected the settings that {folder} was begun with, got another {listed}; "
            "repeat the old ones or choose another folder"
        )


def refuse_foreign(folder: Path, maker: str, own: Collection[str] = ()) -> None:
    """Raise InputError for a folder that is there with anything but what runs leave, or `own`.

    `maker` is what the message calls those whose folders may be gone on with.
    """
    there = os.listdir(folder) if folder.exists() else []
    found = [name for name in there if not is_partial(name) and name not in {LOCK_FILE, *own}]
    if found:
        raise InputError(
            f"expected an empty folder or one of {maker}, got {folder} with {min(found)!r} in "
            "it; choose another folder"
        )
