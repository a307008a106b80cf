"""Every example runs with the model in the package; what others' libraries do is stood in for."""

import json
import re
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage

import diffumask
from diffumask.models import MODELS

EXAMPLES = Path(__file__).parent.parent / "examples"
SMALL: dict[str, Any] = {"n": 2, "steps": 1}


def example(name: str) -> Any:
    """The functions of an example."""
    return SimpleNamespace(**runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name=name))


def classes_of(folder: Path) -> dict[str, int]:
    return dict(diffumask.open_dataset(folder).classes)


def test_a_class_of_your_own_has_its_id(tmp_path, capsys):
    example("own_class").main(tmp_path, **SMALL)
    assert classes_of(tmp_path / "images") == {"toadstool": 1, "taxi": 2}
    assert "1 toadstool toadstool mushroom fly agaric" in capsys.readouterr().out


def test_several_objects_are_labelled(tmp_path, capsys):
    example("several_objects").main(tmp_path / "pets", **SMALL)
    items = diffumask.open_dataset(tmp_path / "pets")
    assert len(items) == 2
    assert all(len(item.record.prompt.targets) == 2 for item in items)
    assert (tmp_path / "pets.html").is_file()
    assert "pets.html" in capsys.readouterr().out


def test_the_export_to_yolo_is_one_and_training_gets_it(tmp_path, monkeypatch):
    trained: dict[str, Any] = {}
    network = SimpleNamespace(train=lambda **options: trained.update(options))
    monkeypatch.setitem(sys.modules, "ultralytics", SimpleNamespace(YOLO=lambda weights: network))
    yolo = example("train_yolo")
    data = yolo.main(tmp_path, **SMALL)
    assert data == yolo.main(tmp_path, **SMALL)  # as when it is run again to train
    yolo.train(data, epochs=1)
    assert len([*data.parent.glob("images/*/*.png")]) == 4
    assert Path(trained["data"]).read_bytes() == data.read_bytes()


def test_yolo_trains_on_it(tmp_path):
    pytest.importorskip("ultralytics", reason="ultralytics is not installed, nor its weights here")
    yolo = example("train_yolo")
    yolo.train(yolo.main(tmp_path, **SMALL), epochs=1)


class Samples(dict[str, Any]):
    """As much of FiftyOne's sample as an example sets."""


def test_fiftyone_is_given_grey_masks_and_the_names_of_their_values(tmp_path, monkeypatch):
    kept: list[Samples] = []
    dataset = SimpleNamespace(default_mask_targets={}, add_samples=kept.extend)
    stand_in = SimpleNamespace(
        Dataset=lambda name, overwrite: dataset, Sample=Samples, Segmentation=Samples
    )
    monkeypatch.setitem(sys.modules, "fiftyone", stand_in)
    flowers = example("look_in_fiftyone")
    folder = flowers.main(tmp_path, **SMALL)
    flowers.import_dataset(folder)
    names = {class_id: name for name, class_id in classes_of(folder).items()}
    assert dataset.default_mask_targets == {**names, 255: "unsure"}
    for sample, item in zip(kept, diffumask.open_dataset(folder), strict=True):
        with PillowImage.open(sample["mask"]["mask_path"]) as mask:
            assert mask.mode == "L"
            assert np.array_equal(np.array(mask), item.mask)
        with PillowImage.open(sample["filepath"]) as image:
            assert np.array_equal(np.array(image), item.image)
        assert (sample["prompt"], sample["scores"]) == (item.prompt, dict(item.scores))


def test_fiftyone_imports_it(tmp_path):
    pytest.importorskip("fiftyone", reason="fiftyone is not installed: it brings a MongoDB along")
    flowers = example("look_in_fiftyone")
    assert len(flowers.import_dataset(flowers.main(tmp_path, **SMALL))) == 4


def test_datasets_loads_what_would_be_pushed(tmp_path):
    pytest.importorskip("datasets", reason="datasets is not installed")
    pushed = []
    hub = example("push_to_hub")
    rows = hub.main(tmp_path, **SMALL)
    assert sum(map(len, rows.values())) == 2
    stand_in = SimpleNamespace(push_to_hub=lambda name, private: pushed.append((name, private)))
    hub.push(stand_in, "someone/mushrooms")
    assert pushed == [("someone/mushrooms", True)]


def cells(kind: str) -> list[dict[str, Any]]:
    tree = json.loads((EXAMPLES / "first_dataset.ipynb").read_bytes())
    return [cell for cell in tree["cells"] if cell["cell_type"] == kind]


def test_the_notebook_is_kept_without_outputs_and_its_switch_names_a_model():
    assert not any(cell["outputs"] or cell["execution_count"] for cell in cells("code"))
    (switch,) = [text for cell in cells("code") if "%pip" in (text := "".join(cell["source"]))]
    assert "%pip install -q diffumask" in switch
    names: dict[str, Any] = {}
    exec("\n".join(line[2:] for line in switch.splitlines() if "%pip" not in line), names)
    assert names["MODEL"] in MODELS
    settings = "".join(cells("code")[0]["source"])
    assert re.match("MODEL, CLASSES, N, STEPS = ", settings)
    assert "MODEL, CLASSES, N, STEPS = " in switch


def test_the_notebook_runs(tmp_path):
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    nbformat = pytest.importorskip("nbformat")
    notebook = nbformat.read(EXAMPLES / "first_dataset.ipynb", as_version=4)
    settings = next(cell for cell in notebook.cells if cell.cell_type == "code")
    settings.source = settings.source.replace(" 6, None", " 1, 1")
    where = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=600, resources=where).execute()
    shown = [
        kind
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        for kind in output.get("data", {})
    ]
    assert {"text/html", "image/png"} <= set(shown)
    assert len(diffumask.open_dataset(tmp_path / "first-tiny")) == 2
    assert (tmp_path / "first-tiny.html").is_file()
    assert (tmp_path / "first-tiny-yolo/data.yaml").is_file()


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*[by]")), ids=lambda path: path.name)
def test_every_example_has_its_line(path):
    lines = (EXAMPLES / "README.md").read_text("utf-8").splitlines()
    assert len([line for line in lines if line.startswith(f"| [{path.name}]({path.name}) | ")]) == 1
