import json
from dataclasses import replace
from pathlib import Path

import pytest
from commands import done, refused
from hypothesis import given
from hypothesis import strategies as st

from diffumask.errors import InputError
from diffumask.masks.refine import REFINERS
from diffumask.models import fingerprint, resolve
from diffumask.recipe.preset import Preset, open_preset, shipped_presets
from diffumask.recipe.preset_file import (
    MERGES,
    PresetFile,
    PresetSettings,
    parse_preset,
    read_preset,
    to_text,
    write_preset,
)
from diffumask.recipe.recipe import Recipe

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SHARES = st.floats(0, 0.999)
SETTINGS = st.builds(
    PresetSettings,
    merge=st.sampled_from(MERGES),
    weights=st.none()
    | st.dictionaries(st.integers(1, 1024), st.floats(1e-6, 1e6), min_size=1, max_size=4),
    power=st.integers(0, 16),
    num_inference_steps=st.none() | st.integers(1, 1000),
    otsu_less=st.floats(-1, 1),
    refiner=st.sampled_from(sorted(REFINERS)),
    uncertain_band=SHARES,
    least_presence=SHARES,
)
NAMES = st.from_regex(r"[a-z][a-z_]{0,9}", fullmatch=True)
FIGURES = st.dictionaries(NAMES, st.floats(allow_nan=False, allow_infinity=False), max_size=3)
MEASURED = st.builds(PresetFile, TEXT, TEXT, st.none(), TEXT, SETTINGS, FIGURES)
PUBLISHED = st.builds(PresetFile, TEXT, st.none(), st.integers(1, 9999), TEXT, SETTINGS, FIGURES)
CHOSEN = PresetSettings(
    weights={2: 0.5}, power=3, num_inference_steps=1, otsu_less=0.1, refiner="none"
)
QUICK = ("--class", "bird", "--n", 1, "--height", 16, "--width", 24)


def made(folder: Path, settings: PresetSettings = CHOSEN) -> PresetFile:
    spec = resolve(str(folder))
    return PresetFile(spec.name, fingerprint(spec), None, "by a test", settings)


@pytest.fixture
def preset(tmp_path, tiny_random_folder):
    """A preset of the random model."""
    path = tmp_path / "preset.toml"
    write_preset(path, made(tiny_random_folder))
    return path


def settings_in(folder: Path) -> dict[str, object]:
    return json.loads((folder / "run.json").read_text())["settings"]


@given(MEASURED | PUBLISHED)
def test_what_is_written_is_read(preset):
    assert parse_preset(to_text(preset).encode(), "it") == preset


@given(st.binary(max_size=200) | TEXT.map(str.encode))
def test_what_is_no_preset_is_an_error_of_one_line(content):
    with pytest.raises(InputError, match="expected a preset file") as caught:
        parse_preset(content, "it")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("format = 1", "format = 2"),
        ("power = 3", "power = -1"),
        ("power = 3", "power = true"),
        ("power = 3", 'strength = "high"'),
        ('merge = "mean"', 'merge = "median"'),
        ('refiner = "none"', 'refiner = "sam:/tmp"'),
        ("otsu_less = 0.1", "otsu_less = nan"),
        ("2 = 0.5", "2 = -0.5"),
        ("2 = 0.5", "two = 0.5"),
        ("2 = 0.5", ""),
        ("chosen =", "width ="),
        ("chosen =", "text_width = 768\nchosen ="),
        ("[settings]", "[setting]"),
        ("[figures]", "figures = 1"),
    ],
)
def test_a_preset_with_another_value_is_refused(tiny_random_folder, old, new):
    text = to_text(made(tiny_random_folder))
    assert old in text
    with pytest.raises(InputError, match=r"^expected a (whole )?preset file"):
        parse_preset(text.replace(old, new).encode(), "it")


