"""Those who read exports, as `make readers` installs them; their tests are skipped without them."""

import sys
import types
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.filterwarnings("default"))  # theirs are not ours to mend


@pytest.fixture(autouse=True)
def _unsynced(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


@pytest.fixture
def torchvision(monkeypatch):
    """Its Python without its compiled part, which is for another build of torch."""
    spec = find_spec("torchvision")
    if spec is None:
        pytest.skip("no torchvision")
    package = types.ModuleType("torchvision")
    package.__path__ = list(spec.submodule_search_locations or ())
    monkeypatch.setitem(sys.modules, "torchvision", package)
    return import_module("torchvision.datasets")


@pytest.fixture
def supervision():
    return pytest.importorskip("supervision")


@pytest.fixture
def datumaro():
    return pytest.importorskip("datumaro")


@pytest.fixture
def ultralytics(tmp_path, monkeypatch):
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("YOLO_OFFLINE", "true")
    return pytest.importorskip("ultralytics.data.utils")


@pytest.fixture
def cityscapesscripts(tmp_path, monkeypatch):
    """Its modules, with what they lack under NumPy 2.4, and without files that they write."""
    monkeypatch.setattr(np, "in1d", np.isin, raising=False)
    instances, pixels, labels, annotation, to_panoptic, to_instances, to_labels = (
        pytest.importorskip(f"cityscapesscripts.{name}")
        for name in (
            "evaluation.evalInstanceLevelSemanticLabeling",
            "evaluation.evalPixelLevelSemanticLabeling",
            "helpers.labels",
            "helpers.annotation",
            "preparation.createPanopticImgs",
            "preparation.json2instanceImg",
            "preparation.json2labelImg",
        )
    )
    monkeypatch.setattr(instances, "writeDict2JSON", lambda content, path: None)
    for module in (pixels, instances):
        monkeypatch.setattr(module.args, "JSONOutput", False)
        monkeypatch.setattr(module.args, "quiet", True)
    monkeypatch.setattr(instances.args, "gtInstancesFile", str(tmp_path / "instances.json"))
    return types.SimpleNamespace(
        pixels=pixels,
        instances=instances,
        labels=labels,
        annotation=annotation.Annotation,
        to_panoptic=to_panoptic.convert2panoptic,
        to_instances=to_instances.createInstanceImage,
        to_labels=to_labels.createLabelImage,
    )
