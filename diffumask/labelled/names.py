"""Class names that lie beside masks: classes.json, id2label.json and labelmap.txt.

A line of labelmap.txt is `name:r,g,b:parts:actions`. Its colours are those of the palette of VOC,
so that each stands for an index.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffumask.draw import voc_palette
from diffumask.errors import InputError
from diffumask.types import BACKGROUND, BACKGROUND_ID, IGNORE, IGNORE_ID, name_key

from .mapping import N_VALUES, MaskValues

LABELMAP_FILE, CLASSES_FILE, ID2LABEL_FILE = "labelmap.txt", "classes.json", "id2label.json"
MAX_BYTES = 2**20
COMMENT = "#"


def values_beside(folder: Path) -> MaskValues | None:
    """Read what the values of masks stand for from the file of names in a folder, if there is one.

    Raises InputError for a file of another form.
    """
    readers = {
        CLASSES_FILE: _read_classes,
        ID2LABEL_FILE: _read_id2label,
        LABELMAP_FILE: _read_indices,
    }
    for name, read in readers.items():
        path = folder / name
        if path.is_file():
            return named_values(read(path), name)
    return None


def named_values(names: Mapping[int, str], named_by: str) -> MaskValues:
    """Sort names out by what their values stand for: classes, background and what is ignored.

    0 is background unless it is the value of a class; 255 is always ignored. Raises InputError
    for other values, two classes of one name, and for no class.
    """
    keys = {value: name_key(name) for value, name in names.items()}
    background = {value for value, key in keys.items() if key == BACKGROUND}
    ignored = {value for value, key in keys.items() if key == IGNORE} | {IGNORE_ID}
    classes = {i: name for i, name in names.items() if i not in background | ignored}
    wrong = [value for value in names if not BACKGROUND_ID <= value <= IGNORE_ID]
    if wrong or not classes or len(set(classes.values())) < len(classes):
        raise InputError(
            f"expected classes of different names with ids in 0..254 in {named_by}, got "
            f"{', '.join(f'{i} {name}' for i, name in sorted(names.items())[:10]) or 'none'}"
        )
    free = {BACKGROUND_ID} - classes.keys() - ignored
    return MaskValues(classes, frozenset(background | free), frozenset(ignored), named_by)


def read_class_ids(path: Path) -> dict[str, int]:
    """Read JSON such as {"bird": 3}. Raises InputError for anything else."""
    return check_class_ids(_read_json(path), str(path))


def check_class_ids(content: Any, where: str) -> dict[str, int]:
    """Return content that is as {"bird": 3}. Raises InputError for anything else."""
    if isinstance(content, dict) and all(type(value) is int for value in content.values()):
        return content
    raise InputError(f'expected JSON such as {{"bird": 3}} in {where}, got something else')


def read_labelmap(text: str) -> dict[str, tuple[int, int, int]]:
    """Read the colour of each label. Raises InputError for a line of another form."""
    colours: dict[str, tuple[int, int, int]] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        if line.startswith(COMMENT):
            continue
        name, *rest = line.split(":")
        rgb = _read_colour(rest[0] if rest else "")
        if rgb is None:
            raise InputError(f"expected lines as 'bird:128,128,0::' in labelmap.txt, got {line!r}")
        colours[name] = rgb
    return colours


def _read_classes(path: Path) -> dict[int, str]:
    ids = read_class_ids(path)
    if len(set(ids.values())) < len(ids):
        raise InputError(f"expected ids that are each of one class in {path}, got one of two")
    return {class_id: name for name, class_id in ids.items()}


def _read_indices(path: Path) -> dict[int, str]:
    palette = [(int(red), int(green), int(blue)) for red, green, blue in voc_palette()]
    names: dict[int, str] = {}
    for name, rgb in read_labelmap(_read_text(path)).items():
        if rgb not in palette:
            raise InputError(
                f"expected the colours of VOC's palette in {path}, got {','.join(map(str, rgb))} "
                f"of {name!r}; its masks are in colours, not of class ids"
            )
        names[palette.index(rgb)] = name
    return names


def _read_id2label(path: Path) -> dict[int, str]:
    raw = _read_json(path)
    if isinstance(raw, dict) and all(isinstance(name, str) for name in raw.values()):
        numbers = [key for key in raw if key.isascii() and key.isdigit() and len(key) <= 3]
        if len(numbers) == len(raw):
            return {int(key): raw[key] for key in numbers}
    raise InputError(f'expected JSON such as {{"3": "bird"}} in {path}, got something else')


def _read_colour(text: str) -> tuple[int, int, int] | None:
    try:
        red, green, blue = (int(part) for part in text.split(","))
    except ValueError:
        return None
    return (red, green, blue) if all(0 <= one < N_VALUES for one in (red, green, blue)) else None


def _read_json(path: Path) -> Any:
    try:
        return json.loads(_read_text(path))
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(f"expected class ids in JSON, got {path}: {error}") from error


def _read_text(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise InputError(f"expected class names of at most {MAX_BYTES} bytes, got {path}")
        return content.decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"expected a file of class names, got {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"expected class names in UTF-8, got {path}: {error}") from error
