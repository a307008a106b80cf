from itertools import product

import pytest

from diffumask.errors import InputError
from diffumask.prompts.build import ATTRIBUTE_SHARE, build
from diffumask.prompts.vocabulary import load_vocabulary, vocabulary_names
from diffumask.prompts.words import spans

# The labelIds of the classes that Cityscapes evaluates, in the order of its trainIds.
LABEL_IDS = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
MAX_WORDS = 45  # of a prompt: English has about 1.4 tokens of CLIP a word, and 77 are its limit
RICH = {
    "voc": [
        "aeroplane",
        "bicycle",
        "bird",
        "boat",
        "bus",
        "car",
        "cat",
        "cow",
        "dog",
        "horse",
        "motorbike",
        "sheep",
        "train",
    ],
    "cityscapes": ["car", "truck", "bus", "train", "motorcycle", "bicycle"],
    "ade20k": [
        "animal",
        "car",
        "bus",
        "truck",
        "boat",
        "airplane",
        "van",
        "ship",
        "minibike",
        "bicycle",
    ],
}


def written(folder, text):
    path = folder / "mine.toml"
    path.write_text(text)
    return load_vocabulary(path)


def test_cityscapes_has_the_official_ids_and_groups():
    vocabulary = load_vocabulary("cityscapes")
    assert [entry.class_id for entry in vocabulary.classes] == LABEL_IDS
    groups = {name: {e.name for e in vocabulary.classes if e.group == name} for name in GROUPS}
    assert groups == GROUPS
    assert all(entry.group for entry in vocabulary.classes)


GROUPS = {
    "human": {"person", "rider"},
    "vehicle": {"car", "truck", "bus", "train", "motorcycle", "bicycle"},
}


def test_ade20k_has_150_classes_in_the_official_order():
    classes = load_vocabulary("ade20k").classes
    assert [entry.class_id for entry in classes] == list(range(1, 151))
    by_id = {entry.class_id: entry.name for entry in classes}
    known = {1: "wall", 13: "person", 21: "car", 67: "flower", 90: "television receiver"}
    known |= {103: "van", 127: "animal", 128: "bicycle", 131: "screen", 150: "flag"}
    assert {one: by_id[one] for one in known} == known


@pytest.mark.parametrize(("name", "typed"), [("ade20k", "tv"), ("cityscapes", "tram")])
def test_synonyms_find_their_class(name, typed):
    assert load_vocabulary(name).find(typed).name in {"television receiver", "train"}


@pytest.mark.parametrize("name", RICH)
def test_animals_and_vehicles_have_tens_of_sub_classes(name):
    vocabulary = load_vocabulary(name)
    assert all(20 <= len(vocabulary.find(one).sub_classes) <= 40 for one in RICH[name])
    assert min(len(entry.sub_classes) for entry in vocabulary.classes) >= 6


@pytest.mark.parametrize("name", vocabulary_names())
def test_no_list_repeats_itself(name):
    for entry in load_vocabulary(name).classes:
        for listed in (entry.sub_classes, entry.contexts, entry.synonyms):
            assert len(set(listed)) == len(listed), entry.name


@pytest.mark.parametrize("name", ["voc", "cityscapes", "ade20k"])
def test_each_possible_prompt_has_the_word_once_and_is_short(name):
    vocabulary = load_vocabulary(name)
    for entry in vocabulary.classes:
        for around in (*vocabulary.templates, *entry.sub_classes, *entry.contexts):
            assert not spans(around, entry.word), (entry.name, around)
        longest = [
            max(map(len, map(str.split, one))) for one in (entry.sub_classes, entry.contexts)
        ]
        in_template = max(len(template.split()) for template in vocabulary.templates)
        assert sum(longest) + in_template + len(entry.word.split()) <= MAX_WORDS


@pytest.mark.parametrize("name", vocabulary_names())
@pytest.mark.parametrize("objects", [2, 3])
def test_further_objects_are_other_classes_each_named_once(name, objects):
    vocabulary = load_vocabulary(name)
    for entry, seed in product(vocabulary.classes, range(1)):
        prompt = build(vocabulary, entry.name, seed, objects)
        assert prompt == build(vocabulary, entry.name, seed, objects)
        assert prompt.targets[0].class_name == entry.name
        assert len({target.class_id for target in prompt.targets}) == objects
        assert [len(spans(prompt.text, target.word)) for target in prompt.targets] == [1] * objects
        assert len(prompt.text.split()) <= MAX_WORDS
        alone = build(vocabulary, entry.name, seed)
        assert (prompt.sub_class, prompt.context) == (alone.sub_class, alone.context)


def test_objects_of_tiny_read_as_its_captions():
    texts = {build(load_vocabulary("tiny"), "bird", seed, 2).text for seed in range(30)}
    assert len(texts) > 25
    assert all(text.count(" and a") == 1 for text in texts)


SMALL = """
templates = ["{object} {context}"]
contexts = ["on grass"]
classes.cat.id = 1
classes.dog.id = 2
"""


def test_more_objects_than_fit_beside_each_other_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"at most 2 objects .* for 'cat' .* got 3"):
        build(written(tmp_path, SMALL), "cat", 0, 3)


def test_a_class_in_the_surroundings_of_the_other_is_no_second_object(tmp_path):
    sofa = SMALL.replace("on grass", "beside a dog")
    with pytest.raises(InputError, match="at most 1 object "):
        build(written(tmp_path, sofa), "cat", 0, 2)


def test_attributes_stand_in_a_share_of_the_prompts(tmp_path):
    coloured = written(tmp_path, SMALL + 'classes.cat.attributes = ["old", "red"]\n')
    texts = [build(coloured, "cat", seed).text for seed in range(400)]
    assert set(texts) == {"a cat on grass", "an old cat on grass", "a red cat on grass"}
    share = sum("a cat" not in text for text in texts) / len(texts)
    assert share == pytest.approx(ATTRIBUTE_SHARE, abs=0.07)
    assert coloured.fingerprint != written(tmp_path, SMALL).fingerprint


def test_what_has_no_plural_has_no_article(tmp_path):
    vocabulary = written(tmp_path, SMALL + "classes.cat.article = false\n")
    assert build(vocabulary, "cat", 0).text == "cat on grass"


def test_groups_change_no_prompt_and_so_no_fingerprint(tmp_path):
    grouped = written(tmp_path, SMALL + 'classes.cat.group = "animal"\n')
    assert grouped.fingerprint == written(tmp_path, SMALL).fingerprint


def test_tiny_is_as_it_was_when_the_first_datasets_were_made():
    assert load_vocabulary("tiny").fingerprint == "c1ad20522aa3"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("classes.cat.article = 0", "article to be true or false, got 0"),
        ("classes.cat.attributes = 'red'", "attributes to be a list"),
        ("classes.cat.group = 3", "group to be text"),
        ("open = 'yes'", "open to be true or false, got 'yes'"),
    ],
)
def test_mistakes_in_a_file_are_told(tmp_path, line, message):
    with pytest.raises(InputError, match=message):
        written(tmp_path, line + "\n" + SMALL)
