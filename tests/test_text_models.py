"""Captions ranked by CLIP and prompts expanded by a language model, both small and random."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import call, done, refused
from transformers import CLIPModel

from diffumask.dataset.run import read_run
from diffumask.errors import InputError
from diffumask.models import load_language_model, load_text_encoder, load_tokenizer
from diffumask.models.clip_text import TextEncoder
from diffumask.models.language import MAX_NEW_TOKENS, Writer
from diffumask.prompts.classes import Classes
from diffumask.prompts.expand import expand
from diffumask.prompts.file import read_prompts
from diffumask.prompts.vocabulary import load_vocabulary
from diffumask.types import Prompt, Target

TINY = load_vocabulary("tiny")
BIRD = Prompt("a photo of a bird on grass", (Target("bird", "bird", 3),), "", "on grass")


@pytest.fixture
def captions(tmp_path: Path) -> Path:
    places = ("on", "in", "near", "old", "some", "stones")
    lines = [f"a bird {place} {light}" for place in places for light in ("quiet", "light")]
    path = tmp_path / "captions.txt"
    path.write_text("\n".join([*lines, "a cat on grass", "a cartoon bird on grass"]))
    return path


def test_texts_are_unit_vectors_that_do_not_depend_on_their_neighbours(clip_folder: Path) -> None:
    encoder = TextEncoder(*load_text_encoder(str(clip_folder), "cpu"))
    texts = ["a bird", "a photo of a cat on grass", "bird " * 100, "bird " * 90]
    vectors = encoder.embed(texts)
    assert vectors.shape == (4, 8)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    alone = np.concatenate([encoder.embed([text]) for text in texts])
    np.testing.assert_allclose(vectors, alone, atol=1e-5)
    np.testing.assert_allclose(vectors[2], vectors[3], atol=1e-5)  # what is too long is cut
    np.testing.assert_allclose(encoder.likeness(texts)(texts[1]), vectors @ vectors[1], atol=1e-5)


def test_the_text_vectors_are_those_of_the_whole_clip(clip_folder: Path) -> None:
    encoder = TextEncoder(*load_text_encoder(str(clip_folder), "cpu"))
    whole = CLIPModel.from_pretrained(clip_folder).eval()
    read = encoder.tokenizer(["a bird"], return_tensors="pt")
    with torch.no_grad():
        expected = whole(**read, pixel_values=torch.zeros(1, 3, 16, 16)).text_embeds.numpy()
    np.testing.assert_allclose(encoder.embed(["a bird"]), expected, atol=1e-5)


def test_captions_ranked_by_clip_make_a_dataset(
    clip_folder: Path, captions: Path, tiny_random_folder: Path, tmp_path: Path
) -> None:
    asked = ["--class", "bird", "--captions", captions, "--vocabulary", "tiny"]
    ranked = [*asked, "--caption-ranking", f"clip:{clip_folder}", "--device", "cpu"]
    small = ["--num-inference-steps", 1, "--height", 16, "--width", 24]
    words = ["generate", *small, "--model", tiny_random_folder, "--n", 2, "--out", tmp_path / "out"]
    done(*words, *ranked)
    settings = read_run(tmp_path / "out").settings
    assert settings["caption_ranking"] == "clip"
    assert len(settings["caption_ranking_fingerprint"]) == 16
    assert "got another caption_ranking" in refused(*words, *asked)

    shown = call("prompts", *ranked, "-n", 20).stdout.splitlines()
    assert shown == call("prompts", *ranked, "-n", 20).stdout.splitlines()
    lines = captions.read_text().splitlines()
    assert set(shown) <= set(lines[:-2])
    assert 1 < len(set(shown)) <= 10 * len(TINY.find("bird").sub_classes)


def test_a_continuation_depends_on_its_seed_alone(gpt2_folder: Path) -> None:
    writer = Writer(*load_language_model(str(gpt2_folder), "cpu"))
    state = torch.get_rng_state()
    first, again = ([writer.continuation(BIRD.text, seed) for seed in range(4)] for _ in "ab")
    assert first == again
    assert len(set(first)) > 2
    assert 0 < max(len(text.split()) for text in first) <= MAX_NEW_TOKENS
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (" near some old stones", " near some old stones"),
        (", quiet  light, ", ", quiet light"),
        (" in the light\nA new line", " in the light"),
        ("hopper in the light", None),  # would make "grasshopper"
        (" and a cat", None),  # a class that is not labelled
        (" and two cats", None),
        (" near the bird", " near the bird"),
        ("\n", None),
        (" ...", None),
        ("", None),
        (" one two three four", " one two"),  # more is not read
    ],
)
def test_a_continuation_must_suit_the_prompt(written: str, expected: str | None) -> None:
    def fits(text: str) -> bool:
        return "three" not in text

    longer = expand(BIRD, [written], TINY, fits)
    if expected is None:
        assert longer is None
        assert expand(BIRD, [written, " here"], TINY, fits) == expand(BIRD, [" here"], TINY, fits)
    else:
        assert longer == Prompt(BIRD.text + expected, BIRD.targets, "", "on grass")
    assert expand(BIRD, [written], TINY, lambda _: False) is None


def test_expanded_prompts_are_a_file_of_prompts(gpt2_folder: Path, tmp_path: Path) -> None:
    words = ["prompts", "--class", "bird", "-n", 6, "--device", "cpu"]
    asked = [*words, "--expand", gpt2_folder, "--format", "jsonl"]
    result = call(*asked)
    assert result.exit_code == 0, result.output
    assert call(*asked).stdout == result.stdout
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    plain = call(*words).stdout.splitlines()
    kept = sum(row["prompt"] == text for row, text in zip(rows, plain, strict=True))
    assert kept < 6
    assert (f"{kept} of 6 prompts stay as they were" in result.stderr) == (kept > 0)
    tokenizer = load_tokenizer("tiny")
    for row, text in zip(rows, plain, strict=True):
        assert row["prompt"].startswith(text)
        assert "cat" not in row["prompt"]
        assert len(tokenizer(row["prompt"])["input_ids"]) <= 77
    path = tmp_path / "kept.jsonl"
    path.write_text(result.stdout)
    assert [one.text for one in read_prompts(path, Classes(TINY), [])] == [
        row["prompt"] for row in rows
    ]


def test_prompts_that_nothing_suits_stay_as_they_are(
    gpt2_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Writer, "continuation", lambda *_: " and a cat")
    words = ["prompts", "--class", "bird", "-n", 2, "--device", "cpu"]
    result = call(*words, "--expand", gpt2_folder)
    assert result.stdout == call(*words).stdout
    assert result.stderr.splitlines()[-1] == (
        "2 of 2 prompts stay as they were: none of 5 continuations suited"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--caption-ranking", "words"], "expected a caption ranking text or clip:FOLDER"),
        (["--caption-ranking", "clip:"], "expected a caption ranking text or clip:FOLDER"),
        (["--caption-ranking", "clip:lost"], "expected captions beside a caption ranking"),
        (["--captions", "FILE", "--caption-ranking", "clip:lost"], "got 'lost'"),
        (["--captions", "FILE", "--caption-ranking", "clip:GPT2"], "of type 'clip' in"),
        (["--expand", "lost"], "expected a folder with config.json or a hub id"),
        (["--expand", "CLIP"], "expected a whole language model"),
        (["--expand", "GPT2", "--balance"], "expected either expand or balance, got both"),
        (
            ["--expand", "GPT2", "--model", "lost"],
            "expected an image model with a folder tokenizer",
        ),
        (["--expand", "GPT2", "--model", "GPT2"], "expected an image model with a folder"),
    ],
)
def test_bad_input_is_one_line(
    words: list[str], message: str, clip_folder: Path, gpt2_folder: Path, captions: Path
) -> None:
    places = {"CLIP": clip_folder, "GPT2": gpt2_folder, "FILE": captions}
    for name, place in places.items():
        words = [word.replace(name, str(place)) for word in words]
    assert message in refused("prompts", "--class", "bird", *words)


@pytest.mark.parametrize("kind", ["clip", "gpt2"])
def test_models_must_be_whole(
    kind: str, clip_folder: Path, gpt2_folder: Path, tmp_path: Path
) -> None:
    load = {"clip": load_text_encoder, "gpt2": load_language_model}[kind]
    source = {"clip": clip_folder, "gpt2": gpt2_folder}[kind]
    folder = shutil.copytree(source, tmp_path / "whole")
    for path in folder.glob("*"):
        if "token" in path.name or path.name in ("vocab.json", "merges.txt"):
            path.unlink()
    with pytest.raises(InputError, match="expected the tokenizer of a "):
        load(str(folder), "cpu")
    (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match="expected a whole "):
        load(str(folder), "cpu")
