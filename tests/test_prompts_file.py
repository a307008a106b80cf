import json

import pytest

from diffumask.errors import InputError
from diffumask.prompts.classes import Classes
from diffumask.prompts.file import read_prompts
from diffumask.prompts.source import from_file
from diffumask.prompts.vocabulary import load_vocabulary
from diffumask.types import Target

VOC = load_vocabulary("voc")


def written(folder, name, text):
    path = folder / name
    path.write_bytes(text.encode())
    return path


def read(path, *names):
    return read_prompts(path, Classes(VOC), names)


def test_lines_of_text_are_labelled_by_the_words_in_them(tmp_path):
    path = written(tmp_path, "p.txt", "\ufeffA Bird on a car\r\n\r\nan automobile\n  a  bird \n")
    prompts = read(path, "car", "bird")
    assert [prompt.text for prompt in prompts] == ["A Bird on a car", "an automobile", "a bird"]
    assert prompts[0].targets == (Target("Bird", "bird", 3), Target("car", "car", 7))
    assert prompts[1].targets == (Target("automobile", "car", 7),)


def test_of_overlapping_words_the_longest_counts(tmp_path):
    path = written(tmp_path, "p.txt", "a cable car above a car\na cable car\n")
    both, one = read(path, "car", "cable car")
    assert [target.class_name for target in both.targets] == ["cable car", "car"]
    assert [target.class_name for target in one.targets] == ["cable car"]


def test_a_table_names_its_classes(tmp_path):
    text = (
        'prompt,class,context,note\n"a dog, and a cat at home",dog; cat,at home,x\na bird,bird,,\n'
    )
    first, second = read(written(tmp_path, "p.csv", text))
    assert [target.class_id for target in first.targets] == [12, 8]
    assert (first.context, second.context, second.sub_class) == ("at home", "", "")


def test_records_name_words_and_ids_of_their_own(tmp_path):
    rows = [
        {"prompt": "a kitten by a narwhal", "targets": [
            {"word": "kitten", "class": "cat"},
            {"word": "narwhal", "class": "narwhal", "class_id": 77},
        ]},
        {"prompt": "a tabby cat", "class": "cat", "sub_class": "tabby", "other": 1},
        {"prompt": "a dog and a cat", "class": ["cat", "dog"]},
    ]  # fmt: skip
    path = written(tmp_path, "p.jsonl", "\n".join(map(json.dumps, rows)))
    first, second, third = read(path)
    assert first.targets == (Target("kitten", "cat", 8), Target("narwhal", "narwhal", 77))
    assert second.sub_class == "tabby"
    assert [target.class_name for target in third.targets] == ["cat", "dog"]


def test_items_of_a_class_take_its_prompts_in_turn(tmp_path):
    path = written(
        tmp_path, "p.csv", "prompt,class\na red bird,bird\na cat,cat\na blue bird,bird\n"
    )
    source = from_file(path, Classes(VOC), [])
    assert source.class_names == ("bird", "cat")
    assert source.class_ids == {"bird": 3, "cat": 8}
    texts = [source.prompt_of("bird", index, 99).text for index in range(5)]
    assert texts == ["a red bird", "a blue bird", "a red bird", "a blue bird", "a red bird"]
    only = from_file(path, Classes(VOC), ["Cat"])
    assert only.class_names == ("cat",)
    assert only.identity == source.identity


def test_the_identity_follows_the_content(tmp_path):
    def identity(text, *names):
        return from_file(written(tmp_path, "p.txt", text), Classes(VOC), names).identity

    first = identity("a cat and a dog\n", "cat")
    assert first["prompts"] == "p.txt"
    assert identity("a cat and a dog\n\n", "cat") == first
    assert identity("a cat and a cow\n", "cat") != first
    assert identity("a cat and a dog\n", "cat", "dog") != first  # it is labelled now


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("p.txt", "a bird\na caterpillar\n", "p.txt:2: expected 'bird', 'cat' in the prompt, got"),
        ("p.txt", "\n \n", "p.txt: expected at least one prompt, got none"),
        ("p.csv", "prompt\na bird\n", "p.csv:1: expected a column 'class'"),
        ("p.csv", "", "p.csv:1: expected a column 'prompt'"),
        ("p.csv", "prompt,class\na bird\n", "p.csv:2: expected 2 columns"),
        ("p.csv", "prompt,class\na, bird,bird\n", "p.csv:2: expected 2 columns"),
        ("p.csv", 'prompt,class\n"a bird,bird\n', "p.csv:.: expected a table"),
        ("p.csv", "prompt,class\na bird,cat\n", "p.csv:2: expected the word 'cat' of the class"),
        ("p.csv", "prompt,class\na bird,\n", "p.csv:2: expected a class"),
        ("p.csv", "prompt,class\na bird,brid\n", "p.csv:2: .* did you mean 'bird'"),
        ("p.csv", "prompt,class\na bird,bird;bird\n", "p.csv:2: expected each class and word once"),
        ("p.csv", "prompt,class\n,bird\n", "p.csv:2: expected a prompt, got none"),
        ("p.jsonl", '{"prompt": "a bird"', "p.jsonl:1: expected a JSON object"),
        ("p.jsonl", "\n[1]", "p.jsonl:2: expected a JSON object"),
        ("p.jsonl", '{"prompt": 3}', "p.jsonl:1: expected prompt to be text, got 3"),
        ("p.jsonl", '{"prompt": "a bird"}', "p.jsonl:1: expected a class"),
        ("p.jsonl", '{"prompt": "a", "targets": 3}', "p.jsonl:1: expected targets to be a list"),
        ("p.jsonl", '{"prompt": "a", "targets": [3]}', "p.jsonl:1: expected a class, got 3"),
        (
            "p.jsonl",
            '{"prompt": "a bird", "targets": [{"class": "bird", "class_id": "3"}]}',
            "p.jsonl:1: expected the id 3 of 'bird', got '3'",
        ),
        ("p.yaml", "a bird", ".txt, .csv or .jsonl, got"),
    ],
)
def test_mistakes_are_told_with_file_and_line(tmp_path, name, text, message):
    with pytest.raises(InputError, match=message) as caught:
        read(written(tmp_path, name, text), "bird", "cat")
    assert len(str(caught.value).splitlines()) == 1


def test_files_that_are_not_as_expected_are_refused(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read(tmp_path / "lost.txt", "bird")
    (tmp_path / "p.txt").write_bytes(b"a b\xffird")
    with pytest.raises(InputError, match=r"p\.txt: expected text in UTF-8"):
        read(tmp_path / "p.txt", "bird")
    with pytest.raises(InputError, match=r"expected classes beside a .txt file"):
        read(written(tmp_path, "q.txt", "a bird"))
    path = written(tmp_path, "q.csv", "prompt,class\na bird,bird\n")
    with pytest.raises(InputError, match=r"prompts of 'cat' in q.csv, got none; .* are bird"):
        from_file(path, Classes(VOC), ["bird", "cat"])
