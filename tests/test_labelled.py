"""Reading labelled images: which values become which ids, and files that are wrong."""

import labelled_folders as folders
import numpy as np
import pytest
from labelled_folders import filled
from PIL import Image as PillowImage

from diffumask.errors import InputError
from diffumask.labelled.folder import open_labelled
from diffumask.labelled.mapping import ClassSelection, MaskValues, make_mapping
from diffumask.labelled.pixels import read_image
from diffumask.types import ClassIds

BIRD_AND_CAT = ClassSelection(ClassIds({"bird": 3, "cat": 8}))


def first_map(folder, selection=None):
    return open_labelled(folder, selection=selection or ClassSelection()).class_map(0)


def test_a_slice_is_a_smaller_dataset_and_nothing_is_read_before_it_is_asked_for(tmp_path):
    folders.plain(tmp_path, filled(1), filled(2))
    (tmp_path / "masks" / "a.png").write_bytes(b"no PNG")
    data = open_labelled(tmp_path)
    assert [one.name for one in data[1:]] == ["b"]
    assert data[-1].name == "b"
    with pytest.raises(InputError, match=r"expected a whole image file, got .*a.png"):
        data[0]
    with pytest.raises(IndexError):
        data[2]


@pytest.mark.parametrize("palette", [True, False])
def test_a_palette_png_and_a_grey_one_hold_the_same_values(tmp_path, palette):
    folders.plain(tmp_path, filled(1), filled(2))
    folders.write_mask(tmp_path / "masks" / "a.png", filled(7), palette)
    assert np.array_equal(first_map(tmp_path), filled(7))


def test_a_mask_of_one_bit_holds_0_and_1(tmp_path):
    folders.plain(tmp_path, filled(1), filled(2))
    shown = np.zeros(folders.SIZE_HW, bool)
    shown[1:3, 2:7] = True
    PillowImage.fromarray(shown).save(tmp_path / "masks" / "a.png")
    assert np.array_equal(first_map(tmp_path), shown.astype(np.uint8))


def test_labels_outside_the_vocabulary_are_refused(tmp_path):
    folders.plain(tmp_path, filled(3), filled(8))
    assert np.array_equal(first_map(tmp_path, BIRD_AND_CAT), filled(3))
    folders.write_mask(tmp_path / "masks" / "a.png", filled(9))
    with pytest.raises(InputError, match=r"labels 0, 3, 8, 255 ..., got 9 in .*a.png; give"):
        first_map(tmp_path, BIRD_AND_CAT)
    folders.voc(tmp_path / "voc", filled(21), filled(1))
    with pytest.raises(InputError, match=r"got 21 in .*2007_000001.png"):
        first_map(tmp_path / "voc")


def test_further_values_and_background_can_be_ignored(tmp_path):
    values = [[0, 3, 8, 11, 255]]
    folders.plain(tmp_path, values, values)
    classes = BIRD_AND_CAT.classes
    assert first_map(tmp_path, ClassSelection(classes, ignored={11})).tolist() == [
        [0, 3, 8, 255, 255]
    ]
    only = ClassSelection(classes, ["Cat"], {11}, ignore_background=True)
    assert first_map(tmp_path, only).tolist() == [[255, 255, 8, 255, 255]]


def test_an_id_0_is_a_class_and_leaves_no_background():
    mapping = make_mapping(MaskValues(), ClassSelection(ClassIds({"sky": 0, "road": 1})))
    assert mapping.names == {0: "sky", 1: "road"}
    assert not mapping.has_background
    with_background = make_mapping(MaskValues(), ClassSelection(ClassIds({"road": 1})))
    assert with_background.names == {0: "background", 1: "road"}


def test_of_the_rules_for_a_value_ignored_comes_first_then_background_then_its_class():
    values = MaskValues({1: "bird", 2: "cat", 3: "cow"}, background={0, 1}, ignored={2})
    selection = ClassSelection(ClassIds({"bird": 5, "cat": 6, "cow": 7}), mapped={9: 3, 3: 0})
    mapping = make_mapping(values, selection)
    assert mapping.truth[[0, 1, 2, 3, 4, 9, 255]].tolist() == [0, 0, 255, 0, -1, 7, 255]
    assert mapping.predicted[[0, 1, 2, 5, 6, 7, 255]].tolist() == [0, -1, -1, 5, 6, 7, 255]


def test_classes_that_fit_nothing_are_refused():
    with pytest.raises(InputError, match=r"classes of the data \(dog\), got bird, cat; choose"):
        make_mapping(MaskValues({1: "dog"}), BIRD_AND_CAT)
    with pytest.raises(InputError, match=r"one of the classes bird, cat, got 'cow'"):
        make_mapping(MaskValues(), ClassSelection(BIRD_AND_CAT.classes, ["cow"]))
    for ids in ({"bird": 255}, {"bird": -1}, {"bird": 1, "cat": 1}, {}):
        with pytest.raises(InputError, match=r"class ids in 0..254"):
            ClassIds(ids)


def test_a_mask_of_another_size_is_refused(tmp_path):
    folders.plain(tmp_path, filled(1), filled(2))
    folders.write_mask(tmp_path / "masks" / "a.png", filled(1, (8, 5)))
    with pytest.raises(InputError, match=r"mask of 5x8 pixels .*, got .*a.png of 8x5"):
        first_map(tmp_path)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "I;16"])
def test_a_mask_in_colours_is_refused(tmp_path, mode):
    folders.plain(tmp_path, filled(1), filled(2))
    picture = PillowImage.fromarray(filled(1)).convert(mode)
    picture.save(tmp_path / "masks" / "a.png")
    with pytest.raises(InputError, match=f"a.png, a PNG of mode {mode}; save class ids"):
        first_map(tmp_path)


def test_a_jpeg_by_the_name_of_a_png_is_refused(tmp_path):
    folders.plain(tmp_path, filled(1), filled(2))
    PillowImage.fromarray(filled(1)).save(tmp_path / "masks" / "a.png", "JPEG")
    with pytest.raises(InputError, match=r"a.png, a JPEG of mode L"):
        first_map(tmp_path)


def test_damaged_files_are_named(tmp_path):
    noise = np.random.default_rng(0).integers(0, 254, (40, 30), dtype=np.uint8)
    folders.plain(tmp_path, noise, noise)
    path = tmp_path / "masks" / "a.png"
    whole = path.read_bytes()
    for content in (b"", whole[:100], whole[: len(whole) // 2], b"\x89PNG\r\n\x1a\n" + b"x" * 50):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"expected a whole image file, got .*a.png: "):
            first_map(tmp_path)
    path.unlink()
    with pytest.raises(InputError, match=r"a.png: No such file or directory; replace"):
        read_image(path)
