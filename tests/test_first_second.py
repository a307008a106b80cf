"""What needs no torch is answered without it: refusals, and a folder that is finished."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from commands import contents, done, refused

# As a missing module, torch would be told as one; `None` in its place makes an import an error.
PROGRAM = """
import json, sys
sys.modules |= dict.fromkeys(["torch", "diffusers", "transformers", "accelerate", "scipy"])
from typer.testing import CliRunner
from diffumask.cli.app import app
calls = [CliRunner().invoke(app, words) for words in json.load(sys.stdin)]
print(json.dumps([(one.exit_code, one.stdout, one.stderr, repr(one.exception)) for one in calls]))
"""
SMALL = ["--height", "16", "--width", "24", "--num-inference-steps", "1"]
SMALL += ["--class", "bird", "--n", "2"]
DRAW = "generate --class bird --out o"
REFUSED = {
    f"{DRAW} --model tinny": "did you mean 'tiny'?",
    f"{DRAW} --model ./nowhere": "a folder or a hub id like owner/name, got './nowhere'",
    f"{DRAW} --model no/where": "expected a folder or a model on the hub, got 'no/where'",
    f"{DRAW} --model empty": "expected a diffusers model folder, got empty without model_index",
    f"{DRAW} --model broken": "expected a JSON file at broken/model_index.json",
    f"{DRAW} --height 129": "expected a height divisible by 8, got 129; use 128",
    f"{DRAW} --width 129": "expected a width divisible by 8, got 129; use 128",
    f"{DRAW} --dtype fp16": "expected auto or one of float32, float16, bfloat16 as dtype",
    f"{DRAW} --lora none.safetensors": "expected a LoRA file .safetensors",
    f"{DRAW} --mask-source segmentator --segmentator broken/model_index.json": "a Segmentator",
    f"{DRAW} --refiner crv": "expected a refiner",
    f"{DRAW} --threshold 2": "expected a threshold",
    f"{DRAW} --ray nowhere.invalid:1": "expected a Ray cluster at 'nowhere.invalid:1', got: ",
    f"{DRAW} --ray nowhere": "expected local, auto or HOST:PORT as the address of Ray",
    "train empty --model segformer-tiny --out o": "got empty with nothing",
    "train data --model segformer --out o": "expected one of upernet-tiny, segformer-tiny",
    "train data --model segformer-tiny --class dog --out o": "expected one of the classes bird",
    "evaluate --data empty --predictions data/masks": "got empty with nothing",
    "evaluate --data data --predictions empty": "expected 2 predictions NAME.png in empty",
    "evaluate --data data --checkpoint empty": "expected a folder with config.json or a hub id",
    "filter empty": "expected a dataset with empty/run.json",
    "segmentator train --data empty --out h.safetensors": "got empty with nothing",
    "segmentator train --data data --model empty --out h.safetensors": "expected a diffusers model",
    "segmentator train --data data --head none --out h.safetensors": "expected one of the heads",
    "segmentator predict data/images --segmentator broken/model_index.json --out o": "Segmentator",
    "segmentator evaluate --data data --segmentator broken/model_index.json": "a Segmentator",
    "lora train --images empty --out l.safetensors": "expected metadata.jsonl in empty",
    "affinity train --data empty --out o": "expected a dataset with empty/run.json",
    "calibrate --class bird --reference none --out c.json": "expected a reference masks:DIR",
    "calibrate --class bird --reference transformers:none --out c.json": "folder with config.json",
    "remask empty --out o": "expected a dataset with empty/run.json",
    "remask data --out o": "expected a dataset made with keep_maps, got data",
    "doctor --model tinny": "did you mean 'tiny'?",
    "export empty --format voc --out o": "expected a dataset with empty/run.json",
    "show empty": "expected a dataset with empty/run.json",
    "verify empty": "expected a dataset with empty/run.json",
    "merge empty --out o": "expected a dataset with empty/run.json",
    "augment empty --out o": "expected a dataset with empty/run.json",
}


def without_torch(folder: Path, *calls: list[str]) -> list[Any]:
    """Exit code, stdout, stderr and error of each call, made in a folder, in one process."""
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps(calls),
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, tiny_random_folder: Path) -> Path:
    """A folder with a model in it, a finished dataset, and what is none of either."""
    place = tmp_path_factory.mktemp("made")
    shutil.copytree(tiny_random_folder, place / "model")
    done("generate", "--model", place / "model", *SMALL, "--out", place / "data")
    (place / "empty").mkdir()
    (place / "broken").mkdir()
    (place / "broken/model_index.json").write_text("{")
    return place


def generate(*more: str) -> list[str]:
    return ["generate", "--model", "model", *SMALL, "--out", "data", *more]


def times(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in [folder, *folder.rglob("*")]}


def test_mistakes_are_told_without_torch(made):
    before = contents(made)
    answers = without_torch(made, *(words.split() for words in REFUSED))
    for (words, line), (code, stdout, stderr, error) in zip(REFUSED.items(), answers, strict=True):
        assert (code, stdout) == (2, ""), (words, stderr, error)
        assert line in stderr.splitlines()[-1], words
    assert contents(made) == before


def test_a_finished_folder_is_told_without_torch_and_left_as_it_is(made):
    before, since = contents(made), times(made / "data")
    calls = (
        generate(),
        generate("--n", "1"),
        generate("--seed", "1"),
        generate("--dtype", "float32"),
    )
    same, fewer, other, of_dtype = without_torch(made, *calls)
    assert same[:2] == of_dtype[:2] == [0, "2 items in data; look at data/preview.jpg\n"]
    assert fewer[1].startswith("2 items in data, the 1 asked for among them")
    assert other[0] == 2
    assert "another seed (0, now 1)" in other[2]
    assert (contents(made), times(made / "data")) == (before, since)


def test_a_finished_folder_is_refused_to_a_model_that_has_changed(made, tmp_path):
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    config = tmp_path / "model/unet/config.json"
    ((code, _, _, error),) = without_torch(tmp_path, generate())
    assert code == 0, error  # the same files elsewhere: they were read
    config.write_text(config.read_text("utf-8") + " ", "utf-8")
    ((code, _, stderr, _),) = without_torch(tmp_path, generate())
    assert code == 2
    assert "another checkpoint" in stderr


@pytest.mark.parametrize("left", ["item", "preview", "late item", "partial"])
def test_a_folder_with_something_left_to_do_is_gone_on_with(made, tmp_path, left):
    data = shutil.copytree(made / "data", tmp_path / "data")
    whole = contents(data, but=("config.toml",))
    if left == "item":
        (data / "masks/Bird_000001.png").unlink()
    elif left == "preview":
        (data / "preview.jpg").unlink()
    elif left == "late item":  # the preview is of what was there before
        os.utime(data / "preview.jpg", ns=(0, 0))
    else:
        (data / ".partial").mkdir()
    done("generate", "--model", made / "model", *SMALL, "--out", data)
    assert contents(data, but=("config.toml",)) == whole
    assert not (data / ".partial").exists()
    assert (data / "preview.jpg").stat().st_mtime_ns > 0


def test_a_finished_folder_of_another_dtype_is_not_gone_on_with(made):
    line = refused("generate", "--model", made / "model", *SMALL, "--out", made / "data",
                   "--dtype", "bfloat16")  # fmt: skip
    assert "another dtype" in line
