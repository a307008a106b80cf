import math
from collections import Counter

import numpy as np
import pytest

from diffumask.articles import with_article
from diffumask.errors import InputError
from diffumask.prompts.captions import NEAREST, Captions, read_captions
from diffumask.prompts.classes import Classes
from diffumask.prompts.ranking import Ranking, photo_of
from diffumask.prompts.source import from_captions
from diffumask.prompts.vocabulary import load_vocabulary
from diffumask.types import Target

VOC = load_vocabulary("voc")
CAPTIONS = [
    "a robin sits on a branch in the snow",
    "A Bird in a garden, a bird in a park",
    "the bird flies over a lake",
    "a barn owl bird on a fence at night",
    "two birds",
    "a cat",
]


def slow_cosine(text, captions):
    """The definition: the whole vectors, term by term."""
    words = [Counter(c.lower().replace(",", "").split()) for c in (*captions, text)]
    terms = sorted({term for one in words[:-1] for term in one})
    seen = [sum(term in one for one in words[:-1]) for term in terms]
    idf = np.array([math.log(len(captions) / number) + 1 for number in seen])
    *rows, query = (idf * [one[term] for term in terms] for one in words)
    return [row @ query / np.linalg.norm(row) for row in rows]


def test_likeness_is_the_cosine_of_the_definition():
    found = Captions(CAPTIONS, VOC.find("bird"))
    assert found.captions == CAPTIONS[1:4]
    for text in ("a photo of a barn owl bird on a fence", "nothing alike", *found.captions):
        expected = slow_cosine(text, found.captions)
        np.testing.assert_allclose(found.likeness(text), expected, atol=1e-12)
    assert [found.likeness(one).argmax() for one in found.captions] == [0, 1, 2]


def test_a_chosen_caption_is_near_what_would_be_built_and_depends_on_the_seed_only():
    many = [f"a bird number {number}" for number in range(50)] + CAPTIONS
    found = Captions(many, VOC.find("bird"))
    chosen = [found.choose(VOC, seed) for seed in range(40)]
    assert chosen == [Captions(many, VOC.find("bird")).choose(VOC, seed) for seed in range(40)]
    assert len({prompt.text for prompt in chosen}) > NEAREST / 2
    assert {prompt.text for prompt in chosen} <= set(found.captions)


def test_a_caption_is_labelled_as_it_names_the_class():
    (owl,) = {Captions(CAPTIONS[3:], VOC.find("bird")).choose(VOC, seed) for seed in range(3)}
    assert (owl.sub_class, owl.context) == ("barn owl", "")
    assert owl.targets == (Target("bird", "bird", 3),)
    (car,) = {Captions(["My Automobile"], VOC.find("car")).choose(VOC, 0)}
    assert car.targets == (Target("Automobile", "car", 7),)


def test_long_captions_are_left_out():
    assert Captions(["bird " * 50, "bird " * 51], VOC.find("bird")).captions == ["bird " * 50]


def test_captions_of_what_is_no_photograph_are_left_out():
    captions = [
        "a Cartoon bird",
        "stock-photo, bird",
        "a bird close-up",
        "a bird in a livestock pen",
    ]
    assert Captions(captions, VOC.find("bird")).captions == captions[3:]
    painting = load_vocabulary("ade20k").find("painting")
    assert Captions(["a painting on a wall", "a painting, a sketch"], painting).captions == [
        "a painting on a wall"
    ]


def test_the_fingerprint_knows_the_banned_words_where_there_are_some(tmp_path, monkeypatch):
    path = tmp_path / "captions.txt"

    def found(*captions):
        path.write_text("\n".join(captions))
        return from_captions(path, Classes(VOC), ["bird"]).identity["captions_fingerprint"]

    before = [found("a bird"), found("a bird", "a cartoon bird")]
    monkeypatch.setattr("diffumask.prompts.source.BANNED", ("cartoon",))
    after = [found("a bird"), found("a bird", "a cartoon bird")]
    assert before[0] == after[0]
    assert before[1] != after[1]


def test_a_ranking_is_asked_for_a_photo_of_the_sub_class():
    asked = []

    def fit(captions):
        def likeness(text):
            asked.append(text)
            return np.array([float(caption == "a bird near") for caption in captions])

        return likeness

    many = [*(f"a bird {number}" for number in range(20)), "a bird near"]
    found = Captions(many, VOC.find("bird"), Ranking(fit, photo_of))
    chosen = {found.choose(VOC, seed).text for seed in range(60)}
    assert chosen == {"a bird near", *many[:9]}  # of equal ones the first
    names = [f"Photo of {with_article(one)} bird" for one in VOC.find("bird").sub_classes]
    assert set(asked) <= set(names)
    assert len(set(asked)) > 5


def test_a_file_has_a_caption_a_line_each_counted_once(tmp_path):
    path = tmp_path / "captions.txt"
    path.write_text("\ufeffa  bird\n\na cat\r\na bird\n", "utf-8")
    assert read_captions(path) == ["a bird", "a cat"]
    path.write_bytes(b"\xff")
    for bad in (path, tmp_path / "lost.txt", tmp_path):
        with pytest.raises(InputError, match="expected a text file of captions"):
            read_captions(bad)
