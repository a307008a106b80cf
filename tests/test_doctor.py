"""A checkpoint's attention examined: by what it drew, by truth, and by attacks on both."""

import json
import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import labelled_folders
import numpy as np
import pytest
from commands import done, refused
from PIL import Image as PillowImage

from diffumask.api.doctor import refereed
from diffumask.api.doctor_options import DoctorOptions
from diffumask.api.doctor_report import Examined, report
from diffumask.masks.settings import MaskSettings
from diffumask.masks.sources import MaskSource
from diffumask.proof.controls import HEATS, with_heat
from diffumask.proof.estimates import Estimate
from diffumask.proof.judging import word_overlap
from diffumask.proof.reading import Picture, Read, Reading
from diffumask.proof.search import search
from diffumask.proof.verdict import BAD, BOUNDS, DOUBTFUL, GAIN, GOOD, OVERLAP, verdict
from diffumask.recipe.preset_file import read_preset
from diffumask.scenes.sprites import find_font
from diffumask.types import Objects, Prompt, Sample, Target

SIZE_HW = (32, 40)
BIRD, CAT = Target("bird", "bird", 3), Target("cat", "cat", 8)
PROMPT = Prompt("a photo of a bird and a cat", (BIRD, CAT))
OPTIONS = DoctorOptions()
DEFAULT, OTHER = Reading(), replace(Reading(), power=2)
VOCABULARY = """
templates = ["a photo of {object} {context}"]
contexts = ["on grass", "on sand"]
[classes.bird]
id = 3
[classes.cat]
id = 8
[classes.sheep]
id = 17
"""
SMALL = ("--num-inference-steps", 1, "--height", 16, "--width", 24, "--n", 1)


def box(left: int) -> np.ndarray:
    heat = np.zeros((16, 20), np.float32)
    heat[5:11, left : left + 6] = 1
    return heat


def read(
    bird: np.ndarray, cat: np.ndarray, wrong_heat: np.ndarray, better: np.ndarray | None = None
) -> Read:
    """A picture of a red bird and a blue cat, with the heat of both words and a wrong one."""
    image = np.full((*SIZE_HW, 3), 200, np.uint8)
    truth = np.zeros(SIZE_HW, np.uint8)
    for label, (x, colour) in enumerate([(2, (200, 30, 30)), (12, (30, 30, 200))], start=1):
        truth[10:22, 2 * x : 2 * x + 12] = label
        image[truth == label] = colour

    def sample(bird: np.ndarray) -> Sample:
        heats = {"bird": bird, "cat": cat}
        return Sample(PROMPT, 0, image, heats, heats, presences={"bird": 0.6, "cat": 0.6})

    prompt = replace(PROMPT, targets=(Target("photo", "sheep", 3), CAT))
    wrong = replace(sample(bird), prompt=prompt, heats={"photo": wrong_heat, "cat": cat})
    wrong = replace(wrong, affinities=wrong.heats, presences={"photo": 0.4, "cat": 0.6})
    samples = {DEFAULT: sample(bird), OTHER: sample(bird if better is None else better)}
    controls = {
        name: with_heat(samples[DEFAULT], heat_of(image, (16, 20)), lambda heat: heat)
        for name, heat_of in HEATS.items()
    }
    picture = Picture(image, PROMPT, 0, "sheep", truth)
    return Read(picture, samples, dict.fromkeys(samples, wrong), {1: controls, 2: controls})


def examined(reads: Sequence[Read]) -> Examined:
    return Examined("fake", "0" * 16, reads, {}).with_truth(reads, "fakes")


def test_attention_that_knows_its_words_is_found_good():
    given = report(OPTIONS, examined([read(box(2), box(12), box(7))] * 4))
    assert given.value.grade == GOOD, given.text
    assert given.facts["verdict"] == GOOD
    assert set(given.facts["figures"]) == set(BOUNDS)
    assert given.text.splitlines()[-1] == "verdict: good: masks follow the words"


