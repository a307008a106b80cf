"""What there is to choose from: models and classes."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from commands import done, refused

import diffumask
from diffumask.models import MODELS
from diffumask.prompts.vocabulary import load_vocabulary

COMMIT = "0" * 40


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of the hub's client."""
    for module in ("constants", "utils._cache_manager"):
        name = f"huggingface_hub.{module}.HF_HUB_CACHE"
        monkeypatch.setattr(name, str(tmp_path / "hub"), raising=False)
    (tmp_path / "hub").mkdir()
    return tmp_path / "hub"


def put(cache: Path, hub_id: str, folder: Path) -> Path:
    """Put a model into a cache as the hub's client does, but for links to blobs."""
    place = cache / f"models--{hub_id.replace('/', '--')}"
    (place / "refs").mkdir(parents=True)
    (place / "refs/main").write_text(COMMIT)
    return shutil.copytree(folder, place / "snapshots" / COMMIT)


ONLY_TINY = [name == "tiny" for name in MODELS]


def test_models_tell_what_each_is_and_whether_it_is_here(cache, tiny_random_folder):
    assert [one.is_here for one in diffumask.list_models()] == ONLY_TINY
    put(cache, str(MODELS["sd15"].source), tiny_random_folder)
    put(cache, "someone/small", tiny_random_folder)
    tiny, sd15, *_, small = diffumask.list_models()
    assert (tiny.name, tiny.hub_id, tiny.licence) == ("tiny", None, "Apache-2.0")
    assert (sd15.name, sd15.hub_id, sd15.is_here) == ("sd15", MODELS["sd15"].source, True)
    assert (sd15.height, sd15.width, sd15.num_inference_steps) == (512, 512, 30)
    assert sd15.uses == ("generate", "observe", "capture")
    assert (small.name, small.is_here, small.licence) == ("someone/small", True, None)


def test_a_model_that_was_not_downloaded_whole_is_not_here(cache, tiny_random_folder):
    folder = put(cache, str(MODELS["sd15"].source), tiny_random_folder)
    (folder / "unet/diffusion_pytorch_model.safetensors").unlink()
    put(cache, "someone/other", tiny_random_folder)
    other = cache / f"models--someone--other/snapshots/{COMMIT}/model_index.json"
    other.write_text("{}")
    assert [one.is_here for one in diffumask.list_models()] == ONLY_TINY


def test_without_a_cache_models_are_listed_all_the_same(cache):
    cache.rmdir()
    assert [one.name for one in diffumask.list_models()] == list(MODELS)


def test_the_commands_print_what_the_functions_give(cache):
    facts = json.loads(done("models", "--json"))["models"]
    assert [one["name"] for one in facts] == list(MODELS)
    head, tiny, sd15, *_ = done("models").splitlines()
    assert head.split() == ["name", "size", "steps", "guidance", "here", "for", "licence", "what"]
    assert tiny.split()[:5] == ["tiny", "128x128", "20", "4", "yes"]
    assert "generate, observe, capture" in tiny
    assert "no " in sd15
    assert str(MODELS["sd15"].source) in sd15


@pytest.mark.parametrize("name", ["tiny", "voc", "cityscapes", "ade20k"])
def test_classes_are_those_of_the_vocabulary_in_the_order_of_ids(name):
    entries = {entry.name: entry for entry in load_vocabulary(name).classes}
    listed = diffumask.list_classes(vocabulary=name)
    assert {one.name for one in listed} == set(entries)
    assert [one.class_id for one in listed] == sorted(e.class_id for e in entries.values())
    assert all(one.sub_classes == entries[one.name].sub_classes for one in listed)
    names = {name for one in listed for name in (one.name, *one.other_names)}
    assert names == {name for entry in entries.values() for name in entry.known_as}


def test_the_model_chooses_the_vocabulary_and_a_file_will_do(tmp_path):
    assert json.loads(done("classes", "--json"))["vocabulary"] == "tiny"
    assert json.loads(done("classes", "--model", "sd15", "--json"))["vocabulary"] == "voc"
    (tmp_path / "mine.toml").write_text('contexts = ["here"]\n[classes.dog]\nid = 12\n')
    lines = done("classes", "--vocabulary", tmp_path / "mine.toml").splitlines()
    assert lines[0] == "vocabulary mine: 1 class; other words are taken as typed"
    assert lines[-1].split() == ["12", "dog"]
    assert "got 'none'" in refused("classes", "--vocabulary", "none")


@pytest.mark.parametrize("command", ["models", "classes"])
def test_they_load_no_torch(command):
    words = [sys.executable, "-X", "importtime", "-m", "diffumask.cli", command]
    told = subprocess.run(words, capture_output=True, text=True, check=True)
    loaded = {line.rpartition("|")[2].strip() for line in told.stderr.splitlines()}
    assert "typer" in loaded
    assert not loaded & {"torch", "diffusers", "transformers", "cv2", "scipy"}
