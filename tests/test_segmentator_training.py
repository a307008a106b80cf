"""Training of the Segmentator: examples, loss, resuming, what data it refuses."""

import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from labelled_folders import filled, plain, write_image, write_mask
from torch.nn import functional

from diffumask.errors import InputError
from diffumask.labelled.folder import Labelled, open_labelled
from diffumask.labelled.mapping import ClassSelection
from diffumask.models import load_autoencoder, resolve
from diffumask.segmentator import TrainSettings, load, train_segmentator, training
from diffumask.segmentator.curve import write_curve
from diffumask.segmentator.examples import encode_examples, held_out, make_view, recoloured
from diffumask.segmentator.features import Autoencoder, decoded_states
from diffumask.segmentator.kept import KeptStates, has_room
from diffumask.segmentator.labels import find_labels
from diffumask.segmentator.training import CHECKPOINT_FILE, split, training_folder
from diffumask.segmentator.training import loss as loss_of
from diffumask.training.state import is_at_its_end
from diffumask.types import IGNORE_ID, ClassIds

pytestmark = pytest.mark.numeric

SIZE_HW = (16, 24)
OF_VAE = ("some model", "0123456789abcdef")
FAST = TrainSettings(
    side=16, design="linear", num_steps=4, batch_size=2, n_views=2, held_out=0.3, validate_every=2
)


@pytest.fixture(scope="module")
def vae(tiny_random_folder: Path) -> Autoencoder:
    """A random autoencoder of factor 8."""
    return load_autoencoder(resolve(str(tiny_random_folder)), "cpu")


def dataset(folder: Path, n: int = 4) -> Labelled:
    """Images of noise, the left half of which is of class 7, the last row of none."""
    for number in range(n):
        mask = np.zeros(SIZE_HW, np.uint8)
        mask[:, :12], mask[-1] = 7, 255
        write_image(folder / "images" / f"i{number}.png", SIZE_HW)
        write_mask(folder / "masks" / f"i{number}.png", mask)
    return open_labelled(folder, selection=ClassSelection(ClassIds({"bird": 7, "cat": 8})))


def test_views_cut_image_and_mask_alike() -> None:
    class_map = np.random.default_rng(0).integers(1, 5, (20, 31), np.uint8)
    image = np.repeat(class_map[..., None], 3, 2) * 50
    for number in range(6):
        view = make_view((20, 31), 16, "a", number, seed=3)
        plain_view = replace(view, colour_seed=None, size_hw=(20, 31))
        pixels, labels = plain_view.image(image), plain_view.class_map(class_map)
        assert pixels.shape == (16, 16, 3)
        known = labels != IGNORE_ID
        np.testing.assert_array_equal(pixels[known][:, 0], labels[known] * 50)
        assert view == make_view((20, 31), 16, "a", number, seed=3)
    first = make_view((20, 31), 16, "a", 0, seed=3)
    assert (first.size_hw, first.flipped, first.colour_seed) == ((16, 25), False, None)


@pytest.mark.parametrize("size_hw", [(53, 80), (29, 44), (33, 50)])
def test_labels_of_a_resized_view_are_where_the_image_has_them(size_hw: tuple[int, int]) -> None:
    rows, columns = np.ogrid[:40, :61]
    class_map = ((rows - 19.5) ** 2 + (columns - 30) ** 2 < 14**2).astype(np.uint8)
    view = replace(make_view((40, 61), 91, "a", 0, seed=3), size_hw=size_hw, top=0, left=0)
    shown = view.image(np.repeat(class_map[..., None], 3, 2) * 255)[..., 0] / 255
    labelled = view.class_map(class_map) == 1
    for of_image, of_labels in zip(centre(shown), centre(labelled), strict=True):
        assert abs(of_image - of_labels) < 0.1  # the corner of a pixel is half a pixel beside it


def centre(weights: np.ndarray) -> np.ndarray:
    """Return the mean row and column."""
    return np.average(np.indices(weights.shape).reshape(2, -1), axis=1, weights=weights.ravel())


def test_views_of_small_versions_are_filled_with_255() -> None:
    view = replace(make_view((20, 31), 16, "a", 0, seed=3), size_hw=(10, 15), top=0, left=0)
    labels = view.class_map(np.ones((20, 31), np.uint8))
    assert (labels[:10, :15] == 1).all()
    assert (labels == IGNORE_ID).sum() == 16 * 16 - 10 * 15
    assert view.image(np.full((20, 31, 3), 9, np.uint8)).min() == 9


