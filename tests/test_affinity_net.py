"""AffinityNet: seeds, pairs, training, the random walk, and its files."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from diffumask.affinity_net import (
    AffinityNet,
    AffinitySettings,
    SeedSettings,
    affinity_heat,
    affinity_heats,
    confident_seeds,
    load,
    save,
    train_affinity,
    training,
)
from diffumask.affinity_net.checkpoint import CARD_FILE, CONFIG_FILE, WEIGHTS_FILE
from diffumask.affinity_net.network import (
    NetworkConfig,
    half_disc,
    pair_slices,
    working_image,
)
from diffumask.affinity_net.predict import transitions
from diffumask.affinity_net.training import pair_loss
from diffumask.errors import InputError
from diffumask.types import FLAT

pytestmark = pytest.mark.numeric

PLAIN = SeedSettings(refiner="none")
SMALL = NetworkConfig(
    embedding_size=8, hidden_sizes=(8, 8), depths=(1, 1), features=4, side=48, radius=2
)
SETTINGS = AffinitySettings(num_steps=30, batch_size=4, seeds=PLAIN, network=SMALL)
SHORT = AffinitySettings(num_steps=3, batch_size=2, seeds=PLAIN, network=SMALL)


def picture(seed: int, size_hw: tuple[int, int] = (32, 48)) -> tuple[np.ndarray, np.ndarray]:
    """A red block on green and its mask, both slightly noisy."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(size_hw, bool)
    top, left = rng.integers(2, 10), rng.integers(2, 20)
    mask[top : top + 18, left : left + 22] = True
    image = np.where(mask[..., None], [200, 40, 40], [40, 160, 60])
    return (image + rng.integers(-20, 20, image.shape)).astype(np.uint8), mask


