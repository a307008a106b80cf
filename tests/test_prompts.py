from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffumask.errors import InputError
from diffumask.prompts.build import build
from diffumask.prompts.vocabulary import load_vocabulary, vocabulary_names
from diffumask.scenes.catalog import load_catalog

SMALL = """
templates = ["{object} {context}"]
contexts = ["on grass"]
[classes."potted plant"]
id = 16
"""


def written(folder, text):
    path = folder / "mine.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", vocabulary_names())
def test_every_prompt_of_every_class_names_the_class(name):
    vocabulary = load_vocabulary(name)
    for entry, seed in product(vocabulary.classes, range(5)):
        prompt = build(vocabulary, entry.name, seed)
        (target,) = prompt.targets
        assert (target.class_name, target.class_id) == (entry.name, entry.class_id)
        assert f"{prompt.sub_class} {target.word}".strip() in prompt.text
        assert prompt.context in prompt.text
        assert "{" not in prompt.text
        assert "  " not in prompt.text


def test_voc_has_the_twenty_classes_with_sub_classes():
    classes = load_vocabulary("voc").classes
    assert [entry.class_id for entry in classes] == list(range(1, 21))
    assert min(len(set(entry.sub_classes)) for entry in classes) >= 10
    assert all(len(set(entry.sub_classes)) == len(entry.sub_classes) for entry in classes)


def test_tiny_agrees_with_what_the_renderer_draws():
    catalog, vocabulary = load_catalog(), load_vocabulary("tiny")
    drawn = {
        name: (entry.class_id, tuple(entry.sub_classes("train")))
        for name, entry in catalog.classes.items()
    }
    assert {e.name: (e.class_id, e.sub_classes) for e in vocabulary.classes} == drawn
    plain = [one for one in catalog.backgrounds.values() if not one.is_busy]
    phrases = tuple(background.phrase for background in plain)  # all that the weights were shown
    assert all(entry.contexts == phrases for entry in vocabulary.classes)
    captions = {c.format(objects="{object}", background="{context}") for c in catalog.captions}
    assert set(vocabulary.templates) == captions


def test_a_prompt_depends_on_its_seed_only():
    vocabulary = load_vocabulary("voc")
    assert build(vocabulary, "bird", 7) == build(load_vocabulary("voc"), "bird", 7)
    assert len({build(vocabulary, "bird", seed).text for seed in range(50)}) > 40


def test_a_class_without_sub_classes_is_named_alone(tmp_path):
    prompt = build(load_vocabulary(written(tmp_path, SMALL)), "potted plant", 0)
    assert (prompt.text, prompt.sub_class) == ("a potted plant on grass", "")


@pytest.mark.parametrize("typed", ["pottedplant", "Potted Plant", "potted-plant", "houseplant"])
def test_classes_are_found_however_they_are_typed(typed):
    assert load_vocabulary("voc").find(typed).name == "pottedplant"


@pytest.mark.parametrize("name", ["tiny", "voc"])
def test_an_unknown_class_suggests_the_nearest(name):
    with pytest.raises(InputError, match="got 'brid'; did you mean 'bird'"):
        load_vocabulary(name).find("brid")


def test_an_unknown_class_unlike_all_others_lists_them():
    with pytest.raises(InputError, match=r"got '!\?'; it knows aeroplane, bicycle"):
        load_vocabulary("voc").find("!?")


@given(st.text(max_size=30))
def test_any_text_is_found_or_refused_in_one_line(typed):
    try:
        answer = load_vocabulary("voc").find(typed).name
    except InputError as error:
        answer = str(error)
    assert answer
    assert len(answer.splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("classes = {", "valid TOML"),
        ("contexts = []", "at least one table"),
        ("classes = 3", "at least one table"),
        ("classes.cat = 3", "expected a table"),
        (SMALL.replace("16", "0"), "id in 1..254, got 0"),
        (SMALL.replace("16", "255"), "id in 1..254, got 255"),
        (SMALL.replace("16", "true"), "id in 1..254, got True"),
        (SMALL.replace("id = 16", ""), "id in 1..254, got None"),
        (SMALL + "\nsubclasses = []", "got \\['subclasses'\\]"),
        (SMALL + "\nsub_classes = 'fern'", "sub_classes to be a list"),
        (SMALL + "\nsub_classes = ['']", "sub_classes to be a list"),
        (SMALL + "\nword = 3", "word to be text"),
        (SMALL.replace('["on grass"]', "[]"), "expected contexts"),
        (SMALL.replace("{context}", "here"), "once in a template"),
        (SMALL.replace('["{object} {context}"]', "[]"), "at least one template"),
        (SMALL.replace('["{object} {context}"]', '"phot"'), "one of tiny, photo, got 'phot'"),
        (SMALL + "\n[classes.fern]\nid = 16", "16 belongs to 'potted plant' and 'fern'"),
        (SMALL + "\n[classes.pottedplant]\nid = 17", "'pottedplant' belongs to"),
    ],
)
def test_a_bad_vocabulary_file_is_refused(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        load_vocabulary(written(tmp_path, text))


def test_a_missing_vocabulary_lists_the_known_ones():
    with pytest.raises(InputError, match=r"\(.*tiny, voc\) or a .toml file, got 'coco'"):
        load_vocabulary("coco")


def test_the_fingerprint_tells_content_apart(tmp_path):
    first = load_vocabulary(written(tmp_path, SMALL)).fingerprint
    assert load_vocabulary(written(tmp_path, SMALL)).fingerprint == first
    assert load_vocabulary(written(tmp_path, SMALL.replace("grass", "sand"))).fingerprint != first
