from collections import Counter

import pytest

from diffumask.prompts.balance import balance, evenness, table
from diffumask.prompts.build import build
from diffumask.prompts.vocabulary import load_vocabulary
from diffumask.types import Prompt


def test_counts_are_those_of_counting_one_by_one():
    vocabulary = load_vocabulary("tiny")
    prompts = [build(vocabulary, "bird", seed) for seed in range(50)]
    counts = balance(prompts)
    assert counts.sub_classes == Counter(prompt.sub_class for prompt in prompts)
    assert counts.contexts == Counter(prompt.context for prompt in prompts)
    for (sub_class, context), count in counts.pairs.items():
        assert count == sum((p.sub_class, p.context) == (sub_class, context) for p in prompts)


@pytest.mark.parametrize(
    ("counts", "expected"), [([3, 3, 3], 1), ([5], 1), ([], 1), ([1, 99], 0.081)]
)
def test_evenness_is_1_for_equal_counts(counts, expected):
    assert evenness(dict(zip("abc", counts, strict=False))) == pytest.approx(expected, abs=0.001)


def test_what_never_occurs_counts_too():
    counts = balance([Prompt("an owl", (), "owl", "on sand")], ("duck", "owl"), ("on sand",))
    assert counts.sub_classes == {"owl": 1, "duck": 0}
    assert evenness(counts.sub_classes) == 0
    assert counts.as_json()["pairs"] == [["owl", "on sand", 1]]
    assert "duck   .   0" in table("bird", counts)
    assert balance([]).as_json()["prompts"] == 0


def test_the_table_shows_every_pair_and_the_sums():
    shown = [("owl", "on grass"), ("owl", "on sand"), ("owl", "on sand"), ("", "on sand")]
    text = table("bird", balance([Prompt("a bird", (), *one) for one in shown]))
    assert text == "\n".join([
        "bird: 4 prompts, 2 sub-classes (evenness 0.81), 2 contexts (evenness 0.81), 3 of 4 pairs",
        "      a   b sum",
        "owl   2   1   3",
        "-     1   .   1",
        "sum   3   1   4",
        "  a: on sand",
        "  b: on grass",
    ])  # fmt: skip