def coarse(mask: np.ndarray) -> np.ndarray:
    """Heat on a grid of 8-pixel cells, warm around the object too."""
    h, w = mask.shape
    share = mask.reshape(h // 8, 8, w // 8, 8).mean((1, 3)).astype(np.float32)
    heat = 0.2 + 0.8 * share
    return heat / heat.max()


@pytest.fixture(scope="module")
def net() -> AffinityNet:
    """A small network trained on red blocks."""
    images, masks = zip(*map(picture, range(8)), strict=True)
    return train_affinity(images, [{"block": coarse(mask)} for mask in masks], SETTINGS)


IMAGES, MASKS = zip(*map(picture, range(3)), strict=True)
HEATS = [{"block": coarse(mask)} for mask in MASKS]


def labels_of(heat: np.ndarray, settings: SeedSettings = PLAIN) -> np.ndarray:
    image = np.zeros((*heat.shape, 3), np.uint8)
    return confident_seeds(image, {"bird": heat.astype(np.float32)}, settings)


def test_seeds_are_what_the_heat_is_sure_of() -> None:
    heat = np.array([[1.0, 1.0, 0.9, 0.7, 0.4], [1.0, 0.9, 0.3, 0.0, 0.0]])
    # Otsu parts at 0.4 | 0.7; the means are 0.917 and 0.175.
    expected = [[1, 1, 1, 255, 255], [1, 1, 255, 0, 0]]
    assert labels_of(heat).tolist() == expected


def test_pixels_that_two_words_are_sure_of_are_neutral() -> None:
    first = np.array([[1, 1, 0, 0, 0, 0]], np.float32)
    second = np.array([[0, 1, 1, 0, 0, 0]], np.float32)
    image = np.zeros((1, 6, 3), np.uint8)
    seeds = confident_seeds(image, {"cat": first, "dog": second}, PLAIN)
    assert seeds.tolist() == [[1, 255, 2, 0, 0, 0]]


@pytest.mark.parametrize(
    "heat",
    [np.zeros((2, 3)), np.full((2, 3), 0.4), np.eye(2, 3) * 1e-3 + 0.4, np.eye(200, 250)],
    ids=["0", "flat", "nearly flat", "thin"],
)
def test_heat_that_is_sure_of_nothing_gives_no_seeds(heat: np.ndarray) -> None:
    assert (labels_of(heat) == 255).all()


def test_seeds_follow_the_edges_of_the_image_with_a_refiner() -> None:
    image, mask = picture(0, (64, 96))
    heat = np.roll(mask, 3, axis=1).astype(np.float32)
    plain = confident_seeds(image, {"block": heat}, PLAIN)
    refined = confident_seeds(image, {"block": heat}, SeedSettings(refiner="crf"))
    assert ((refined == 1) & ~mask).sum() < ((plain == 1) & ~mask).sum() / 2


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_heat_that_is_not_finite_is_refused(net: AffinityNet, bad: float) -> None:
    image, mask = picture(0)
    heat = coarse(mask)
    heat[0, 0] = bad
    with pytest.raises(InputError, match="finite"):
        train_affinity([image], [{"block": heat}], SETTINGS)
    with pytest.raises(InputError, match="finite"):
        affinity_heat(net, image, heat)


def test_an_unknown_refiner_is_refused() -> None:
    with pytest.raises(InputError, match="got 'magic'"):
        SeedSettings(refiner="magic")


@pytest.mark.parametrize("radius", [1, 2, 5])
def test_the_half_disc_has_each_pair_of_a_disc_once(radius: int) -> None:
    offsets = list(half_disc(radius))
    both = offsets + [(-down, -right) for down, right in offsets]
    around = range(-radius, radius + 1)
    disc = {(y, x) for y in around for x in around if 0 < y * y + x * x <= radius**2}
    assert len(both) == len(disc)
    assert set(both) == disc


@pytest.mark.parametrize("size_hw", [(1, 1), (2, 5), (4, 3), (6, 7)])
def test_slices_pair_the_cells_at_an_offset(size_hw: tuple[int, int]) -> None:
    h, w = size_hw
    cells = np.arange(h * w).reshape(size_hw)
    for down, right in half_disc(3):
        first, second = pair_slices((down, right), size_hw)
        expected = {
            (y * w + x, (y + down) * w + x + right)
            for y in range(h)
            for x in range(w)
            if y + down < h and 0 <= x + right < w
        }
        pairs = list(zip(cells[first].ravel(), cells[second].ravel(), strict=True))
        assert len(pairs) == len(expected)
        assert set(pairs) == expected


def test_the_loss_is_that_of_all_pairs_one_by_one() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.rand(2, 3, 4, 5, generator=generator)
    labels = torch.tensor([0, 1, 2, 255])[torch.randint(4, (2, 4, 5), generator=generator)]
    sums = {"bg": [], "fg": [], "neg": []}
    for n in range(2):
        for y in range(4):
            for x in range(5):
                for down, right in half_disc(2):
                    v, u = y + down, x + right
                    if v >= 4 or not 0 <= u < 5 or 255 in (labels[n, y, x], labels[n, v, u]):
                        continue
                    affinity = torch.exp(-(features[n, :, y, x] - features[n, :, v, u]).abs().sum())
                    same = labels[n, y, x] == labels[n, v, u]
                    kind = "neg" if not same else "bg" if labels[n, y, x] == 0 else "fg"
                    sums[kind].append(-torch.log(affinity if same else 1 - affinity))
    bg, fg, neg = (torch.stack(sums[kind]).mean() for kind in ("bg", "fg", "neg"))
    loss = pair_loss(features, labels.to(torch.uint8), list(half_disc(2)))
    assert loss == pytest.approx(float(bg / 4 + fg / 4 + neg / 2), rel=1e-4)


def test_a_kind_without_pairs_costs_nothing_and_equal_features_cost_no_infinity() -> None:
    features = torch.zeros(1, 2, 3, 4, requires_grad=True)
    background = torch.zeros(1, 3, 4, dtype=torch.uint8)
    assert pair_loss(features, background, [(0, 1)]) == 0
    halves = background.clone()
    halves[..., 2:] = 1
    loss = pair_loss(features, halves, [(0, 1)])
    loss.backward()
    assert torch.isfinite(loss)
    assert features.grad is not None
    assert torch.isfinite(features.grad).all()


def test_training_is_the_same_for_the_same_seed_and_leaves_the_global_one() -> None:
    images, masks = zip(*map(picture, range(3)), strict=True)
    heats = [{"block": coarse(mask)} for mask in masks]
    settings = AffinitySettings(num_steps=2, batch_size=2, seeds=PLAIN, network=SMALL)
    steps: list[tuple[int, int]] = []
    before = torch.get_rng_state()
    nets = [
        train_affinity(images, heats, settings, on_step=lambda *told: steps.append(told))
        for _ in range(2)
    ]
    assert torch.equal(before, torch.get_rng_state())
    assert steps == [(0, 2), (1, 2), (2, 2)] * 2
    states = [one.network.state_dict() for one in nets]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_a_stopped_training_goes_on_to_the_same_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    every_step = dataclasses.replace(SHORT.schedule(), checkpoint_every=1)
    monkeypatch.setattr(AffinitySettings, "schedule", lambda self: every_step)

    def cut(step: int, num_steps: int) -> None:
        if step == 2:
            raise KeyboardInterrupt

    whole = train_affinity(IMAGES, HEATS, SHORT)
    with pytest.raises(KeyboardInterrupt):
        train_affinity(IMAGES, HEATS, SHORT, tmp_path / "net", cut)
    assert not (tmp_path / "net" / CONFIG_FILE).exists()
    steps: list[int] = []
    resumed = train_affinity(
        IMAGES, HEATS, SHORT, tmp_path / "net", lambda step, _: steps.append(step)
    )
    assert steps == [1, 2, 3]
    for net in (resumed, load(tmp_path / "net")):
        assert net.facts == whole.facts
        states = whole.network.state_dict(), net.network.state_dict()
        assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_a_finished_training_is_read_and_of_other_settings_or_data_refused(tmp_path: Path) -> None:
    folder = tmp_path / "net"
    net = train_affinity(IMAGES, HEATS, SHORT, folder)
    left = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(left) == {CARD_FILE, CONFIG_FILE, WEIGHTS_FILE, "train.json", ".lock"}
    again = train_affinity(IMAGES, HEATS, dataclasses.replace(SHORT, device="meta"), folder)
    assert again.facts == net.facts
    with pytest.raises(InputError, match=r"another seed \(0, now 1\)"):
        train_affinity(IMAGES, HEATS, dataclasses.replace(SHORT, seed=1), folder)
    with pytest.raises(InputError, match="another images"):
        train_affinity(IMAGES[::-1], HEATS, SHORT, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == left


def test_a_loss_that_is_not_finite_stops_and_writes_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "pair_loss", lambda features, *_: features.sum() * math.nan)
    with pytest.raises(InputError, match="expected a finite loss, got nan before step 3"):
        train_affinity(IMAGES, HEATS, SHORT, tmp_path / "net")
    assert {path.name for path in (tmp_path / "net").iterdir()} == {"train.json", ".lock"}


def test_heat_between_the_cells_of_the_walk_counts(net: AffinityNet) -> None:
    image, _ = picture(100)
    heat = np.zeros((64, 1), np.float32)
    heat[:32:8] = 1  # fewer values than the walk has cells, and more rows
    upper, lower = np.split(affinity_heat(net, image, heat, steps=0), 2)
    assert upper.mean() > 0.9
    assert lower.mean() < 0.1


def test_the_walk_sharpens_heat_to_the_object(net: AffinityNet) -> None:
    image, mask = picture(100)
    coarse_heat = coarse(mask)
    heat = affinity_heat(net, image, coarse_heat)
    assert heat.shape == (32, 48)
    assert heat.dtype == np.float32
    assert (heat.min(), heat.max()) == (0.0, 1.0)
    blocky = np.kron(coarse_heat, np.ones((8, 8)))

    def error(of: np.ndarray) -> float:
        return float(((of > 0.5) ^ mask).mean())

    assert error(heat) < error(blocky)


def test_transitions_are_those_of_the_dense_matrix(net: AffinityNet) -> None:
    image, _ = picture(5, (20, 30))  # 5 x 8 cells, the last column half outside
    walk, (h, w) = transitions(net, image, beta=2.0)
    assert (h, w) == (5, 8)
    pixels = torch.from_numpy(image[None]).permute(0, 3, 1, 2) / 127.5 - 1
    with torch.no_grad():
        features = net.network(pixels)[0].flatten(1).T
    distance = torch.cdist(features, features, p=1).numpy()
    y, x = np.divmod(np.arange(h * w), w)
    near = (y[:, None] - y) ** 2 + (x[:, None] - x) ** 2 <= SMALL.radius**2
    affinity = np.where(near, np.exp(-distance) ** 2, 0)
    expected = affinity / affinity.sum(1, keepdims=True)
    assert np.abs(walk.toarray() - expected).max() < 1e-4
    assert np.abs(walk.sum(axis=1) - 1).max() < 1e-5


def test_words_walk_each_for_itself(net: AffinityNet) -> None:
    image, mask = picture(7)
    heats = {
        "block": coarse(mask),
        "ground": 1 - coarse(mask) / 2,
        "nothing": np.zeros((2, 2), "f"),
        "rounding": 1 - FLAT * coarse(mask),
    }
    walked = affinity_heats(net, image, heats)
    assert list(walked) == list(heats)
    assert np.abs(walked["block"] - affinity_heat(net, image, heats["block"])).max() < 1e-6
    assert not walked["nothing"].any()
    assert not walked["rounding"].any()
    assert affinity_heats(net, image, {}) == {}


def test_large_images_are_shrunk_to_the_side_of_the_network() -> None:
    image = np.zeros((100, 60, 3), np.uint8)
    assert working_image(image, 50).shape == (50, 30, 3)
    assert working_image(image, 100) is image
    assert working_image(np.zeros((300, 1, 3), np.uint8), 50).shape == (50, 1, 3)


def test_a_saved_network_is_read_back(net: AffinityNet, tmp_path: Path) -> None:
    save(net, tmp_path / "net")
    card = (tmp_path / "net" / CARD_FILE).read_text()
    assert "generated images of block; 8 images, 8 of them" in card
    assert {path.name for path in (tmp_path / "net").iterdir()} == {
        CARD_FILE,
        CONFIG_FILE,
        WEIGHTS_FILE,
    }
    image, mask = picture(9)
    for path in (tmp_path / "net", tmp_path / "net" / WEIGHTS_FILE):
        again = load(path)
        assert again.facts == net.facts
        assert again.network.config == SMALL
        heat = affinity_heat(again, image, coarse(mask))
        assert np.array_equal(heat, affinity_heat(net, image, coarse(mask)))


def test_what_is_no_network_is_refused_in_one_line(net: AffinityNet, tmp_path: Path) -> None:
    def refused(path: Path) -> None:
        with pytest.raises(InputError, match="expected an AffinityNet of diffumask") as caught:
            load(path)
        assert "\n" not in str(caught.value)

    refused(tmp_path / "nowhere")
    refused(tmp_path)
    save(net, tmp_path)
    refused(tmp_path / "nowhere")
    config = (tmp_path / CONFIG_FILE).read_text()
    for other in ("[]", "{", "{}", config.replace("diffumask-affinity-1", "other")):
        (tmp_path / CONFIG_FILE).write_text(other)
        refused(tmp_path)
    wider = json.loads(config)
    wider["network"]["features"] = 5
    (tmp_path / CONFIG_FILE).write_text(json.dumps(wider))
    refused(tmp_path)
    (tmp_path / CONFIG_FILE).write_text(config)
    (tmp_path / WEIGHTS_FILE).write_bytes(b"x" * 20)
    refused(tmp_path)
    save_file({"a": np.zeros(2)}, tmp_path / WEIGHTS_FILE)
    refused(tmp_path)


def test_images_that_cannot_be_trained_on_are_refused() -> None:
    image, mask = picture(0)
    with pytest.raises(InputError, match="sure of an object and of background, got none in 1"):
        train_affinity([image], [{"block": np.zeros((4, 6), np.float32)}], SETTINGS)
    with pytest.raises(InputError, match="one size, got none"):
        train_affinity([], [], SETTINGS)
    with pytest.raises(InputError, match=r"one size, got \[\(16, 48\), \(32, 48\)\]"):
        train_affinity([image, image[:16]], [{"block": coarse(mask)}] * 2, SETTINGS)
    with pytest.raises(ValueError, match="got 0 for 1"):
        train_affinity([image], [], SETTINGS)
    with pytest.raises(InputError, match="num_steps of 1 or more, got 0"):
        AffinitySettings(num_steps=0)
    with pytest.raises(InputError, match="radius of 1 or more, got 0"):
        NetworkConfig(radius=0)


def test_an_image_smaller_than_a_cell_is_walked_on(net: AffinityNet) -> None:
    heat = affinity_heat(net, np.zeros((2, 3, 3), np.uint8), np.ones((1, 1), np.float32))
    assert heat.shape == (2, 3)
