"""`diffumask segmentator`, and generate and remask with a Segmentator."""

import json
from pathlib import Path

import numpy as np
import pytest
from commands import call, done, refused
from diffusers import StableDiffusionPipeline
from labelled_folders import files, write_image, write_mask
from PIL import Image as PillowImage
from test_segmentator import small_autoencoder

from diffumask.dataset.listing import read_records
from diffumask.dataset.run import read_run
from diffumask.notices import notices_off
from diffumask.sampling.noising import encode
from diffumask.segmentator import read_facts

SIZE_HW = (16, 24)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with masks of birds, in the layout of VOC; read only."""
    folder = tmp_path_factory.mktemp("data")
    for number in range(3):
        mask = np.zeros(SIZE_HW, np.uint8)
        mask[:, : 6 + number], mask[-1] = 3, 255
        write_image(folder / "JPEGImages" / f"i{number}.jpg", SIZE_HW)
        write_mask(folder / "SegmentationClass" / f"i{number}.png", mask)
    return folder


@pytest.fixture(scope="module")
def head(data: Path, tiny_random_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A head of the random model that knows birds; read only."""
    out = tmp_path_factory.mktemp("heads") / "head.safetensors"
    few = ["--steps", 2, "--batch-size", 2, "--views", 2, "--size", 16, "--held-out", 0.3]
    words = ["--data", data, "--model", tiny_random_folder, "-o", out, *few]
    said = done("segmentator", "train", *words)
    assert "trained on 1 image of 2 labels" in said
    assert f"the head is in {out}" in said
    assert "mIoU" in said
    return out


@pytest.fixture
def generate(tiny_random_folder: Path, tmp_path: Path) -> list[object]:
    """Words that make one item of the random model in the folder `out`."""
    small = ["--num-inference-steps", 1, "--height", 16, "--width", 24, "--n", 1, "--keep-maps"]
    return ["generate", "--model", tiny_random_folder, *small, "--out", tmp_path / "out"]


def test_training_writes_a_head_with_its_card(head: Path, data: Path) -> None:
    facts = read_facts(head)
    assert (facts.design, facts.side, facts.model) == ("pyramid", 16, "tiny_random")
    assert facts.labels.names == ("background", "bird")
    assert "background, bird" in head.with_suffix(".md").read_text("utf-8")
    before = files(head.parent)
    line = refused("segmentator", "train", "--data", data, "-o", head)
    assert "expected a free name for the head" in line
    assert files(head.parent) == before


def test_predict_masks_images_of_any_size(
    head: Path, data: Path, tiny_random_folder: Path, tmp_path: Path
) -> None:
    write_image(tmp_path / "more" / "odd.png", (19, 11))
    out = tmp_path / "masks"
    words = ["--segmentator", head, "--model", tiny_random_folder, "-o", out]
    said = done(
        "segmentator", "predict", data / "JPEGImages", tmp_path / "more" / "odd.png", *words
    )
    assert said == f"4 masks in {out}\n"
    with PillowImage.open(out / "odd.png") as picture:
        assert (picture.mode, picture.size) == ("P", (11, 19))
        assert set(np.unique(np.array(picture))) <= {0, 3}
    before = files(out)
    assert "without odd.png" in refused("segmentator", "predict", tmp_path / "more", *words)
    write_image(tmp_path / "low" / "low.png", (7, 30))
    assert "at least 8x8" in refused("segmentator", "predict", tmp_path / "low", *words)
    assert "expected images, got none" in refused("segmentator", "predict", out.parent, *words)
    assert files(out) == before


def test_evaluate_compares_with_real_masks(
    head: Path, data: Path, tiny_random_folder: Path, tmp_path: Path
) -> None:
    words = ["--segmentator", head, "--model", tiny_random_folder, "--data", data]
    report, plot = tmp_path / "report.json", tmp_path / "report.svg"
    said = done("segmentator", "evaluate", *words, "-o", report, "--plot", plot)
    assert "bird" in said
    assert "3 images" in said
    assert report.is_file()
    assert plot.is_file()
    line = refused("segmentator", "evaluate", *words, "-o", tmp_path / "report.txt")
    assert "expected a report named *.json" in line


