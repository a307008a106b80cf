import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffumask.errors import InputError
from diffumask.prompts.classes import Classes
from diffumask.prompts.source import from_vocabulary
from diffumask.prompts.vocabulary import load_vocabulary

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
