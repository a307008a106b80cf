from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from hypothesis import given
from hypothesis import strategies as st

from diffumask.dataset.decode import read_example
from diffumask.dataset.listing import read_records
from diffumask.dataset.preview import write_preview
from diffumask.dataset.store import open_store
from diffumask.errors import InputError
from diffumask.generation import pipeline
from diffumask.generation.pipeline import (
    GenerateSettings,
    annotate,
    generate,
    remask,
)
from diffumask.generation.plan import plan
from diffumask.masks.settings import MaskSettings
from diffumask.masks.thresholds import Fixed, Otsu
from diffumask.sampling.sample import SampleSettings
from diffumask.seeds import item_seed
from diffumask.types import Prompt, Sample, Target

NO_PIPE = DiffusionPipeline.__new__(DiffusionPipeline)  # the stub of sample never looks at it
SIZE_HW = (16, 24)
SAMPLING = SampleSettings(2, 5.0, *SIZE_HW)
CLASS_IDS = {"bird": 3, "cat": 8}


def prompt_of(item):
    return prompt_for(item.class_name, item.seed)


def prompt_for(class_name, seed):
    target = Target(class_name, class_name, CLASS_IDS[class_name])
    return Prompt(f"a photo of a {class_name} on grass", (target,), "", f"context {seed % 7}")


PLAIN = MaskSettings("attention", Otsu(), "none", uncertain_band=0.0)


def settings(**changes):
    plain = {"model": "stub", "sampling": SAMPLING, "masks": PLAIN, "batch_size": 2}
    return GenerateSettings(**{**plain, **changes})


def sample_with(heat, class_name="bird"):
    image = np.full((*heat.shape, 3), 100, np.uint8)
    return Sample(prompt_for(class_name, 0), 7, image, {class_name: heat.astype(np.float32)})


def stub_sample(pipe, prompts, seeds, sampling, on_phase=None):
    """A picture and a box of heat that depend on the seed, and on nothing else."""
    samples = []
    for prompt, seed in zip(prompts, seeds, strict=True):
        rng = np.random.default_rng(seed)
        heat = rng.random(SIZE_HW, np.float32) / 4
        heat[4:12, 6 : int(rng.integers(10, 20))] = 1
        heat = (np.round(heat * 255) / 255).astype(np.float32)
        image = rng.integers(0, 256, (*SIZE_HW, 3), np.uint8)
        word = prompt.targets[0].word
        samples.append(Sample(prompt, seed, image, {word: heat}, {word: 1 - heat}))
    return samples


@pytest.fixture
def stubbed(monkeypatch):
    calls = []

    def counted(pipe, prompts, seeds, sampling, on_phase):
        calls.append(len(prompts))
        return stub_sample(pipe, prompts, seeds, sampling)

    monkeypatch.setattr(pipeline, "sample", counted)
    return calls


def opened(folder):
    return open_store(folder, {"seed": 0}, CLASS_IDS, {})


def make(folder, n=3, classes=("bird", "cat"), **changes):
    with opened(folder) as store:
        batches = generate(NO_PIPE, plan(classes, n, 0), prompt_of, store, settings(**changes))
        return [example for batch in batches for example in batch]


def contents(folder: Path):
    kinds = ("images/*", "masks/*", "maps/*", "metadata.jsonl")
    return {path.name: path.read_bytes() for kind in kinds for path in folder.glob(kind)}


def test_classes_take_turns_and_each_item_has_its_own_seed():
    items = list(plan(["bird", "cat", "bird"], 2, run_seed=5))
    assert [item.name for item in items] == [
        "Bird_000000", "Cat_000000", "Bird_000001", "Cat_000001",
    ]  # fmt: skip
    assert items[3].seed == item_seed(5, "cat", 1)
    assert len({item.seed for item in items}) == 4


@given(st.integers(1, 30), st.integers(1, 30))
def test_a_longer_plan_begins_with_the_shorter(n, more):
    assert list(islice(plan(["bird"], n + more, 0), n)) == list(plan(["bird"], n, 0))


@pytest.mark.parametrize("n", [0, -3])
def test_a_plan_of_nothing_is_refused(n):
    with pytest.raises(InputError, match=f"n >= 1, got {n}"):
        plan(["bird"], n, 0)


def test_classes_that_would_share_files_are_refused():
    with pytest.raises(InputError, match="got 'tv monitor' and 'tv-monitor'"):
        plan(["tv monitor", "tv-monitor"], 1, 0)


def test_generate_writes_what_it_yields(tmp_path, stubbed):
    made = make(tmp_path)
    records = read_records(tmp_path)
    assert stubbed == [2, 2, 2]
    assert len(records) == len(made) == 6
    assert [r.fields["class_id"] for r in records] == [3, 3, 3, 8, 8, 8]
    back = read_example(tmp_path, records[0])
    np.testing.assert_array_equal(back.image, made[0].image)
    np.testing.assert_array_equal(back.class_map, made[0].class_map)
    expected = {"index": 2, "model": "stub", "num_inference_steps": 2, "guidance_scale": 5.0}
    assert expected.items() <= records[-1].fields.items()
    assert records[0].fields["seed"] == item_seed(0, "bird", 0)
    assert 0 < records[0].fields["thresholds"][0] < 1
    assert records[0].fields["foreground"] == pytest.approx((back.class_map == 3).mean(), abs=1e-6)


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_the_batch_size_changes_no_byte(tmp_path, stubbed, batch_size):
    make(tmp_path / "two")
    make(tmp_path / "other", batch_size=batch_size)
    assert contents(tmp_path / "two") == contents(tmp_path / "other")