def test_colours_change_with_the_seed_alone() -> None:
    image = np.random.default_rng(0).integers(256, size=(6, 9, 3), dtype=np.uint8)
    np.testing.assert_array_equal(recoloured(image, 1), recoloured(image, 1))
    assert (recoloured(image, 1) != recoloured(image, 2)).any()


def test_the_names_alone_say_what_is_held_out() -> None:
    names = tuple(f"image {number}" for number in range(300))
    out = dict(zip(names, held_out(names, 0.2), strict=True))
    assert 0.1 < sum(out.values()) / len(out) < 0.3
    fewer = names[::2]
    assert [out[name] for name in fewer] == held_out(fewer, 0.2)
    for share in (0.001, 0.999):
        assert 0 < sum(held_out(("a", "b", "c"), share)) < 3


def test_loss_leaves_255_out_and_equals_its_formula() -> None:
    logits = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    truth = torch.randint(0, 2, (2, 4, 5), generator=torch.Generator().manual_seed(1))
    truth[0, 0] = IGNORE_ID
    changed = logits.clone()
    changed[0, :, 0] += 5
    assert loss_of(changed, truth) == pytest.approx(loss_of(logits, truth).item())
    p = logits.softmax(1)
    known = [(b, y, x) for b, y, x in np.ndindex(2, 4, 5) if truth[b, y, x] != IGNORE_ID]
    entropy = sum(-math.log(p[b, truth[b, y, x], y, x]) for b, y, x in known) / len(known)
    dice = []
    for label in (0, 1):
        both = sum(p[b, label, y, x].item() for b, y, x in known if truth[b, y, x] == label)
        total = sum(
            p[b, label, y, x].item() + (truth[b, y, x] == label).item() for b, y, x in known
        )
        dice.append(1 - (2 * both + 1) / (total + 1))
    assert loss_of(logits, truth).item() == pytest.approx(entropy + np.mean(dice), rel=1e-4)
    nothing = loss_of(logits.requires_grad_(), torch.full((2, 4, 5), IGNORE_ID))
    nothing.backward()
    assert nothing == 0


