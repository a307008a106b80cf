"""Items that come out without a mask: said in their lines, and drawn again with other seeds."""

import json
from dataclasses import replace

import numpy as np
import pytest
from commands import contents, done, refused
from diffusers import DiffusionPipeline

from diffumask.dataset.dataset import Dataset
from diffumask.dataset.listing import read_records
from diffumask.dataset.run import read_run
from diffumask.dataset.shards import WHOLE, Shard
from diffumask.dataset.store import open_store
from diffumask.generation import pipeline
from diffumask.generation.pipeline import GenerateSettings, generate, remask
from diffumask.generation.plan import plan
from diffumask.masks.class_map import NO_PIXEL
from diffumask.masks.settings import MaskSettings
from diffumask.masks.thresholds import Fixed
from diffumask.sampling.sample import SampleSettings
from diffumask.seeds import item_seed
from diffumask.types import Prompt, Sample, Target

NO_PIPE = DiffusionPipeline.__new__(DiffusionPipeline)  # the stub of sample never looks at it
SIZE_HW = (16, 24)
PLAIN = MaskSettings("attention", Fixed(0.5), "none", uncertain_band=0.0)
SETTINGS = GenerateSettings(
    "stub", SampleSettings(2, 5.0, *SIZE_HW), PLAIN, batch_size=3, keep_maps=True, redraw=9
)
BIRD, CAT = Target("bird", "bird", 3), Target("cat", "cat", 8)
N = 7


def prompt_of(item):
    return Prompt("a bird and a cat", (BIRD, CAT), "", f"context {item.seed % 7}")


def lacks_cat(seed):
    return seed % 2 == 0


def lacks_bird(seed):
    return seed % 5 == 0


def stub_sample(pipe, prompts, seeds, sampling):
    """A bird on the left and a cat on the right, of which the seed may leave one out."""
    samples = []
    for prompt, seed in zip(prompts, seeds, strict=True):
        rng = np.random.default_rng(seed)
        bird, cat = np.zeros((2, *SIZE_HW), np.float32)
        bird[4:12, 2 : int(rng.integers(4, 10))] = not lacks_bird(seed)
        cat[4:12, 14 : int(rng.integers(16, 22))] = not lacks_cat(seed)
        image = rng.integers(0, 256, (*SIZE_HW, 3), np.uint8)
        samples.append(Sample(prompt, seed, image, {"bird": bird, "cat": cat}))
    return samples


@pytest.fixture
def sampled(monkeypatch):
    """The seeds of each batch that was sampled; the run stops before batch number `stop[0]`."""
    batches, stop = [], [10**6]

    def counted(pipe, prompts, seeds, sampling, on_phase):
        if len(batches) == stop[0]:
            raise KeyboardInterrupt
        batches.append(list(seeds))
        return stub_sample(pipe, prompts, seeds, sampling)

    monkeypatch.setattr(pipeline, "sample", counted)
    return batches, stop


def opened(folder):
    return open_store(folder, {"seed": 0}, {"bird": 3, "cat": 8}, {})


def make(folder, part=WHOLE, **changes):
    settings = replace(SETTINGS, **changes)
    items = part.of(plan(["bird"], N, 0), 3)
    with opened(folder) as store:
        return [one for b in generate(NO_PIPE, items, prompt_of, store, settings) for one in b]


def items_in(folder):
    return {path: content for path, content in contents(folder).items() if path != "run.json"}


def chain(index, length):
    """The seeds of the attempts at an item."""
    seeds = [item_seed(0, "bird", index)]
    while len(seeds) < length:
        seeds.append(item_seed(seeds[-1], "bird", index))
    return seeds


def test_an_item_without_a_mask_is_drawn_again_until_it_has_one(tmp_path, sampled):
    made = make(tmp_path)
    attempts = []
    for index, record in enumerate(sorted(read_records(tmp_path), key=lambda one: one.name)):
        *failed, last = chain(index, record.fields.get("attempt", 0) + 1)
        attempts.append(len(failed))
        assert all(lacks_bird(seed) or lacks_cat(seed) for seed in failed)
        assert not lacks_bird(last)
        assert not lacks_cat(last)
        assert record.seed == last
        assert record.prompt.context == f"context {record.seed % 7}"
        assert record.is_usable
        assert "absent" not in record.fields
    assert 0 in attempts
    assert max(attempts) > 1
    assert {one.seed for one in made} == {one.seed for one in read_records(tmp_path)}


def test_what_a_batch_lacks_is_drawn_again_in_one_batch_behind_the_next(tmp_path, sampled):
    batches, _ = sampled
    make(tmp_path, redraw=1)
    items = list(plan(["bird"], N, 0))
    firsts = [items[:3], items[3:6], items[6:]]
    again = [[i.again() for i in b if lacks_bird(i.seed) or lacks_cat(i.seed)] for b in firsts]
    assert [len(batch) for batch in again] == [2, 1, 0]
    order = [firsts[0], firsts[1], again[0], again[1], firsts[2]]
    assert batches == [[item.seed for item in batch] for batch in order]


@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_the_batch_size_changes_no_byte_of_what_is_drawn_again(tmp_path, sampled, batch_size):
    make(tmp_path / "three")
    make(tmp_path / "other", batch_size=batch_size)
    assert items_in(tmp_path / "three") == items_in(tmp_path / "other")