def test_attention_that_ignores_its_words_is_found_bad_with_and_without_truth():
    everything = box(2) + box(12)
    blind = read(everything, everything, everything)
    given = report(OPTIONS, examined([blind] * 4))
    assert given.value.grade == BAD, given.text
    assert given.facts["figures"][OVERLAP]["mean"] == 1.0
    given = report(OPTIONS, Examined("fake", "0" * 16, [blind] * 4, {}))
    assert (given.value.grade, given.exit_code) == (BAD, 0)
    assert "no truth: " in given.text
    assert GAIN not in given.facts["figures"]


def test_words_alone_overlap_as_much_as_their_heat_does():
    settings = MaskSettings(refiner="none")
    apart, alike = read(box(2), box(12), box(7)), read(box(2), box(2), box(2))
    assert word_overlap(apart.samples[DEFAULT], settings) == 0
    assert word_overlap(alike.samples[DEFAULT], settings) == 1
    one = apart.samples[DEFAULT]
    assert np.isnan(word_overlap(replace(one, prompt=replace(PROMPT, targets=(BIRD,))), settings))


@pytest.mark.parametrize("name", BOUNDS)
def test_a_figure_is_graded_by_its_bounds(name):
    bounds = BOUNDS[name]
    between = (bounds.good + bounds.bad) / 2
    values = {bounds.good: GOOD, bounds.bad: BAD, between: DOUBTFUL}
    assert [bounds.grade(value) for value in values] == list(values.values())
    assert verdict({name: Estimate(bounds.bad, 0.0, 1.0)}).grade == BAD


def test_a_gain_that_may_be_none_is_doubtful():
    assert verdict({GAIN: Estimate(0.3, 0.1, 0.5)}).grade == GOOD
    assert verdict({GAIN: Estimate(0.3, -0.1, 0.5)}).grade == DOUBTFUL
    with pytest.raises(ValueError, match="expected figures"):
        verdict({GAIN: Estimate(np.nan, np.nan, np.nan)})


def test_the_better_reading_is_found_by_half_of_the_pictures():
    steps: list[int] = []
    found = search([read(box(15), box(12), box(7), better=box(2))] * 10, steps.append)
    assert found.best.reading == OTHER
    assert found.gain.mean > 0
    assert len(steps) <= len(found.trials)
    assert found.trials[0].what == "default"


def test_too_few_pictures_change_nothing():
    found = search([read(box(15), box(12), box(7), better=box(2))] * 6, lambda _: None)
    assert found.best.reading == DEFAULT
    assert str(found.best).startswith("grids by default, power 1, Otsu less 0.05")


def test_what_loses_on_the_pictures_that_are_shown_is_dropped():
    good, bad = (
        read(box(15), box(12), box(7), better=box(2)),
        read(box(2), box(12), box(7), better=box(15)),
    )
    found = search([good, bad] * 5, lambda _: None)
    assert found.best.reading == DEFAULT
    assert found.gain.mean == 0


@pytest.fixture
def vocabulary(tmp_path):
    path = tmp_path / "few.toml"
    path.write_text(VOCABULARY)
    return path


@pytest.mark.skipif(find_font() is None, reason="needs the emoji font")
def test_tiny_is_examined_in_seconds():
    words = ("--class", "bird", "--class", "cat", "--n", 1, "--num-inference-steps", 2)
    facts = json.loads(done("doctor", *words, "--height", 64, "--width", 64, "--json"))
    assert (facts["model"], facts["drawn"], facts["truth"]) == ("tiny", 2, "rendered scenes")
    assert facts["verdict"] in (GOOD, DOUBTFUL, BAD)
    assert set(facts["iou"]) == {"ours", *HEATS, "wrong word", "GrabCut from the middle"}


def test_labelled_pictures_give_a_preset_that_generate_takes(
    tiny_random_folder, vocabulary, tmp_path
):
    filled = labelled_folders.filled
    data = labelled_folders.plain(tmp_path / "data", filled(3), filled(8))
    preset, page = tmp_path / "preset.toml", tmp_path / "page.png"
    model = ("--model", tiny_random_folder, "--vocabulary", vocabulary)
    words = ("doctor", *model, *SMALL, "--data", data, "--out", preset, "--page", page)
    text = done(*words)
    assert "IoU on 2 pictures of" in text
    assert "default  " in text
    assert "test" in text
    assert text.splitlines()[-2] == f"the preset is in {preset}"
    written = read_preset(preset)
    assert written.figures["test_gain_over_default"] == 0
    with PillowImage.open(page) as sheet:
        assert sheet.info["Description"].startswith("image, heat, mask, centre Gaussian")
    out = tmp_path / "made"
    done("generate", "--class", "bird", *model, *SMALL, "--preset", preset, "--out", out)
    made = json.loads((out / "run.json").read_text())["settings"]
    assert made["preset"] == written.digest
    assert made["refiner"] == written.settings.refiner


