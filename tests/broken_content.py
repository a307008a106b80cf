"""Content for readers: noise, and what is right but for one change."""

import json
from typing import Any

from hypothesis import strategies as st

ODD: list[Any] = [
    *(None, True, -1, 0, 1, 256, 10**30, 0.5, -1e400, float("nan"), "", "x", "../../x", "/etc/x"),
    *("a\0b", "\ud800", "CON", "a\nb", [], [[]], {}, {"": None}, ["x"], [1, 2], {"x": 1}),
]


def broken(valid: bytes) -> st.SearchStrategy[bytes]:
    """Any bytes, `valid` with a piece replaced, and where it is JSON with a value replaced."""
    ways = [st.binary(max_size=64), _cut(valid)]
    try:
        tree = json.loads(valid)
    except ValueError:
        return st.one_of(ways)
    ends = valid[len(valid.rstrip()) :]
    changed = _places(tree).flatmap(lambda place: _changed(tree, place))
    encoded = changed.map(lambda one: json.dumps(one).encode() + ends)
    return st.one_of([*ways, encoded, encoded, st.just(b"[" * 5000), st.just(b'{"a":' * 2000)])


def _cut(valid: bytes) -> st.SearchStrategy[bytes]:
    place = st.integers(0, len(valid))
    piece = st.one_of(st.binary(max_size=8), st.sampled_from([b"\0", b"\n", b"NaN", b"\xff"]))
    return st.builds(
        lambda a, b, new: valid[: min(a, b)] + new + valid[max(a, b) :], place, place, piece
    )


def _places(tree: Any) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.sampled_from(list(_paths(tree)))


def _paths(tree: Any) -> list[tuple[Any, ...]]:
    below: Any = tree.items() if isinstance(tree, dict) else ()
    below = enumerate(tree) if isinstance(tree, list) else below
    return [(), *((key, *path) for key, value in below for path in _paths(value))]


def _changed(tree: Any, place: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    values = st.sampled_from(ODD).map(lambda value: _with(tree, place, value))
    dropped = st.just(_without(tree, place)) if place else st.nothing()
    return st.one_of(values, values, dropped)


def _with(tree: Any, place: tuple[Any, ...], value: Any) -> Any:
    if not place:
        return value
    copy = json.loads(json.dumps(tree))
    *way, last = place
    inner = copy
    for key in way:
        inner = inner[key]
    inner[last] = value
    return copy


def _without(tree: Any, place: tuple[Any, ...]) -> Any:
    copy = json.loads(json.dumps(tree))
    *way, last = place
    inner = copy
    for key in way:
        inner = inner[key]
    del inner[last]
    return copy
