"""Articles go by sound."""

import pytest

from diffumask.articles import with_article


@pytest.mark.parametrize("phrase", ["an owl bird", "a duck bird", "a unicorn horse", "a ewe sheep"])
def test_article(phrase):
    assert with_article(phrase.split(" ", 1)[1]) == phrase