def test_a_run_that_stops_before_any_batch_or_redraw_goes_on_to_the_same_bytes(tmp_path, sampled):
    batches, stop = sampled
    make(tmp_path / "whole")
    whole, count = contents(tmp_path / "whole"), len(batches)
    assert count > 4  # batches and redraws
    for nth in range(count):
        batches.clear()
        stop[0], folder = nth, tmp_path / str(nth)
        with pytest.raises(KeyboardInterrupt):
            make(folder)
        stop[0] = 10**6
        make(folder)
        assert contents(folder) == whole, nth


def test_shards_draw_again_what_the_whole_run_does(tmp_path, sampled):
    make(tmp_path / "whole")
    shards = [make(tmp_path / f"{index}", Shard(index, 2)) for index in (1, 2)]
    assert [len(shard) for shard in shards] == [4, 3]
    lines = {one.name: one.to_json() for one in read_records(tmp_path / "whole")}
    for index in (1, 2):
        for record in read_records(tmp_path / f"{index}"):
            assert record.to_json() == lines.pop(record.name)
    assert not lines


def test_when_no_attempt_has_a_mask_the_first_of_the_best_stays_and_says_why(tmp_path, sampled):
    make(tmp_path, redraw=2, masks=replace(PLAIN, min_area=1.0))
    firsts = [item.seed for item in plan(["bird"], N, 0)]
    for item in Dataset.open(tmp_path):
        assert item.absent == {"bird": NO_PIXEL, "cat": NO_PIXEL}
        assert item.record.foreground == 0
        assert not item.record.is_usable
        assert item.record.attempt is None
        assert item.record.seed in firsts
    batches, _ = sampled
    assert sum(map(len, batches)) == 3 * N


def test_an_attempt_that_lacks_less_is_better_though_not_good(tmp_path, sampled, monkeypatch):
    monkeypatch.setitem(globals(), "lacks_cat", lambda _: True)
    make(tmp_path)
    for index, record in enumerate(sorted(read_records(tmp_path), key=lambda one: one.name)):
        has_bird = [not lacks_bird(seed) for seed in chain(index, 10)]
        assert (record.attempt or 0) == has_bird.index(True)
        assert list(record.absent) == ["cat"]
        assert not record.is_usable


def test_masks_made_again_keep_the_attempt_and_say_anew_what_lacks(tmp_path, sampled):
    make(tmp_path / "made", redraw=1)
    with opened(tmp_path / "again") as store:
        list(remask(tmp_path / "made", store, PLAIN))
    assert contents(tmp_path / "again") == contents(tmp_path / "made")
    with opened(tmp_path / "none") as store:
        list(remask(tmp_path / "made", store, replace(PLAIN, min_area=1.0)))
    old, new = read_records(tmp_path / "made"), read_records(tmp_path / "none")
    assert {1, None} == {one.attempt for one in old}
    assert [one.attempt for one in new] == [one.attempt for one in old]
    assert all(set(one.absent) == {"bird", "cat"} for one in new)


@pytest.fixture
def words(tmp_path, tiny_random_folder):
    """Of a command that makes items of which none has a mask."""
    small = ["--num-inference-steps", 1, "--height", 16, "--width", 24, "--batch-size", 2]
    where = ["--model", tiny_random_folder, "--class", "bird", "--n", 3, "--out", tmp_path / "out"]
    return [
        "generate",
        *where,
        *small,
        "--threshold",
        0.99,
        "--refiner",
        "none",
    ]  # less than the band below 1


def test_the_command_counts_what_has_no_mask_and_keeps_its_redraws_as_a_setting(words, tmp_path):
    told = json.loads(done(*words, "--redraw", 2, "--json"))
    expected = {"items": 3, "without_mask": 3, "drawn_again": 0, "decoded_in_float32": 0}
    assert expected.items() <= told.items()
    assert read_run(tmp_path / "out").settings["redraw"] == 2
    assert "3 items in" in (text := done(*words, "--redraw", 2))
    assert ", 3 of them without a mask of each object; look" in text
    assert "got another redraw (2, now None)" in refused(*words)


def test_without_redraws_nothing_is_said_of_them(words, tmp_path):
    done(*words)
    assert "redraw" not in read_run(tmp_path / "out").settings
    dry = (*words, "--dry-run", "--model", "tiny", "--out", tmp_path / "new")
    assert "drawn again" not in done(*dry)
    more = done(*dry, "--redraw", 1)
    assert "; what is drawn again is not counted\n" in more


def test_a_prompt_of_a_file_stays_that_of_its_index(words, tmp_path, monkeypatch):
    asked = []
    sample_batch = pipeline.sample_batch

    def watched(pipe, batch, prompts, settings, on_phase):
        asked.extend(
            (one.index, one.attempt, p.text) for one, p in zip(batch, prompts, strict=True)
        )
        return sample_batch(pipe, batch, prompts, settings, on_phase)

    monkeypatch.setattr(pipeline, "sample_batch", watched)
    (tmp_path / "mine.txt").write_text("a bird on a roof\na bird on a car\n")
    done(*words, "--redraw", 1, "--prompts", tmp_path / "mine.txt")
    texts = {(index, attempt): text for index, attempt, text in asked}
    assert len(texts) == len(asked) == 6
    for index in range(3):
        assert texts[index, 0] == texts[index, 1] == f"a bird on a {['roof', 'car'][index % 2]}"


def test_fewer_redraws_than_none_are_refused(words):
    assert "expected redraw of 0 or more, got -1" in refused(*words, "--redraw", -1)