def test_a_resumed_training_gives_the_same_head(
    vae: Autoencoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = dataset(tmp_path / "data")
    whole = train_segmentator(vae, data, FAST, OF_VAE, tmp_path / "whole")

    def cut(step: int, num_steps: int) -> None:
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_segmentator(vae, data, FAST, OF_VAE, tmp_path / "cut", on_step=cut)
    monkeypatch.setattr("diffumask.segmentator.examples.encode_images", None)  # they are kept
    again = train_segmentator(vae, data, FAST, OF_VAE, tmp_path / "cut")
    for name, value in whole.segmentator.head.state_dict().items():
        assert torch.equal(value, again.segmentator.head.state_dict()[name]), name
    lines = (tmp_path / "cut" / "validation.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2, 4]
    assert whole.report is not None
    assert json.loads(lines[-1])["miou"] == round(whole.report.miou, 5)
    facts = whole.segmentator.facts
    assert facts.labels.names == ("background", "bird")
    assert whole.unseen == ("cat",)
    assert facts.training["images"] + facts.training["validation_images"] == 4
    with pytest.raises(InputError, match="another num_steps"):
        train_segmentator(vae, data, replace(FAST, num_steps=5), OF_VAE, tmp_path / "cut")
    training_folder(tmp_path / "cut").finish()
    left = {path.name for path in (tmp_path / "cut").iterdir()}
    assert left == {"train.json", "validation.jsonl", "log.jsonl", ".lock"}


def test_a_training_of_no_length_ends_when_it_gets_no_better(
    vae: Autoencoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diffumask.training.waiting.WAITED_STEPS", 1)
    monkeypatch.setattr("diffumask.training.waiting.WAITS", 1)
    monkeypatch.setattr(training, "MOST_STEPS", 120)
    data, folder = dataset(tmp_path / "data"), tmp_path / "head.training"
    settings = replace(FAST, num_steps=None, learning_rate=1e-9)  # no step makes it better
    trained = train_segmentator(vae, data, settings, OF_VAE, folder)
    taken = trained.segmentator.facts.training["steps"]
    assert 4 < taken < 20
    assert is_at_its_end(folder, 120)
    again = train_segmentator(vae, data, settings, OF_VAE, folder)
    assert again.segmentator.facts == trained.segmentator.facts
    unseen = replace(settings, held_out=0.0)
    monkeypatch.setattr(training, "PATIENCE", 1)
    assert train_segmentator(vae, data, unseen, OF_VAE).segmentator.facts.training["steps"] < 120


def test_hidden_states_are_the_same_kept_or_not(
    vae: Autoencoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = dataset(tmp_path / "data")
    examples = encode_examples(vae, data, find_labels(data, range(4)), 2, 16, 0, None)
    anew, kept = KeptStates(vae, examples, None), KeptStates(vae, examples, tmp_path)
    views = [(0, 1), (3, 0), (0, 1)]
    kept(views[:1])
    (file,) = tmp_path.glob("*.safetensors")
    for one, other in zip(anew(views), kept(views), strict=True):
        torch.testing.assert_close(one, other, rtol=0.02, atol=0.02)
        assert torch.equal(other[0], other[2])
    file.write_bytes(b"torn")
    assert torch.equal(kept(views)[0][0], anew(views[:1])[0][0])
    monkeypatch.setattr(vae, "decode", None)
    assert kept(views)[0].shape[0] == 3  # nothing is decoded again
    kept.folder = tmp_path / "full"
    monkeypatch.undo()
    assert len(kept(views)[0]) == 3
    assert kept.folder is None  # where nothing can be written


def test_states_are_kept_where_they_take_a_small_share_of_the_disk(
    vae: Autoencoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = dataset(tmp_path / "data")
    examples = encode_examples(vae, data, find_labels(data, range(4)), 2, 16, 0, None)
    states = decoded_states(vae, examples.latents[:, 0])
    n_bytes = 4 * 2 * sum(2 * one[0].numel() for one in states if one is not None)
    for free, expected in ((4 * n_bytes, True), (4 * n_bytes - 4, False)):
        disk = SimpleNamespace(free=free)
        monkeypatch.setattr("shutil.disk_usage", lambda folder, disk=disk: disk)
        assert has_room(tmp_path, examples, states) == expected


@pytest.mark.parametrize(
    ("side", "batch_size", "expected"), [(128, 16, 16), (512, 16, 4), (1024, 16, 1), (512, 6, 3)]
)
def test_large_images_take_their_turns_within_a_step(
    side: int, batch_size: int, expected: int
) -> None:
    assert TrainSettings(side, batch_size=batch_size).images_at_once == expected


def test_a_step_in_parts_is_a_step(
    vae: Autoencoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, settings = dataset(tmp_path), replace(FAST, batch_size=4, held_out=0.0)
    monkeypatch.setattr(
        training, "loss", lambda logits, truth: functional.cross_entropy(logits, truth.clamp(max=1))
    )
    whole = train_segmentator(vae, data, settings, OF_VAE)
    monkeypatch.setattr(training, "PIXELS_AT_ONCE", 2 * 16 * 16)
    parts = train_segmentator(vae, data, settings, OF_VAE)
    for name, value in whole.segmentator.head.state_dict().items():
        torch.testing.assert_close(
            value, parts.segmentator.head.state_dict()[name], rtol=1e-3, atol=1e-4
        )


def test_a_curve_shows_what_the_folder_tells(vae: Autoencoder, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    train_segmentator(vae, dataset(tmp_path / "data"), FAST, OF_VAE, tmp_path / "whole")
    write_curve(tmp_path / "curve.svg", "birds", tmp_path / "whole")
    drawn = (tmp_path / "curve.svg").read_text("utf-8")
    assert "birds" in drawn
    assert "mIoU on held-out images" in drawn
    (tmp_path / "whole" / "validation.jsonl").unlink()
    write_curve(tmp_path / "other.svg", "birds", tmp_path / "whole")
    assert "mIoU" not in (tmp_path / "other.svg").read_text("utf-8")


def test_a_loss_that_is_not_finite_stops_and_leaves_the_last_head(
    vae: Autoencoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, calls = dataset(tmp_path / "data"), []

    def bad(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return loss_of(logits, truth) * (math.nan if len(calls) > 2 else 1)

    monkeypatch.setattr(training, "loss", bad)
    with pytest.raises(InputError, match="expected a finite loss, got nan before step 4"):
        train_segmentator(vae, data, FAST, OF_VAE, tmp_path / "head.training")
    kept = load(tmp_path / "head.training" / CHECKPOINT_FILE, vae, OF_VAE[1])
    assert all(value.isfinite().all() for value in kept.head.state_dict().values())


def test_a_head_learns_what_colours_show(tmp_path: Path) -> None:
    for number in range(3):
        image = np.full((*SIZE_HW, 3), 40, np.uint8)
        image[:, 6 * number :][:, :10] = 220
        mask = (image[..., 0] > 100).astype(np.uint8)
        write_mask(tmp_path / "masks" / f"i{number}.png", mask)
        write_mask(tmp_path / "images" / f"i{number}.png", image)
    settings = replace(FAST, num_steps=15, learning_rate=0.1, validate_every=15, n_views=1)
    vae = load_autoencoder(resolve("tiny"), "cpu")
    report = train_segmentator(vae, open_labelled(tmp_path), settings, OF_VAE).report
    assert report is not None
    assert report.miou > 0.8


def test_data_that_cannot_be_learnt_from_is_refused(vae: Autoencoder, tmp_path: Path) -> None:
    def refused(data: Labelled, match: str, settings: TrainSettings = FAST) -> None:
        with pytest.raises(InputError, match=match):
            train_segmentator(vae, data, settings, OF_VAE)

    data = dataset(tmp_path / "data")
    refused(data, "none of 'cat'", replace(FAST, classes=("cat",)))
    refused(data[:1], "at least 2 labelled images, .* got 1")
    refused(data[:0], "at least 2 labelled images, .* got 0")
    mixed = filled(1)
    mixed[:2] = [[0], [2]]
    small = plain(tmp_path / "small", mixed, mixed)
    refused(open_labelled(small), "at least 8x8 pixels .* got 5x8")
    same = plain(tmp_path / "same", np.ones(SIZE_HW), np.ones(SIZE_HW))
    refused(open_labelled(same), "at least two labels .* got 1")
    unknown = ClassSelection(ClassIds({"bird": 1}))
    refused(open_labelled(small, selection=unknown), "expected the labels 0, 1, 255 ..., got 2")
    for name in ("a", "b"):
        write_mask(small / "masks" / f"{name}.png", np.zeros((5, 8, 3)))
    refused(open_labelled(small), "save class ids, not colours")
    write_mask(data.folder / "masks" / "alone.png", np.zeros(SIZE_HW))
    with pytest.raises(InputError, match="expected an image for each mask"):
        open_labelled(data.folder)


def test_images_without_a_mask_are_left_alone(tmp_path: Path) -> None:
    data = dataset(tmp_path)
    write_image(tmp_path / "images" / "alone.png", SIZE_HW)
    assert len(open_labelled(tmp_path)) == len(data)


@pytest.mark.parametrize(
    "change",
    [{"num_steps": 0}, {"side": 0}, {"held_out": 1.0}, {"learning_rate": 0.0}, {"n_views": 0}],
)
def test_settings_out_of_range_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(InputError, match="expected"):
        replace(FAST, **change)


def test_encodings_are_of_the_views(vae: Autoencoder, tmp_path: Path) -> None:
    data = dataset(tmp_path)
    labels = find_labels(data, range(len(data)))
    examples = encode_examples(vae, data, labels, 3, 16, 0, None)
    assert examples.latents.shape == (4, 3, 4, 2, 2)
    views = examples.draw(5, 6, seed=1)
    assert views == examples.draw(5, 6, seed=1) != examples.draw(5, 6, seed=2)
    assert sorted(examples.draw(0, 12, seed=1)) == [(i, k) for i in range(4) for k in range(3)]
    assert len(examples.draw(0, 30, seed=1)) == 30
    truth = examples.labels_of(views)
    assert truth.shape == (6, 16, 16)
    assert set(truth.unique().tolist()) <= {0, 1, IGNORE_ID}
    chosen, out = split(data, 0.0)
    assert (len(chosen), len(out)) == (4, 0)