def test_a_second_run_makes_only_what_is_missing(tmp_path, stubbed):
    make(tmp_path, n=2, classes=["bird"])
    stubbed.clear()
    assert [e.prompt.targets[0].word for e in make(tmp_path)] == ["cat", "cat", "bird", "cat"]
    assert stubbed == [2, 2]
    assert make(tmp_path) == []
    make(tmp_path / "at once")
    assert contents(tmp_path) == contents(tmp_path / "at once")


@pytest.mark.parametrize("error", [KeyboardInterrupt, InputError])
def test_an_interrupted_run_goes_on_to_the_same_folder(tmp_path, stubbed, monkeypatch, error):
    def interrupted(pipe, prompts, seeds, sampling, on_phase):
        if len(stubbed) == 2:
            raise error
        stubbed.append(len(prompts))
        return stub_sample(pipe, prompts, seeds, sampling)

    monkeypatch.setattr(pipeline, "sample", interrupted)
    with pytest.raises(error):
        make(tmp_path / "twice")
    assert len(read_records(tmp_path / "twice")) == 4
    monkeypatch.setattr(pipeline, "sample", stub_sample)
    make(tmp_path / "twice")
    make(tmp_path / "once")
    assert contents(tmp_path / "twice") == contents(tmp_path / "once")


def test_the_record_says_how_the_mask_was_made():
    heat = np.zeros((5, 8))
    heat[1:4, 2:5] = 1
    heat[0, 7] = 0.5
    masks = MaskSettings("attention", Fixed(0.6), "none", uncertain_band=0.0, min_area=0.0)
    example, facts = annotate(sample_with(heat, "cat"), masks)
    np.testing.assert_array_equal(example.class_map, np.where(heat == 1, 8, 0))
    assert facts == {"thresholds": [0.6], "foreground": 0.225}
    assert example.scores["contrast"] == pytest.approx(1 - 0.5 / 31, abs=1e-6)


def test_masks_made_again_with_the_same_settings_are_the_same_bytes(tmp_path, stubbed):
    make(tmp_path / "made", keep_maps=True)
    with opened(tmp_path / "again") as store:
        assert len(list(remask(tmp_path / "made", store, PLAIN))) == 6
        assert list(remask(tmp_path / "made", store, PLAIN)) == []
    assert contents(tmp_path / "again") == contents(tmp_path / "made")


def test_masks_made_again_with_other_settings_differ_and_the_old_ones_stay(tmp_path, stubbed):
    make(tmp_path / "made", keep_maps=True)
    before = contents(tmp_path / "made")
    full = MaskSettings("attention", Fixed(0.0), "none", uncertain_band=0.0)
    with opened(tmp_path / "again") as store:
        remade = list(remask(tmp_path / "made", store, full))
    assert all((example.class_map > 0).mean() > 0.9 for example in remade)
    assert contents(tmp_path / "made") == before


def test_without_kept_maps_masks_cannot_be_made_again(tmp_path, stubbed):
    make(tmp_path / "made")
    with (
        opened(tmp_path / "again") as store,
        pytest.raises(InputError, match="generate with keep_maps"),
    ):
        list(remask(tmp_path / "made", store, PLAIN))


def test_a_record_tells_of_an_image_that_was_decoded_in_float32(tmp_path, monkeypatch):
    def overflown(pipe, prompts, seeds, sampling, on_phase):
        first, *others = stub_sample(pipe, prompts, seeds, sampling)
        return [replace(first, upcast=True), *others]

    monkeypatch.setattr(pipeline, "sample", overflown)
    make(tmp_path / "made", n=1, keep_maps=True)
    with opened(tmp_path / "again") as store:
        list(remask(tmp_path / "made", store, PLAIN))
    for folder in ("made", "again"):
        told = [record.fields.get("vae_dtype") for record in read_records(tmp_path / folder)]
        assert told == ["float32", None]


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory.\nTried ..."),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
)
def test_too_little_memory_is_one_line(tmp_path, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(pipeline, "sample", fail)
    with pytest.raises(InputError, match="2 images of 16x24 at a time, got too little") as caught:
        make(tmp_path)
    assert str(caught.value).endswith("use a batch size of 1 or smaller images")
    assert "\n" not in str(caught.value)


def test_other_errors_of_torch_are_not_disguised(tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(pipeline, "sample", fail)
    with pytest.raises(RuntimeError, match="shapes differ"):
        make(tmp_path)


def test_the_preview_shows_pairs(tmp_path, stubbed):
    with opened(tmp_path) as store:
        write_preview(store)
        assert not (tmp_path / "preview.jpg").exists()
        list(generate(NO_PIPE, plan(["bird"], 3, 0), prompt_of, store, settings()))
        write_preview(store)
    assert (tmp_path / "preview.jpg").read_bytes().startswith(b"\xff\xd8")


def test_a_real_pipeline_makes_the_same_items_in_any_batch(tmp_path, pipe):
    def run(folder, batch_size):
        with opened(folder) as store:
            items = plan(["bird", "cat"], 1, 0)
            masks = MaskSettings("attention", Fixed(0.5), "none", uncertain_band=0.0)
            options = settings(batch_size=batch_size, masks=masks)
            return [e for b in generate(pipe, items, prompt_of, store, options) for e in b]

    for one, other in zip(run(tmp_path / "a", 1), run(tmp_path / "b", 2), strict=True):
        assert one.image.shape == (*SIZE_HW, 3)
        assert np.abs(one.image.astype(int) - other.image).max() <= 1
        assert (one.class_map != other.class_map).mean() < 0.01
        assert set(np.unique(one.class_map)) <= {0, one.prompt.targets[0].class_id}
