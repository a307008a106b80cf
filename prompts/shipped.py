"""What vocabularies and classes are called, told without reading a vocabulary as a whole."""

import tomllib
from importlib.resources import files
from pathlib import Path


def vocabulary_names() -> list[str]:
    """List the vocabularies that ship with the package."""
    folder = files("diffumask.prompts").joinpath("vocabularies")
    return sorted(Path(entry.name).stem for entry in folder.iterdir())


def shipped_vocabulary(name: str) -> bytes:
    """Return the TOML of a vocabulary that ships with the package."""
    return files("diffumask.prompts").joinpath(f"vocabularies/{name}.toml").read_bytes()


def class_names(name_or_path: str) -> list[str]:
    """List the classes of a vocabulary; of a file that is none, nothing."""
    try:
        shipped = name_or_path in vocabulary_names()
        content = shipped_vocabulary(name_or_path) if shipped else Path(name_or_path).read_bytes()
        return list(tomllib.loads(content.decode())["classes"])
    except (OSError, ValueError, KeyError, TypeError):
        return []