@pytest.mark.parametrize("source", ["segmentator", "both"])
def test_generate_and_remask_take_masks_from_a_segmentator(
    generate: list[object], head: Path, tiny_random_folder: Path, tmp_path: Path, source: str
) -> None:
    chosen = ["--mask-source", source, "--segmentator", head]
    done(*generate, "--class", "bird", *chosen)
    settings = read_run(tmp_path / "out").settings
    assert settings["mask_source"] == source
    assert len(settings["segmentator"]) == 16
    (record,) = read_records(tmp_path / "out")
    assert set(
        np.array(PillowImage.open(tmp_path / "out" / record.fields["mask_file_name"])).flat
    ) <= {*(0, 3, 255)}
    words = ["remask", tmp_path / "out", "-o", tmp_path / "again", *chosen]
    done(*words, "--model", tiny_random_folder)
    assert read_run(tmp_path / "again").settings["mask_source"] == source
    done("remask", tmp_path / "out", "-o", tmp_path / "plain")
    settings = read_run(tmp_path / "plain").settings
    assert (settings["mask_source"], settings["segmentator"]) == ("attention", None)


def test_the_source_is_part_of_what_a_folder_is(generate: list[object], head: Path) -> None:
    done(*generate, "--class", "bird")
    chosen = ["--mask-source", "both", "--segmentator", head]
    line = refused(*generate, "--class", "bird", *chosen)
    assert "mask_source ('attention', now 'both')" in line


def test_heads_that_do_not_fit_are_refused_before_anything_is_made(
    generate: list[object], head: Path, tmp_path: Path
) -> None:
    chosen = ["--segmentator", head, "--mask-source"]
    line = refused(*generate, "--class", "cat", *chosen, "segmentator")
    assert "knows (background, bird), got 'cat'; take masks from both" in line
    tiny = ["generate", "--class", "bird", "--n", 1, "--out", tmp_path / "out"]
    assert "expected a head for the VAE" in refused(*tiny, *chosen, "both")
    assert "source of masks attention, segmentator, both, clipseg:FOLDER" in refused(
        *tiny, *chosen, "sam"
    )
    assert "got attention with a file" in refused(*tiny, "--segmentator", head)
    assert "both without a file" in refused(*tiny, "--mask-source", "both")
    line = refused(*tiny, *chosen, "segmentator", "--threshold", "otsu")
    assert "expected threshold auto" in line
    (tmp_path / "no.safetensors").write_bytes(b"")
    line = refused(*tiny, "--mask-source", "both", "--segmentator", tmp_path / "no.safetensors")
    assert "expected a Segmentator of diffumask" in line
    assert not (tmp_path / "out").exists()


def test_training_refuses_what_it_cannot_use(data: Path, tmp_path: Path) -> None:
    words = ["segmentator", "train", "--data", data]
    out = ["-o", tmp_path / "head.safetensors"]
    assert "expected the head named *.safetensors" in refused(*words, "-o", tmp_path / "head.pt")
    assert "expected one of the heads pyramid, linear" in refused(*words, *out, "--head", "big")
    assert "none of 'cat'" in refused(*words, *out, "--class", "cat", "--class", "bird")
    assert "num_steps of 1 or more" in refused(*words, *out, "--steps", 0)
    assert "values to ignore in 0..255" in refused(*words, *out, "--ignore-value", 300)
    assert "folder of labelled images" in refused("segmentator", "train", "--data", __file__, *out)
    assert not (tmp_path / "head.safetensors").exists()


