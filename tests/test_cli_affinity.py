from functools import partial
from pathlib import Path

import commands
import numpy as np
import pytest
from commands import call, done

from diffumask.affinity_net import load
from diffumask.dataset.maps import encode_maps
from diffumask.dataset.store import open_store
from diffumask.types import Example, Prompt, Sample, Target

BIRD, CAT = Target("duck", "bird", 3), Target("cat", "cat", 8)


def item(target: Target, blank: bool = False) -> tuple[Example, bytes]:
    """A block that is hot on a grid of 8 pixels a cell; nothing is, if blank."""
    image = np.full((32, 48, 3), 90, np.uint8)
    image[8:24, 8:32] = [220, 30, 30]
    heat = np.zeros((4, 6), np.float32)
    heat[1:3, 1:4] = not blank
    prompt = Prompt(f"a photo of a {target.word}", (target,))
    maps = encode_maps(Sample(prompt, 0, image, {target.word: heat}))
    return Example(prompt, 0, image, np.zeros((32, 48), np.uint8)), maps


def dataset(folder: Path, items: dict[str, tuple[Example, bytes]], keep_maps: bool = True) -> Path:
    settings = {"model": "none", "keep_maps": keep_maps}
    with open_store(folder, settings, {"bird": 3, "cat": 8}, {}) as store:
        for name, (example, maps) in items.items():
            store.write(name, example, {}, maps if keep_maps else None)
    return folder


def test_a_network_is_trained_on_a_dataset_and_written(tmp_path: Path) -> None:
    items = {"Bird_000000": item(BIRD), "Cat_000000": item(CAT), "Cat_000001": item(CAT, True)}
    data, out = dataset(tmp_path / "data", items), tmp_path / "nets" / "net"
    result = call("affinity", "train", "--data", data, "-o", out, "--steps", 2, "--seed", 5)
    assert result.exit_code == 0, result.stderr
    told = (
        f"trained on 2 of 3 items; the network is in {out}, the affinity of generate and remask\n"
    )
    assert result.stdout == told
    assert "2/2" in result.stderr
    facts = load(out).facts
    assert (facts.words, facts.n_items, facts.num_steps, facts.seed) == (("bird", "cat"), 3, 2, 5)


def test_classes_can_be_chosen(tmp_path: Path) -> None:
    data = dataset(tmp_path / "data", {"Bird_000000": item(BIRD), "Cat_000000": item(CAT)})
    words = ("--data", data, "-o", tmp_path / "net", "--steps", 1, "--class", "cat")
    done("affinity", "train", *words)
    assert load(tmp_path / "net").facts.words == ("cat",)


def test_what_cannot_be_trained_on_is_refused_in_one_line(tmp_path: Path) -> None:
    out = ("-o", tmp_path / "net", "--steps", 1)
    refused = partial(commands.refused, "affinity", "train")
    blank = dataset(tmp_path / "blank", {"Bird_000000": item(BIRD, True)})
    assert "sure of an object and of background, got none in 1" in refused("--data", blank, *out)
    empty = dataset(tmp_path / "empty", {})
    assert "images of one size, got none" in refused("--data", empty, *out)
    bare = dataset(tmp_path / "bare", {"Bird_000000": item(BIRD)}, keep_maps=False)
    assert "made with keep_maps" in refused("--data", bare, *out)
    assert "expected a dataset with" in refused("--data", tmp_path, *out)

    data = dataset(tmp_path / "data", {"Bird_000000": item(BIRD)})
    words = ("--data", data, *out)
    assert "(bird, cat), got 'dog'" in refused(*words, "--class", "dog")
    assert "steps of 1 or more, got 0" in refused("--data", data, "-o", tmp_path, "--steps", 0)
    assert "device of this machine, got 'gpu9'" in refused(*words, "--device", "gpu9")
    (tmp_path / "file").touch()
    assert "got the file" in refused("--data", data, "-o", tmp_path / "file", "--steps", 1)
    (data / "maps" / "Bird_000000.safetensors").unlink()
    assert "expected kept heat maps" in refused(*words)
    assert not (tmp_path / "net").exists()


@pytest.mark.parametrize("words", [["affinity"], ["affinity", "--help"]])
def test_help_names_the_command(words: list[str]) -> None:
    assert "train" in call(*words).output
