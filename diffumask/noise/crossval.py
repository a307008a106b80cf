"""Cross-validation: each item is compared with the prediction of a network that never saw it.

A fold that is finished is not trained again, and one that was stopped goes on.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import islice

import numpy as np
from jaxtyping import Float32

from diffumask.dataset.dataset import Dataset
from diffumask.dataset.encode import encode_class_map
from diffumask.dataset.pair import Pair
from diffumask.files.atomic import take_over, write_file, writing
from diffumask.files.inside import refuse_links
from diffumask.files.lock import locked
from diffumask.files.partial import partial_folder
from diffumask.labelled.labels import Labels
from diffumask.seeds import item_seed
from diffumask.segmentation import (
    FitSettings,
    Network,
    class_probabilities,
    new_network,
    save_network,
)
from diffumask.segmentation.fitting import fit
from diffumask.types import OnStep, unseen_step

from .items import MaskSummary
from .quality import METHODS, HeldOut
from .trial import Qualities, Trial

NETWORK, PARTIAL_NETWORK, PROGRESS = "network", "network.partial", "progress"
PREDICTED_TOGETHER = 16


def cross_validate(
    trial: Trial,
    method: str,
    on_step: OnStep = unseen_step,
    device: str = "auto",
) -> None:
    """Find the quality of every item, for `Trial.read`; trains what is not there yet.

    `on_step` sees the steps done, of all folds, and of how many at most. Raises
    InputError where nothing can be written, and as `new_network` and `fit` do.
    """
    refuse_links(trial.folder)
    with writing(trial.folder):
        trial.predictions.mkdir(parents=True, exist_ok=True)
    with locked(trial.folder):
        facts = asdict(trial.settings) | {"items": len(trial.items)}
        write_file(trial.folder / "settings.json", json.dumps(facts, indent=2).encode())
        missing = [n for n in range(trial.num_folds) if not trial.quality_file(n, method).is_file()]
        steps = _Steps(trial, len(missing), on_step)
        for fold in missing:
            network = _network(trial, fold, steps.of_fold, device)
            found = _predict_fold(trial, fold, network, method)
            write_file(trial.quality_file(fold, method), json.dumps(found).encode())
            steps.end_fold()


class _Steps:
    """Counts the steps of all folds, of which each ends at its own."""

    def __init__(self, trial: Trial, n_missing: int, on_step: OnStep) -> None:
        self._longest = trial.settings.num_steps
        self._n_left = n_missing
        self._ends = self._own_end = (trial.num_folds - n_missing) * self._longest
        self._on_step = on_step
        on_step(self._ends, trial.num_folds * self._longest)

    def of_fold(self, step: int, num_steps: int) -> None:
        """Tell of a step of the fold that is trained."""
        self._own_end = self._ends + num_steps
        self._on_step(self._ends + step, self._own_end + (self._n_left - 1) * self._longest)

    def end_fold(self) -> None:
        """Go on to the next fold."""
        self._n_left -= 1
        self._ends = self._own_end


class Subset:
    """Some items of a source, by position."""

    def __init__(self, source: Dataset, positions: Sequence[int]) -> None:
        self.source = source
        self.positions = positions

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, index: int) -> Pair:
        return self.source.read(self.positions[index])


def _positions(trial: Trial, wanted: Callable[[int], bool]) -> list[int]:
    """Return the positions of the items whose fold is wanted."""
    names = (record.name for record in trial.source.records)
    return [
        position
        for position, name in enumerate(names)
        if name in trial.folds and wanted(trial.folds[name])
    ]


def _network(trial: Trial, fold: int, on_step: OnStep, device: str) -> Network:
    """Train the network of a fold on all others, or load it."""
    folder, settings = trial.fold_folder(fold), trial.settings
    labels = Labels(trial.source.run.classes)
    seed = item_seed(settings.seed, "fold", fold)
    if (folder / NETWORK).is_dir():
        shutil.rmtree(folder / PROGRESS, ignore_errors=True)  # if a kill came before
        return new_network(str(folder / NETWORK), labels, seed, device)
    network = new_network(settings.model, labels, seed, device)
    fit_settings = FitSettings(
        num_steps=settings.num_steps,
        until_plateau=settings.until_plateau,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        seed=seed,
    )
    others = Subset(trial.source, _positions(trial, lambda other: other != fold))
    fit(network, others, fit_settings, folder / PROGRESS, on_step)
    save_network(network, folder / PARTIAL_NETWORK)
    with writing(folder):
        (folder / PARTIAL_NETWORK).rename(folder / NETWORK)
        shutil.rmtree(folder / PROGRESS, ignore_errors=True)
    return network


def _predict_fold(trial: Trial, fold: int, network: Network, method: str) -> Qualities:
    """Predict the items of a fold, keep the predictions, and compare."""
    items = {item.name: item for item in trial.items}
    qualities: Qualities = {}
    own = _positions(trial, lambda other: other == fold)
    with writing(trial.folder), partial_folder(trial.folder) as partial:
        rest = iter(own)
        while positions := list(islice(rest, PREDICTED_TOGETHER)):
            pairs = [trial.source.read(position) for position in positions]
            predicted = class_probabilities(network, [pair.image for pair in pairs])
            for position, pair, probabilities in zip(positions, pairs, predicted, strict=True):
                name = trial.source.records[position].name
                held_out = _held_out(network.labels, pair, probabilities)
                qualities[name] = _qualities(trial, items[name], held_out, method)
                path = partial / f"{name}.png"
                path.write_bytes(encode_class_map(held_out.predicted))
                take_over(path, trial.predictions / path.name)
    return qualities


def _held_out(labels: Labels, pair: Pair, probabilities: Float32[np.ndarray, "c h w"]) -> HeldOut:
    predicted = labels.decode(probabilities.argmax(0).astype(np.uint8))
    return HeldOut(pair.class_map, labels.encode(pair.class_map), predicted, probabilities)


def _qualities(trial: Trial, item: MaskSummary, held_out: HeldOut, method: str) -> dict[str, float]:
    ids = trial.source.run.classes
    found = METHODS[method](held_out, [ids[name] for name in item.areas])
    return {name: round(found[ids[name]], 6) for name in item.areas}
