import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffumask.errors import InputError
from diffumask.prompts.build import build
from diffumask.prompts.classes import Classes
from diffumask.prompts.source import from_captions, from_file, from_vocabulary
from diffumask.prompts.vocabulary import load_vocabulary
from diffumask.types import Target

VOC = load_vocabulary("voc")
VOC_IDS = {entry.class_id for entry in VOC.classes}
names = st.text("abcdefghijklmnopqrstuvwxyz ", min_size=1, max_size=12).filter(str.strip)


def test_a_class_of_the_vocabulary_is_as_it_was():
    assert Classes(VOC).find("houseplant") == VOC.find("pottedplant")


def test_an_open_class_is_in_its_prompts_without_an_article_if_it_is_a_name():
    source = from_vocabulary(Classes(VOC), ["Eiffel  Tower", "narwhal"])
    assert source.class_names == ("Eiffel Tower", "narwhal")
    tower, whale = (source.prompt_of(name, 0, 5) for name in source.class_names)
    assert "photo of Eiffel Tower " in tower.text or "snapshot of Eiffel Tower " in tower.text
    assert " a narwhal " in whale.text
    assert tower.targets[0].class_name == "Eiffel Tower"
    assert tower.context in VOC.contexts


def test_a_near_miss_is_refused_unless_it_is_forced():
    with pytest.raises(InputError, match="got 'brid'; did you mean 'bird'"):
        Classes(VOC).find("brid")
    assert Classes(VOC, open_all=True).find("brid").name == "brid"
    assert Classes(VOC, open_all=True).find("bird").class_id == 3


def test_a_closed_vocabulary_knows_its_own_words_only():
    for open_all in (False, True):
        with pytest.raises(InputError, match=r"vocabulary 'tiny', got 'narwhal'.* it knows"):
            Classes(load_vocabulary("tiny"), open_all=open_all).find("narwhal")


def test_an_id_is_that_of_the_name_in_every_new_dataset():
    first, second = Classes(VOC), Classes(VOC)
    second.find("Big Ben")
    assert first.find("Eiffel Tower").class_id == second.find("eiffel tower").class_id
    assert second.find("EIFFEL-TOWER").name == "eiffel tower"


def test_a_dataset_keeps_the_ids_it_gave_out():
    taken = Classes(VOC).find("Eiffel Tower").class_id
    known = {"bird": 3, "narwhal": taken}
    classes = Classes(VOC, known)
    assert classes.find("Narwhal").class_id == taken
    assert classes.find("Narwhal").name == "narwhal"
    assert classes.find("Eiffel Tower").class_id not in {taken, *VOC_IDS}


@given(st.lists(names, max_size=40))
def test_ids_never_clash(typed):
    classes = Classes(VOC, open_all=True)
    entries = {entry.name: entry for entry in map(classes.find, typed)}
    ids = {entry.class_id for entry in entries.values()}
    assert len(ids) == len(entries)
    assert not ids - set(range(1, 255))
    assert not {e.class_id for e in entries.values() if VOC.get(e.name) is None} & VOC_IDS


def test_a_dataset_holds_254_classes_at_most():
    classes = Classes(VOC, open_all=True)
    ids = {classes.find(f"thing {number}").class_id for number in range(254 - len(VOC_IDS))}
    assert ids | VOC_IDS == set(range(1, 255))
    with pytest.raises(InputError, match="at most 254 classes in a dataset, got 'one' too"):
        classes.find("one")


@pytest.mark.parametrize("name", ["!?", "", "東京", "two\nlines", "x" * 61])
def test_a_name_that_no_file_could_have_is_refused(name):
    with pytest.raises(InputError, match="expected letters a-z or digits in a class name"):
        Classes(VOC).find(name)


def test_ids_that_are_given_are_checked():
    classes = Classes(VOC)
    assert classes.find("narwhal", 100).class_id == 100
    for name, class_id, message in (
        ("bird", 4, "the id 3 of 'bird', got 4"),
        ("unicorn", 100, "got 100 of 'narwhal'"),
        ("unicorn", 3, "got 3 of 'bird'"),
        ("unicorn", 255, "id in 1..254, got 255"),
        ("unicorn", True, "id in 1..254, got True"),
    ):
        with pytest.raises(InputError, match=message):
            classes.find(name, class_id)


