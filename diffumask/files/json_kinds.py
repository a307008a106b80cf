"""Values of JSON by their kind: InputError for any other, which says what was expected.

The functions take an object and a key; `number(tree, "seed")` is the number at "seed".
"""

import json
import math
from collections.abc import Mapping
from typing import Any, TypeGuard

from diffumask.errors import InputError

MAX_DEPTH = 64  # of lists and objects in each other: far below where Python's stack ends
SHOWN_CHARACTERS = 60
INT64 = range(-(2**63), 2**63)


def parse(content: str | bytes) -> Any:
    """Read JSON that can be written again.

    Raises ValueError for what is no JSON, has halves of characters or is nested too deeply.
    """
    text = content if isinstance(content, str) else content.decode()
    try:
        tree = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    # There may be a million lines to read, of which hardly one can be either of these.
    if text.count("[") + text.count("{") > MAX_DEPTH and not is_shallow(tree):
        raise ValueError("it is nested too deeply")
    if "\\u" in text and not is_unicode(tree):
        raise ValueError("it has half a character")
    return tree


def is_unicode(tree: Any) -> bool:
    """Tell whether all text of what JSON held can be written: it may have halves of characters."""
    try:
        json.dumps(tree, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def is_shallow(tree: Any) -> bool:
    """Tell whether lists and objects lie in each other at most `MAX_DEPTH` deep."""
    level = [tree]
    for _ in range(MAX_DEPTH):
        level = [inner for value in level for inner in _inner(value)]
        if not level:
            return True
    return False


def shown(value: object) -> str:
    """Return a value for a message, cut short."""
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."


def text(tree: Mapping[str, Any], key: str) -> str:
    """Return the text at a key."""
    value = tree.get(key)
    if not isinstance(value, str):
        raise wrong("text", tree, key)
    return value


def whole(tree: Mapping[str, Any], key: str, within: range = INT64) -> int:
    """Return the whole number at a key, which is one of a range."""
    value = tree.get(key)
    if type(value) is not int or value not in within:
        bounds = "of 64 bits" if within == INT64 else f"in {within[0]}..{within[-1]}"
        raise wrong(f"a whole number {bounds}", tree, key)
    return value


def number(tree: Mapping[str, Any], key: str) -> float:
    """Return the finite number at a key."""
    value = tree.get(key)
    if not is_number(value):
        raise wrong("a number", tree, key)
    return float(value)


def numbers(tree: Mapping[str, Any], key: str) -> Mapping[str, float]:
    """Return the object at a key, all of whose values are finite numbers."""
    value = mapping(tree, key)
    if not all(map(is_number, value.values())):
        raise wrong("numbers by name", tree, key)
    return {name: float(item) for name, item in value.items()}


def texts(tree: Mapping[str, Any], key: str) -> Mapping[str, str]:
    """Return the object at a key, all of whose values are text."""
    value = mapping(tree, key)
    if not all(isinstance(item, str) for item in value.values()):
        raise wrong("texts by name", tree, key)
    return value


def mapping(tree: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return the object at a key."""
    value = tree.get(key)
    if not isinstance(value, dict):
        raise wrong("an object", tree, key)
    return value


def objects(tree: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """Return the list of objects at a key."""
    value = tree.get(key)
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise wrong("a list of objects", tree, key)
    return value


def is_number(value: object) -> TypeGuard[int | float]:
    """Tell whether a value is a number that a float can be, and neither nan nor infinite."""
    try:
        return isinstance(value, int | float) and type(value) is not bool and math.isfinite(value)
    except OverflowError:
        return False


def wrong(kind: str, tree: Mapping[str, Any], key: str) -> InputError:
    """Return the error for a value of another kind."""
    got = shown(tree[key]) if key in tree else "none"
    return InputError(f"expected {kind} as {key!r}, got {got}")


def _inner(tree: Any) -> list[Any]:
    below = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    return [inner for inner in below if isinstance(inner, dict | list)]
