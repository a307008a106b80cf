"""Image datasets with pixel masks, made by a text-to-image model from its own cross-attention.

    import diffumask

    birds = diffumask.generate(classes=["bird"], n=12, out="birds")
    birds[0].image, birds[0].mask, birds[0].prompt

Every function stands for a command of the same name and takes its options. What the user can mend
is an `InputError`; nothing is printed, and notices go to the log "diffumask". Functions are
imported when they are first asked for.
"""

from typing import TYPE_CHECKING

from .on_demand import on_demand

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .api.affinity_train import affinity_train as affinity_train
    from .api.augment_dataset import augment_dataset as augment_dataset
    from .api.calibrate import calibrate as calibrate
    from .api.dataset import Dataset as Dataset
    from .api.dataset import open_dataset as open_dataset
    from .api.doctor import doctor as doctor
    from .api.evaluate import evaluate as evaluate
    from .api.export import export as export
    from .api.filter import filter as filter  # noqa: A004
    from .api.generate import generate as generate
    from .api.import_masks import import_masks as import_masks
    from .api.list_classes import list_classes as list_classes
    from .api.list_models import list_models as list_models
    from .api.list_prompts import list_prompts as list_prompts
    from .api.lora_train import lora_train as lora_train
    from .api.merge import merge as merge
    from .api.remask import remask as remask
    from .api.segmentator_evaluate import segmentator_evaluate as segmentator_evaluate
    from .api.segmentator_predict import segmentator_predict as segmentator_predict
    from .api.segmentator_train import segmentator_train as segmentator_train
    from .api.show import show as show
    from .api.train import train as train
    from .api.upload import upload as upload
    from .api.verify import verify as verify
    from .attention.capture import capture as capture
    from .errors import InputError as InputError
    from .sampling.observe import observe as observe
    from .sampling.observe import observing as observing
    from .types import Prompt as Prompt
    from .types import Target as Target

_MODULES = {
    "Dataset": "api.dataset",
    "InputError": "errors",
    "Prompt": "types",
    "Target": "types",
    "affinity_train": "api.affinity_train",
    "augment_dataset": "api.augment_dataset",
    "calibrate": "api.calibrate",
    "capture": "attention.capture",
    "doctor": "api.doctor",
    "evaluate": "api.evaluate",
    "export": "api.export",
    "filter": "api.filter",
    "generate": "api.generate",
    "import_masks": "api.import_masks",
    "list_classes": "api.list_classes",
    "list_models": "api.list_models",
    "list_prompts": "api.list_prompts",
    "lora_train": "api.lora_train",
    "merge": "api.merge",
    "observe": "sampling.observe",
    "observing": "sampling.observe",
    "open_dataset": "api.dataset",
    "remask": "api.remask",
    "segmentator_evaluate": "api.segmentator_evaluate",
    "segmentator_predict": "api.segmentator_predict",
    "segmentator_train": "api.segmentator_train",
    "show": "api.show",
    "train": "api.train",
    "upload": "api.upload",
    "verify": "api.verify",
}

__getattr__ = on_demand(__name__, _MODULES)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