def test_without_truth_it_says_so(tiny_random_folder, vocabulary):
    model = ("--model", tiny_random_folder, "--vocabulary", vocabulary)
    assert "no truth: text gain, takes other and pointing need" in done("doctor", *model, *SMALL)


def test_a_model_of_the_shape_of_xl_is_examined(tiny_random_xl_folder, vocabulary):
    words = ("--model", tiny_random_xl_folder, "--vocabulary", vocabulary, "--class", "bird")
    assert "verdict: " in done("doctor", *words, *SMALL)


@pytest.fixture
def unreadable(tiny_random_folder, tmp_path):
    """A model of another architecture."""
    folder = shutil.copytree(tiny_random_folder, tmp_path / "other")
    index = json.loads((folder / "model_index.json").read_text())
    index["transformer"] = ["diffusers", "SanaTransformer2DModel"]
    del index["unet"]
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def test_what_cannot_be_is_refused_in_one_line(
    tiny_random_folder, vocabulary, unreadable, tmp_path
):
    model = ("--model", tiny_random_folder, "--vocabulary", vocabulary, *SMALL)
    assert "with SanaTransformer2DModel" in refused("doctor", "--model", unreadable)
    assert "expected a network to compare with, clipseg:FOLDER" in refused(
        "doctor", *model, "--against", "sam4:x"
    )
    out = tmp_path / "p.toml"
    assert "expected labelled pictures to choose a preset by" in refused(
        "doctor", *model, "--out", out
    )
    out.write_text("[mine]\n")
    assert "choose another file" in refused("doctor", *model, "--out", out)
    page = tmp_path / "page.png"
    page.write_bytes(b"mine")
    assert "choose another" in refused("doctor", *model, "--page", page)
    assert "named *.png" in refused("doctor", *model, "--page", "page.html")
    assert (out.read_text(), page.read_bytes()) == ("[mine]\n", b"mine")
    empty = labelled_folders.plain(tmp_path / "data", np.zeros((5, 8)), np.zeros((5, 8)))
    assert "expected at least 2 pictures" in refused("doctor", *model, "--data", empty)


def test_no_network_is_its_own_referee(tmp_path: Path):
    options = DoctorOptions(against=("sam:x", "clipseg:y"))
    assert options.referee() == "clipseg:y"
    assert DoctorOptions(against=("sam:x",)).referee() is None


class Sees:
    """A network that is always right, but for a picture of the seed 1."""

    def __call__(self, sample: Sample) -> Objects:
        truth = READ.picture.truth
        assert truth is not None
        planes = np.stack([truth == label for label in (0, 1, 2, 9)]).astype(np.float32)
        return planes if sample.seed == 0 else planes[[0, 3, 2, 3]]

    def watching(self, pipe: object, prompts: object) -> AbstractContextManager[list[Objects]]:
        return nullcontext([])


READ = read(box(2), box(12), box(7))
NETWORK = MaskSource(Sees(), fused=False)


def test_a_network_is_referee_of_the_pictures_where_it_sees_what_is_asked():
    unseen = replace(READ, samples={DEFAULT: replace(READ.samples[DEFAULT], seed=1)})
    (judged,) = refereed([READ, unseen], NETWORK)
    assert judged.picture.truth is not None
    assert np.array_equal(judged.picture.truth, np.asarray(READ.picture.truth))


def test_a_network_is_compared_beside_the_controls_and_never_with_itself():
    of = replace(examined([READ] * 2), networks={"clipseg:x": NETWORK})
    assert report(OPTIONS, of).facts["iou"]["clipseg:x"]["mean"] > 0.9
    itself = of.with_truth([READ] * 2, "drawn pictures by clipseg:x")
    assert "clipseg:x" not in report(OPTIONS, itself).facts["iou"]
