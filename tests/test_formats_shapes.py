"""Masks as polygons, run lengths and instances: whatever the mask, it comes back."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image as PillowImage
from PIL import ImageDraw

from diffumask.errors import InputError
from diffumask.extra import load
from diffumask.formats.brush import decode, decode_mask, encode, encode_mask
from diffumask.formats.instances import MAX_INSTANCES, instance_map
from diffumask.formats.items import masks_of, split_of
from diffumask.formats.polygons import polygons
from diffumask.formats.yolo import to_boxes, to_lines
from diffumask.labelled.shapes import decode_counts, draw_columns

SIDES = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24)
MASKS = arrays(np.bool_, SIDES, fill=st.nothing())
CLASS_MAPS = arrays(
    np.uint8, SIDES, elements=st.sampled_from([0, 1, 7, 254, 255]), fill=st.nothing()
)
FEW = settings(max_examples=60, deadline=None)


def smooth(mask):
    """Fewer and larger parts and holes than noise has."""
    return cv2.medianBlur(mask.astype(np.uint8), 3) > 0


def cut_off(class_map, points, value):
    cv2.fillPoly(class_map, [points.astype(np.int32)], value)


def rounded(class_map, points, value):
    cv2.fillPoly(class_map, [np.rint(points).astype(np.int32)], value)


def by_pillow(class_map, points, value):
    picture = PillowImage.fromarray(class_map)
    corners = [(float(x), float(y)) for x, y in points]
    ImageDraw.Draw(picture).polygon(corners, value, value)
    class_map[:] = np.array(picture)


def drawn_by_readers(lines, size_hw, class_ids, draw):
    """Draw lines of YOLO as one kind of its readers does, in single precision."""
    class_map = np.zeros(size_hw, np.uint8)
    for line in lines:
        index, *places = line.split()
        points = np.array(places, np.float32).reshape(-1, 2) * np.float32(size_hw[::-1])
        draw(class_map, points, class_ids[int(index)])
    return class_map


@FEW
@given(MASKS, st.booleans())
def test_polygons_filled_are_the_mask_with_all_its_holes(mask, smoothed):
    mask = smooth(mask) if smoothed else mask
    filled = np.zeros(mask.shape, np.uint8)
    for outline in polygons(mask):
        cv2.fillPoly(filled, [outline], 1)
    assert np.array_equal(filled > 0, mask)


def test_a_ring_is_one_polygon_with_a_bridge():
    ring = np.ones((7, 9), bool)
    ring[2:5, 3:6] = False
    (outline,) = polygons(ring)
    assert len(outline) < 20
    assert polygons(np.zeros((4, 5), bool)) == []


@pytest.mark.parametrize("draw", [cut_off, rounded, by_pillow])
@FEW
@given(CLASS_MAPS)
def test_lines_of_yolo_lose_what_is_no_area_and_nothing_else(draw, class_map):
    ids = [1, 7, 254]
    lines, left_out = to_lines(class_map, {class_id: i for i, class_id in enumerate(ids)})
    back = drawn_by_readers(lines, class_map.shape, ids, draw)
    wanted = np.where(class_map == 255, 0, class_map)
    assert set(np.unique(back[back != wanted])) <= {0}
    thin = [outline for _, mask in masks_of(class_map, False) for outline in polygons(mask)]
    assert left_out == sum(len(outline) < 3 for outline in thin)
    lost = sum(int(np.abs(one[0] - one[-1]).max()) + 1 for one in thin if len(one) < 3)
    assert np.count_nonzero(back != wanted) == lost


@pytest.mark.parametrize("draw", [cut_off, rounded, by_pillow])
@pytest.mark.parametrize("size_hw", [(1_023, 2_047), (4_097, 61)])
def test_lines_of_yolo_are_as_exact_in_large_images(draw, size_hw):
    class_map = np.zeros(size_hw, np.uint8)
    height, width = size_hw
    cv2.ellipse(class_map, (width // 2, height // 2), (width // 2, height // 2), 0, 0, 360, 1, -1)
    class_map[-2:, -2:] = 1
    lines, left_out = to_lines(class_map, {1: 0})
    assert left_out == 0
    assert np.array_equal(drawn_by_readers(lines, size_hw, [1], draw), class_map)


def test_places_of_yolo_lie_within_the_image():
    lines, _ = to_lines(np.full((7, 7), 5, np.uint8), {5: 0})
    assert lines == ["0 0.070000 0.070000 0.070000 0.927143 0.927143 0.927143 0.927143 0.070000\n"]


@FEW
@given(CLASS_MAPS, st.booleans())
def test_boxes_of_yolo_hold_their_objects_and_no_more(class_map, instances):
    height, width = class_map.shape
    lines, left_out = to_boxes(class_map, {1: 0, 7: 1, 254: 2}, instances)
    objects = list(masks_of(class_map, instances))
    assert (left_out, len(lines)) == (0, len(objects))
    for line, (class_id, mask) in zip(lines, objects, strict=True):
        index, x, y, box_width, box_height = map(float, line.split())
        assert [1, 7, 254][int(index)] == class_id
        ys, xs = np.nonzero(mask)
        wanted = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
        sides = np.array(
            [x - box_width / 2, y - box_height / 2, x + box_width / 2, y + box_height / 2]
        )
        assert np.allclose(sides * [width, height, width, height], wanted, atol=1e-3)


def test_without_instances_a_class_has_one_number():
    class_map = np.array([[3, 0, 3], [255, 0, 254]], np.uint8)
    numbers, class_ids = instance_map(class_map, instances=False)
    assert numbers.tolist() == [[1, 0, 1], [255, 0, 2]]
    assert class_ids == [3, 254]


@FEW
@given(MASKS)
def test_brush_code_comes_back(mask):
    assert np.array_equal(decode_mask(encode_mask(mask), mask.shape), mask)


@FEW
@given(arrays(np.uint8, st.integers(0, 300)), st.integers(1, 200))
def test_whatever_bytes_come_back(values, repeats):
    values = np.repeat(values, repeats)[:60_000]
    assert np.array_equal(decode(encode(values), len(values)), values)


def test_long_runs_are_cut():
    values = np.repeat(np.array([0, 9], np.uint8), [200_000, 65_536])
    assert np.array_equal(decode(encode(values), len(values)), values)


def test_the_brush_code_of_others_is_read():
    values = [1, 1, 1, 1, 2, 3, 5, 6, 7, 8, 4, 4, 4, 4, 4, 4, 4, 4]
    # as label-studio-converter writes them
    code = [0, 0, 0, 18, 57, 27, 252, 96, 32, 1, 0, 6, 0, 40, 0, 192, 3, 128, 17, 56, 32]
    assert decode(code, len(values)).tolist() == values
    # values one by one, three of them in one packet: 0, size 0, length 3, then 24 bits
    head = f"{3:032b}{7:05b}" + "0010001101111111"
    bits = head + "0" + "00" + "010" + f"{10:08b}{20:08b}{30:08b}"
    literal = np.packbits([int(bit) for bit in bits]).tolist()
    assert decode(literal, 3).tolist() == [10, 20, 30]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(-1, 300), max_size=40))
def test_broken_brush_code_is_refused(code):
    with pytest.raises(InputError):
        decode(code, 16 * 4)


@FEW
@given(MASKS)
def test_compressed_run_lengths_are_read_as_pycocotools_writes_them(mask):
    rle = load("pycocotools.mask").encode(np.asfortranarray(mask, np.uint8))
    counts = decode_counts(rle["counts"].decode())
    assert np.array_equal(draw_columns(counts, mask.shape), mask)


@pytest.mark.parametrize("counts", [[3], [-1, 13], [5, 100_000], [], [[12]], [2**62] * 4])
def test_run_lengths_of_another_area_are_refused(counts):
    with pytest.raises(InputError, match="another area"):
        draw_columns(counts, (3, 4))


@FEW
@given(CLASS_MAPS)
def test_components_make_up_their_classes(class_map):
    rebuilt = np.where(class_map == 255, 255, 0)
    for class_id, mask in masks_of(class_map, instances=True):
        assert not rebuilt[mask].any()
        assert cv2.connectedComponents(mask.astype(np.uint8), None, 8)[0] == 2
        rebuilt[mask] = class_id
    assert np.array_equal(rebuilt, class_map)


def test_more_than_254_instances_lose_the_smallest():
    class_map = np.zeros((60, 40), np.uint8)
    class_map[::2, ::2] = 3  # 600 pixels apart
    class_map[0:3, 0:3] = 3
    numbers, class_ids = instance_map(class_map)
    assert class_ids == [3] * MAX_INSTANCES
    assert numbers.max() == 255
    assert numbers[1, 1] == 1
    assert set(np.unique(numbers)) == set(range(256))


def test_a_split_keeps_its_share_and_its_items():
    names = [f"Bird_{i:06d}" for i in range(2_000)]
    splits = [split_of(name, 0.9) for name in names]
    assert 0.88 < splits.count("train") / len(names) < 0.92
    wider = [split_of(name, 0.95) for name in names]
    assert all(new == "train" for old, new in zip(splits, wider, strict=True) if old == "train")
    assert {split_of(name, 1.0) for name in names} == {"train"}
    assert {split_of(name, 0.0) for name in names} == {"val"}