def test_a_preset_settles_what_the_options_leave_open(preset, tiny_random_folder, tmp_path):
    words = ("generate", *QUICK, "--model", tiny_random_folder, "--keep-maps", "--preset", preset)
    done(*words, "--out", tmp_path / "a")
    made = settings_in(tmp_path / "a")
    wanted = {"weights": {"2": 0.5}, "power": 3, "num_inference_steps": 1, "merge": "mean"}
    masks = {"threshold": "otsu - 0.1", "refiner": "none", "uncertain_band": 0.02}
    assert made.items() >= {**wanted, **masks, "preset": read_preset(preset).digest}.items()

    others = ("--num-inference-steps", 2, "--threshold", 0.4, "--refiner", "guided")
    done(*words, *others, "--uncertain-band", 0.0, "--out", tmp_path / "b")
    made = settings_in(tmp_path / "b")
    masks = {"threshold": "0.4", "refiner": "guided", "uncertain_band": 0.0, "power": 3}
    assert made.items() >= {**masks, "num_inference_steps": 2}.items()


def test_a_dataset_goes_on_with_the_preset_that_it_was_begun_with_alone(
    preset, tiny_random_folder, tmp_path
):
    words = ("generate", *QUICK, "--model", tiny_random_folder, "--out", tmp_path / "a")
    done(*words, "--preset", preset)
    done(*words, "--preset", preset)
    assert "refiner ('none', now" in refused(*words)
    other = replace(CHOSEN, uncertain_band=0.05)
    write_preset(preset, made(tiny_random_folder, other))
    assert "preset (" in refused(*words, "--preset", preset)


def test_a_preset_of_another_model_is_refused(preset, tiny_random_xl_folder, tmp_path):
    out = tmp_path / "a"
    words = ("generate", *QUICK, "--model", tiny_random_xl_folder, "--out", out)
    assert "expected a preset of the model 'tiny_random_xl'" in refused(*words, "--preset", preset)
    assert "text 768 wide" in refused(*words, "--preset", "sd15")
    assert not out.exists()


def test_remask_takes_the_preset_of_the_heat_it_finds_alone(
    preset, tiny_random_folder, tiny_random_xl_folder, tmp_path
):
    words = ("generate", *QUICK, "--model", tiny_random_folder, "--keep-maps")
    done(*words, "--preset", preset, "--out", tmp_path / "a")
    done(*words, "--num-inference-steps", 1, "--refiner", "none", "--out", tmp_path / "b")
    done("remask", tmp_path / "a", "--out", tmp_path / "again", "--preset", preset)
    assert settings_in(tmp_path / "again") == settings_in(tmp_path / "a")
    done("remask", tmp_path / "a", "--out", tmp_path / "plain", "--refiner", "none")
    assert "preset" not in settings_in(tmp_path / "plain")
    words = ("remask", tmp_path / "b", "--out", tmp_path / "c", "--preset", preset)
    assert "expected heat maps made as the preset" in refused(*words)
    write_preset(preset, made(tiny_random_xl_folder))
    assert "expected a preset of the model" in refused(*words)


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (("--preset", "none.json"), "expected a preset none, sd15, sd21 or FILE.toml"),
        (("--preset", "missing.toml"), "expected a preset file, got missing.toml: No such file"),
        (("--preset", "sd15", "--threshold", "t.json"), "expected no calibrated thresholds"),
        (("--preset", "sd15", "--mask-source", "sam:x"), "expected masks from attention"),
    ],
)
def test_presets_that_cannot_be_are_refused_before_a_model_is_found(options, wanted, tmp_path):
    model = ("--model", tmp_path / "no-model", "--out", tmp_path / "a")
    assert wanted in refused("generate", *QUICK, *model, *options)


@pytest.mark.parametrize("name", shipped_presets())
def test_a_published_preset_says_that_it_is_not_measured(name):
    preset = open_preset(name)
    assert preset is not None
    assert preset.chosen.startswith("published, not measured")
    assert preset.checkpoint is None
    assert Recipe(preset=Preset(name)).sampling["weights"] == {4: 0.7, 2: 0.3}


def test_a_grid_that_a_model_lacks_is_an_error_of_one_line(preset, tiny_random_folder, tmp_path):
    write_preset(preset, made(tiny_random_folder, replace(CHOSEN, weights={512: 1.0})))
    words = ("generate", *QUICK, "--model", tiny_random_folder, "--out", tmp_path / "a")
    assert "expected weights of the grids" in refused(*words, "--preset", preset)
