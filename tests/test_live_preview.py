from itertools import pairwise

import numpy as np
import pytest
from commands import contents, done

from diffumask.dataset import live_preview
from diffumask.dataset.live_preview import EVERY_S, SHARE, previewed
from diffumask.dataset.preview import write_preview
from diffumask.dataset.store import open_store
from diffumask.types import Example, Prompt, Target

PROMPT = Prompt("a bird", (Target("bird", "bird", 3),))


class Clock:
    """Time that passes when it is told to."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def write(store, index):
    image = np.full((40, 60, 3), index % 12 * 20, np.uint8)
    store.write(f"Bird_{index:06d}", Example(PROMPT, 0, image, np.zeros((40, 60), np.uint8)), {})


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path / "birds", {"seed": 0}, {"bird": 3}, {}) as opened:
        yield opened


def made(store, clock, seconds):
    """Write an item a batch, each of which takes so long."""
    for index, spent in enumerate(seconds):
        clock.now += spent
        write(store, index)
        yield index


def test_the_preview_is_drawn_along_and_ends_as_if_it_had_not_been(store, tmp_path):
    clock, seen = Clock(), []
    for _ in previewed(made(store, clock, [1, EVERY_S, 1, EVERY_S, 1]), store, clock):
        path = store.folder / "preview.jpg"
        seen.append(path.read_bytes() if path.exists() else None)
    assert seen[:2] == [None, None]
    assert seen[2] == seen[3] != seen[4]
    assert None not in seen[2:]
    write_preview(store)
    with open_store(tmp_path / "other", {"seed": 0}, {"bird": 3}, {}) as other:
        for index in range(5):
            write(other, index)
        write_preview(other)
    assert contents(store.folder, but=("run.json",)) == contents(other.folder, but=("run.json",))


def test_previews_that_take_long_are_drawn_more_rarely(store, monkeypatch):
    clock, at = Clock(), []

    def slow(_):
        at.append(clock.now)
        clock.now += 3

    monkeypatch.setattr(live_preview, "write_preview", slow)
    list(previewed(made(store, clock, [10] * 100), store, clock))
    assert at[0] == EVERY_S
    assert all(later - earlier >= 3 / SHARE for earlier, later in pairwise(at))
    assert 3 * len(at) <= SHARE * clock.now + 3


def test_an_item_that_was_changed_meanwhile_stops_no_run(store):
    clock = Clock()
    for index in previewed(made(store, clock, [EVERY_S] * 3), store, clock):
        (store.folder / f"masks/Bird_{index:06d}.png").write_bytes(b"no PNG")
    assert not (store.folder / "preview.jpg").exists()


def test_generate_draws_it_along(tmp_path, monkeypatch):
    monkeypatch.setattr(live_preview, "EVERY_S", 0)
    monkeypatch.setattr(live_preview, "SHARE", 1e9)
    counts = []
    monkeypatch.setattr(
        live_preview, "write_preview", lambda store: counts.append(len(store.records))
    )
    small = ("--num-inference-steps", 1, "--height", 16, "--width", 24, "--batch-size", 1)
    done("generate", "--class", "cat", "--n", 3, *small, "--out", tmp_path / "cats")
    assert len(counts) == 3
    assert counts == sorted(counts)
    assert (tmp_path / "cats/preview.jpg").is_file()