def test_a_vocabulary_without_contexts_of_its_own_lends_none(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('templates = ["{object} {context}"]\n[classes.cat]\nid = 1\ncontexts = ["x"]\n')
    with pytest.raises(InputError, match=r"expected contexts of the vocabulary .* 'narwhal'"):
        from_vocabulary(Classes(load_vocabulary(path)), ["narwhal"])


def test_a_sub_class_is_its_class_with_this_sub_class_alone():
    found = Classes(VOC).find("Barn-Owl")
    assert (found.name, found.class_id, found.sub_classes) == ("bird", 3, ("barn owl",))
    assert Classes(VOC, open_all=True).find("barn owl").name == "barn owl"
    assert Classes(load_vocabulary("tiny")).find("parrot").name == "bird"
    with pytest.raises(
        InputError, match=r"'red', which is a sub-class of aeroplane, bicycle, .*name one"
    ):
        Classes(VOC).find("red")


def test_classes_are_found_once_with_all_sub_classes_that_are_asked_for():
    find_all = Classes(VOC).find_all
    assert find_all(["parrot", "cat", "duck", "parrot"])["bird"].sub_classes == ("parrot", "duck")
    for names in (["parrot", "bird"], ["bird", "parrot"]):
        assert find_all(names) == {"bird": VOC.find("bird")}


def test_prompts_of_a_sub_class_name_no_other_and_are_another_identity():
    source = from_vocabulary(Classes(VOC), ["parrot", "duck"])
    shown = {source.prompt_of("bird", i, i).sub_class for i in range(20)}
    assert shown == {"parrot", "duck"}
    assert source.identity == {"sub_classes": {"bird": ["duck", "parrot"]}}
    assert (source.class_names, source.titles) == (("bird",), ("parrot duck bird",))


def test_a_text_that_names_the_sub_class_alone_is_of_its_class(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("a green parrot on a branch\na robin and a parrot\n")
    source = from_file(path, Classes(VOC), ["parrot"])
    assert source.prompt_of("bird", 1, 0).targets == (Target("parrot", "bird", 3),)
    captions = tmp_path / "captions.txt"
    captions.write_text("a bird in a tree\na parrot in a tree\n")
    source = from_captions(captions, Classes(VOC), ["parrot"])
    assert {source.prompt_of("bird", i, i).text for i in range(5)} == {"a parrot in a tree"}


@pytest.mark.parametrize("names", [["dog", "sofa"], ["cat", "bird", "sheep", "dog"]])
def test_what_is_asked_for_is_combined_whatever_the_order(names):
    source = from_vocabulary(Classes(VOC), names, objects=2)
    again = from_vocabulary(Classes(VOC), names[::-1], objects=2)
    seen = set()
    for seed in range(60):  # also where words chosen first clash, as of a dog "on a sofa"
        prompt = source.prompt_of(names[0], seed, seed)
        assert prompt == again.prompt_of(names[0], seed, seed)
        assert prompt.targets[0].class_name == names[0]
        seen |= {target.class_name for target in prompt.targets}
    assert seen == set(names)
    assert set(source.class_ids) == set(names)
    assert source.identity == again.identity == {"objects": 2, "objects_of": sorted(names)}


def test_where_fewer_are_asked_for_all_of_them_come_before_others():
    source = from_vocabulary(Classes(VOC), ["bird", "cat"], objects=3)
    for seed in range(20):
        first, second, third = source.prompt_of("cat", seed, seed).targets
        assert (first.class_name, second.class_name) == ("cat", "bird")
        assert third.class_name not in {"cat", "bird"}
    assert set(source.class_ids) == {entry.name for entry in VOC.classes}


def test_one_class_has_the_partners_that_it_always_had():
    source = from_vocabulary(Classes(VOC), ["bird"], objects=2)
    assert source.identity == {"objects": 2}
    assert source.prompt_of("bird", 0, 7) == build(VOC, "bird", 7, objects=2)
