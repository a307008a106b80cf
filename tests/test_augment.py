"""Operations on image and class map, and their composition."""

from itertools import chain, cycle, islice, repeat
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffumask.augment import occlude as occlusion
from diffumask.augment.blur import blur
from diffumask.augment.compose import OPERATIONS, AugmentSettings, augment_item
from diffumask.augment.copy_paste import CutOut, copy_paste, cut_out, paste
from diffumask.augment.perspective import perspective, random_homography, warped
from diffumask.augment.splice import GRIDS, lay_out, splice
from diffumask.dataset.pair import FILL_COLOUR, Pair, SizeHW, resized
from diffumask.errors import InputError

NOTHING: dict[str, Any] = dict.fromkeys(OPERATIONS, 0.0)
PALETTE = np.random.default_rng(0).integers(256, size=(256, 3), dtype=np.uint8)
PALETTE[255] = FILL_COLOUR


def generator(seed=0):
    return np.random.default_rng(seed)


def painted(class_map):
    """A pair whose image shows the labels, and into which nothing can be written."""
    class_map = np.asarray(class_map, np.uint8)
    image = PALETTE[class_map]
    for array in (image, class_map):
        array.flags.writeable = False
    return Pair(image, class_map)


def blocks(height, width, class_id):
    """A large object of one class, with a strip of 255 at its side."""
    class_map = np.zeros((height, width), np.uint8)
    class_map[height // 4 : 3 * height // 4, width // 4 : 3 * width // 4] = class_id
    class_map[height // 4 : 3 * height // 4, 3 * width // 4 : 7 * width // 8] = 255
    return painted(class_map)


def random_pair(height, width, seed):
    rng = generator(seed)
    return painted(rng.choice([0, 3, 8, 255], size=(height, width), p=[0.6, 0.15, 0.15, 0.1]))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", OPERATIONS)
def test_image_and_labels_move_together(name, seed, monkeypatch):
    monkeypatch.setattr(occlusion, "FILLINGS", {"patch": occlusion.FILLINGS["patch"]})
    pairs = cycle([blocks(96, 128, 3), blocks(64, 48, 8), blocks(80, 80, 12)])
    made = OPERATIONS[name](pairs, (72, 104), generator(seed))
    window = np.ones((5, 5), np.uint8)  # pixels beside another label are mixed
    inner = cv2.erode(made.class_map, window) == cv2.dilate(made.class_map, window)
    inner[[0, -1]] = inner[:, [0, -1]] = False  # the other label may lie just outside
    assert inner.mean() > 0.05
    np.testing.assert_allclose(
        made.image[inner].astype(int), PALETTE[made.class_map][inner], atol=1
    )


sizes = st.tuples(st.integers(1, 13), st.integers(1, 13))


@given(st.sampled_from(list(OPERATIONS)), sizes, sizes, sizes, st.integers(0, 2**31))
def test_no_label_is_made_up_at_any_size(
    name: str, size_hw: SizeHW, other_hw: SizeHW, out_hw: SizeHW, seed: int
):
    pairs = cycle([random_pair(*size_hw, seed), random_pair(*other_hw, seed + 1)])
    labels = {0, 255}.union(*(one.class_map.ravel().tolist() for one in islice(pairs, 2)))
    made = OPERATIONS[name](pairs, out_hw, generator(seed))
    assert made.size_hw == out_hw
    assert made.image.dtype == made.class_map.dtype == np.uint8
    assert set(made.class_map.ravel().tolist()) <= labels


def slow_nearest(class_map, size_hw):
    """The label under the centre of each new pixel."""
    height, width = class_map.shape
    result = np.empty(size_hw, np.uint8)
    for y, x in np.ndindex(size_hw):
        old_y = int((y + 0.5) * height / size_hw[0])
        old_x = int((x + 0.5) * width / size_hw[1])
        result[y, x] = class_map[old_y, old_x]
    return result


@pytest.mark.parametrize("size_hw", [(5, 7), (6, 15), (21, 28), (31, 40), (1, 1)])
def test_labels_are_resized_by_the_pixel_centre(size_hw):
    pair = random_pair(15, 21, 0)
    found = resized(pair, size_hw).class_map
    np.testing.assert_array_equal(found, slow_nearest(pair.class_map, size_hw))


def test_a_pair_of_the_right_size_is_left_alone():
    pair = random_pair(5, 7, 0)
    assert resized(pair, (5, 7)) is pair


@pytest.mark.parametrize("grid", GRIDS)
def test_splicing_equals_its_slow_twin(grid):
    rows, columns = grid
    pairs = [random_pair(12, 20, seed) for seed in range(rows * columns)]
    made = lay_out(iter(pairs), (6 * rows, 5 * columns), grid, generator(1))
    expected = Pair(np.zeros_like(made.image), np.zeros_like(made.class_map))
    for pair, place in zip(pairs, generator(1).permutation(rows * columns), strict=True):
        top, left = 6 * (place // columns), 5 * (place % columns)
        for y, x in np.ndindex(6, 5):
            block = pair.image[2 * y : 2 * y + 2, 4 * x : 4 * x + 4].reshape(-1, 3)
            expected.image[top + y, left + x] = np.rint(block.mean(0))
        expected.class_map[top : top + 6, left : left + 5] = slow_nearest(pair.class_map, (6, 5))
    np.testing.assert_array_equal(made.class_map, expected.class_map)
    np.testing.assert_allclose(made.image.astype(int), expected.image, atol=1)


def test_tiles_differ_by_a_pixel_at_most_and_leave_no_gap():
    pairs = [painted(np.full((4, 6), class_id)) for class_id in range(1, 10)]
    class_map = lay_out(iter(pairs), (10, 11), (3, 3), generator()).class_map
    counts = np.bincount(class_map.ravel(), minlength=10)[1:]
    assert sum(counts) == 110
    assert set(counts) <= {9, 12, 16}


def test_every_grid_is_drawn_and_small_outputs_have_small_grids():
    counts = set()
    for seed in range(60):
        pairs = iter([painted(np.full((2, 3), 1))] * 64)
        splice(pairs, (16, 24), generator(seed))
        counts.add(64 - len(list(pairs)))
    assert counts == {2, 4, 9, 25, 64}
    pairs = iter([painted([[1]]), painted([[2]]), painted([[3]])])
    assert splice(pairs, (1, 2), generator()).class_map.sum() == 3
    assert splice(pairs, (1, 1), generator()).class_map.tolist() == [[3]]


def test_warping_equals_its_slow_twin():
    pair = random_pair(17, 23, 0)
    homography = random_homography((17, 23), generator(3))
    made = warped(pair, homography)
    inverse = np.linalg.inv(homography)
    for y, x in np.ndindex(17, 23):
        old_x, old_y, scale = inverse @ [x, y, 1]
        old_x, old_y = old_x / scale, old_y / scale
        if min(abs(value % 1 - 0.5) for value in (old_x, old_y)) < 0.05:
            continue  # between two pixels
        column, row = round(old_x), round(old_y)
        inside = 0 <= row < 17 and 0 <= column < 23
        assert made.class_map[y, x] == (pair.class_map[row, column] if inside else 255)
        if not (-1 < old_y < 17 and -1 < old_x < 23):
            assert made.image[y, x].tolist() == list(FILL_COLOUR)


def test_what_was_outside_is_255():
    pairs = cycle([painted(np.full((20, 30), 3))])
    found = [perspective(pairs, (20, 30), generator(seed)).class_map for seed in range(8)]
    assert set(np.unique(found)) == {3, 255}


def test_corners_stay_in_order():
    for seed in range(200):
        homography = random_homography((20, 30), generator(seed))
        corners = np.array([[0, 0], [29, 0], [29, 19], [0, 19]], np.float32)[None]
        moved = cv2.perspectiveTransform(corners, homography)[0]
        assert cv2.isContourConvex(moved)
        assert cv2.contourArea(moved, oriented=True) > 0


def test_blur_grows_with_the_image_and_keeps_labels():
    def contrast(height, width):
        image = np.zeros((height, width, 3), np.uint8)
        image[:, width // 2 :] = 200
        pair = Pair(image, np.full((height, width), 3, np.uint8))
        made = blur(iter([pair]), pair.size_hw, generator())
        assert made.class_map is pair.class_map
        return np.ptp(np.diff(made.image[0, :, 0].astype(int)))

    assert contrast(512, 600) < contrast(256, 300) < contrast(128, 150) < 200


def test_a_thing_in_front_is_background(monkeypatch):
    pair = painted(np.full((40, 30), 3))
    fillings = occlusion.FILLINGS
    for filling in ("colour", "noise"):
        monkeypatch.setattr(occlusion, "FILLINGS", {filling: fillings[filling]})
        made = occlusion.occlude(iter([pair]), (40, 30), generator(2))
        covered = made.class_map == 0
        assert 0 < covered.sum() < covered.size
        np.testing.assert_array_equal(made.image[~covered], pair.image[~covered])
        assert (made.image[covered] != PALETTE[3]).any(1).all()


def test_shapes_fill_their_box():
    for shape in occlusion.SHAPES.values():
        assert shape((1, 1), generator()).tolist() == [[True]]
        assert shape((9, 5), generator(1)).shape == (9, 5)
    assert occlusion.SHAPES["ellipse"]((3, 4), generator()).tolist() == [
        [False, True, True, False],
        [True, True, True, True],
        [False, True, True, False],
    ]


def slow_paste(scene, found, top, left, soft_edges):
    """Set every pixel of an object that lies in the scene."""
    image, class_map = scene.image.copy(), scene.class_map.copy()
    weights = np.outer([1, 2, 1], [1, 2, 1]) / 16
    padded = np.pad(found.mask.astype(float), 1)
    opacity = np.zeros(found.mask.shape)
    for y, x in np.argwhere(found.mask):
        opacity[y, x] = (weights * padded[y : y + 3, x : x + 3]).sum() if soft_edges else 1
    opacity /= opacity.max()
    for y, x in np.argwhere(found.mask):
        row, column = top + y, left + x
        if 0 <= row < class_map.shape[0] and 0 <= column < class_map.shape[1]:
            mixed = opacity[y, x] * found.image[y, x] + (1 - opacity[y, x]) * image[row, column]
            image[row, column] = np.rint(mixed)
            class_map[row, column] = found.class_id
    return Pair(image, class_map)


@pytest.mark.parametrize("soft_edges", [False, True])
@pytest.mark.parametrize("top_left", [(2, 3), (-3, 1), (6, 9), (-2, -4)])
def test_pasting_equals_its_slow_twin(top_left: tuple[int, int], soft_edges: bool):
    scene = random_pair(9, 12, 0)
    rng = generator(1)
    mask = rng.random((6, 7)) < 0.7
    found = CutOut(rng.integers(256, size=(6, 7, 3), dtype=np.uint8), mask, 8)
    expected = slow_paste(scene, found, *top_left, soft_edges)
    image, class_map = scene.image.copy(), scene.class_map.copy()
    paste(image, class_map, found, top_left, soft_edges)
    np.testing.assert_array_equal(class_map, expected.class_map)
    np.testing.assert_allclose(image.astype(int), expected.image, atol=1)


def test_an_object_of_one_pixel_is_cut_out_and_pasted_whole():
    class_map = np.zeros((5, 8), np.uint8)
    class_map[3, 6] = 8
    found = cut_out(painted(class_map), generator())
    assert found is not None
    assert (found.mask.tolist(), found.class_id) == ([[True]], 8)
    assert found.image.tolist() == [[PALETTE[8].tolist()]]
    pairs = cycle([painted(np.zeros((30, 40))), painted(class_map)])
    made = copy_paste(pairs, (30, 40), generator(2))
    assert (made.class_map == 8).any()
    np.testing.assert_array_equal(made.image[made.class_map == 8][:1], PALETTE[8][None])


def test_later_objects_are_in_front():
    scene = painted(np.zeros((4, 6)))
    image, class_map = scene.image.copy(), scene.class_map.copy()
    for class_id, left in ((3, 0), (8, 2)):
        whole = CutOut(np.full((4, 4, 3), class_id, np.uint8), np.ones((4, 4), bool), class_id)
        paste(image, class_map, whole, (0, left), soft_edges=False)
    assert class_map.tolist() == [[3, 3, 8, 8, 8, 8]] * 4
    assert image[..., 0].tolist() == class_map.tolist()


def test_images_without_a_class_give_no_object():
    empty = painted(np.full((5, 7), 255))
    assert cut_out(empty, generator()) is None
    scene = blocks(20, 28, 3)
    made = copy_paste(chain([scene], repeat(empty)), (20, 28), generator())
    assert same(made, scene)


PAIRS = [random_pair(11, 14, seed) for seed in range(5)]


def item(index, seed=0, epoch=0, pairs=PAIRS, **options):
    settings = AugmentSettings(**options)
    return augment_item(index, pairs.__getitem__, len(pairs), settings, seed, epoch)


def same(one, other):
    return (one.image == other.image).all() and (one.class_map == other.class_map).all()


def test_an_item_depends_on_seed_epoch_and_index_only():
    forth = [item(index) for index in range(12)]
    back = [item(index) for index in reversed(range(12))][::-1]
    for one, other in zip(forth, back, strict=True):
        assert same(one.pair, other.pair)
        assert (one.seed, one.sources, one.operations) == (
            other.seed,
            other.sources,
            other.operations,
        )
    assert [one.sources[0] for one in forth] == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]
    seeds = {
        item(index, seed, epoch).seed for index in (0, 5) for seed in (0, 1) for epoch in (0, 1)
    }
    assert len(seeds) == 8


def test_a_share_leaves_the_choices_of_other_operations_as_they_were():
    for index in range(10):
        plain = item(index, **{**NOTHING, "splice": 0.5})
        more = item(index, **{**NOTHING, "splice": 0.5, "blur": 1.0})
        assert more.operations == (*plain.operations, "blur")
        assert more.sources == plain.sources
        assert (more.pair.class_map == plain.pair.class_map).all()


def test_operations_have_their_shares_and_order():
    made = [item(index, size_hw=(1, 1)) for index in range(400)]
    order = list(OPERATIONS)
    for one in made:
        assert list(one.operations) == sorted(one.operations, key=order.index)
        assert not {"splice", "copy_paste"} <= set(one.operations)
    for name, share in AugmentSettings().shares().items():
        assert abs(np.mean([name in one.operations for one in made]) - share) < 0.08


def test_nothing_is_done_at_share_0_and_all_at_share_1():
    plain = item(1, **NOTHING, size_hw=(6, 9))
    assert same(plain.pair, resized(PAIRS[1], (6, 9)))
    assert (plain.operations, plain.sources) == ((), (1,))
    for name in OPERATIONS:
        assert all(item(i, **{**NOTHING, name: 1.0}).operations == (name,) for i in range(9))


def test_one_source_suffices():
    made = [item(index, pairs=PAIRS[:1]) for index in range(12)]
    assert {position for one in made for position in one.sources} == {0}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"blur": 1.5}, r"expected blur in \[0, 1\], got 1.5"),
        ({"occlude": float("nan")}, "expected occlude in"),
        ({"splice": 0.7, "copy_paste": 0.4}, "add up to 1 at most, got 0.7 and 0.4"),
        ({"size_hw": (0, 9)}, "expected sides of 1 to 8192 px"),
    ],
)
def test_settings_out_of_range_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        AugmentSettings(**options)
