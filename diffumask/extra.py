"""Libraries of single file formats, which not everyone has."""

from importlib import import_module
from typing import Any

from diffumask.errors import InputError


def load(module: str) -> Any:
    """Import a module of the extra `export`. Raises InputError that names the extra."""
    try:
        return import_module(module)
    except ImportError as error:
        library = module.partition(".")[0]
        raise InputError(
            f"expected the library {library} for this format, got none; "
            "pip install 'diffumask[export]'"
        ) from error