def test_a_training_that_was_killed_after_its_head_was_written_is_finished(
    data: Path, tiny_random_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "head.safetensors"
    few = ["--steps", 2, "--batch-size", 2, "--views", 1, "--size", 16, "--held-out", 0.3]
    words = ["segmentator", "train", "--data", data, "--model", tiny_random_folder, "-o", out, *few]

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("diffumask.training.folder.TrainingFolder.finish", killed)
        assert call(*words).exit_code == 130
    content = out.read_bytes()
    out.with_suffix(".md").unlink()  # as if the kill came between the two
    assert f"the head is in {out}" in done(*words)
    assert out.read_bytes() == content
    assert out.with_suffix(".md").is_file()
    assert not (out.with_suffix(".training") / "state.safetensors").exists()
    assert "expected a free name for the head" in refused(*words)


def test_a_head_of_something_else_is_not_overwritten_by_a_training_that_goes_on(
    data: Path, tiny_random_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "head.safetensors"
    few = ["--steps", 2, "--batch-size", 2, "--views", 1, "--size", 16, "--held-out", 0.3]
    words = ["segmentator", "train", "--data", data, "--model", tiny_random_folder, "-o", out, *few]

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("diffumask.segmentator.file.save_new", killed)
        assert call(*words).exit_code == 130
    out.write_bytes(b"thesis")
    assert "expected a free name for the head" in refused(*words)
    assert out.read_bytes() == b"thesis"
    assert not out.with_suffix(".md").exists()


def test_a_class_agnostic_head_outlines_what_the_prompt_names(
    generate: list[object], data: Path, tiny_random_folder: Path, tmp_path: Path
) -> None:
    head = tmp_path / "any.safetensors"
    few = ["--steps", 2, "--batch-size", 2, "--views", 2, "--size", 16, "--held-out", 0.3]
    words = ["--data", data, "--model", tiny_random_folder, "-o", head, *few]
    done("segmentator", "train", *words, "--class", "bird", "--class-agnostic")
    assert read_facts(head).class_agnostic
    assert read_facts(head).labels.names == ("background", "object")
    assert "object (of any class" in head.with_suffix(".md").read_text("utf-8")
    done(*generate, "--class", "cat", "--mask-source", "segmentator", "--segmentator", head)
    (record,) = read_records(tmp_path / "out")
    assert record.prompt.targets[0].class_name == "cat"
    words = ["--segmentator", head, "--data", data, "--model", tiny_random_folder]
    said = done("segmentator", "evaluate", *words, "-o", tmp_path / "report.json")
    assert "object" in said
    classes = json.loads((tmp_path / "report.json").read_text("utf-8"))["classes"]
    assert set(classes) == {"background", "object"}


def test_data_without_a_background_teaches_no_objects(tmp_path: Path) -> None:
    for number in range(3):
        write_image(tmp_path / "data" / "images" / f"i{number}.png", SIZE_HW)
        mask = np.ones(SIZE_HW, np.uint8)
        mask[3:] = 2
        write_mask(tmp_path / "data" / "masks" / f"i{number}.png", mask)
    ids = tmp_path / "ids.json"
    ids.write_text('{"sky": 0, "bird": 1, "cat": 2}')
    words = ["--data", tmp_path / "data", "-o", tmp_path / "any.safetensors"]
    line = refused("segmentator", "train", *words, "--vocabulary", ids, "--class-agnostic")
    assert "expected masks with a background, which objects are told from" in line


def test_a_model_with_a_small_autoencoder_draws_and_is_read_like_any(
    data: Path, tiny_random_folder: Path, tmp_path: Path
) -> None:
    with notices_off():
        pipe = StableDiffusionPipeline.from_pretrained(tiny_random_folder, safety_checker=None)
    pipe.vae = small_autoencoder()
    pipe.save_pretrained(tmp_path / "model")
    head = tmp_path / "head.safetensors"
    few = ["--steps", 2, "--batch-size", 2, "--views", 2, "--size", 16, "--held-out", 0.3]
    done("segmentator", "train", "--data", data, "--model", tmp_path / "model", "-o", head, *few)
    small = ["--num-inference-steps", 1, "--height", 16, "--width", 24, "--n", 2]
    words = ["generate", "--model", tmp_path / "model", "--class", "bird", *small]
    done(*words, "--out", tmp_path / "out", "--mask-source", "both", "--segmentator", head)
    assert len(read_records(tmp_path / "out")) == 2
    image = np.zeros((2, 16, 24, 3), np.uint8)
    assert encode(pipe, image).shape == (2, 4, 2, 3)
