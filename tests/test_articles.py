"""Articles go by sound, plurals by number."""

import pytest

from diffumask.articles import counted, with_article


@pytest.mark.parametrize("phrase", ["an owl bird", "a duck bird", "a unicorn horse", "a ewe sheep"])
def test_article(phrase):
    assert with_article(phrase.split(" ", 1)[1]) == phrase


@pytest.mark.parametrize(
    "phrase", ["0 items", "1 item", "2 items", "1 class", "2 classes", "3 sub-classes", "2 boxes"]
)
def test_a_number_has_a_plural_unless_it_is_1(phrase):
    count, _, noun = phrase.partition(" ")
    singular = {"items": "item", "classes": "class", "sub-classes": "sub-class", "boxes": "box"}
    singular |= {one: one for one in singular.values()}
    assert counted(int(count), singular[noun]) == phrase
