"""A trained network in a folder: weights, configuration and a card."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from diffumask.errors import InputError
from diffumask.files.atomic import write_file

from .network import AffinityNetwork, NetworkConfig

FORMAT = "diffumask-affinity-1"
WEIGHTS_FILE, CONFIG_FILE, CARD_FILE = "model.safetensors", "config.json", "MODEL_CARD.md"

CARD = """# AffinityNet

Tells which neighbouring cells of an image belong together (Ahn & Kwak 2018). Made by
`diffumask affinity train`; `diffumask.affinity_net.load` reads it.

- Trained on: generated images of {words}; {n_items} images, {n_sure_items} of them with sure
  cells of object and background.
- Labels: the heat maps of the images alone; no mask was drawn, no pretrained weights were used.
- Training: {num_steps} steps, seed {seed}, refiner of the seeds: {refiner}.
- Network: ResNet of widths {widths}, {n_parameters:,} parameters, features at a quarter of an
  image of at most {side} pixels, pairs within {radius} cells.
"""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a network was trained on, and how."""

    words: tuple[str, ...]
    n_items: int
    n_sure_items: int
    num_steps: int
    seed: int
    refiner: str


@dataclass(frozen=True, slots=True)
class AffinityNet:
    """A trained network in evaluation mode, and what is known about its training."""

    network: AffinityNetwork
    facts: Facts


def save(net: AffinityNet, folder: Path) -> None:
    """Write weights, configuration and card. Raises `InputError` where that cannot be done."""
    config = {
        "format": FORMAT,
        "network": asdict(net.network.config),
        "facts": asdict(net.facts),
    }
    weights = {name: value.contiguous() for name, value in net.network.state_dict().items()}
    contents = {
        WEIGHTS_FILE: safetensors.torch.save(weights, {"format": "pt"}),
        CONFIG_FILE: (json.dumps(config, indent=2) + "\n").encode(),
        CARD_FILE: _card(net).encode(),
    }
    for name, content in contents.items():
        write_file(folder / name, content)


def load(path: Path) -> AffinityNet:
    """Read what `save` wrote, from its folder or its file of weights.

    Raises `InputError` for anything that is not a whole network of this kind.
    """
    folder = path.parent if path.name == WEIGHTS_FILE else path
    try:
        config = json.loads((folder / CONFIG_FILE).read_bytes())
        if config["format"] != FORMAT:
            raise ValueError(f"format {config['format']!r}")
        network = AffinityNetwork(NetworkConfig(**_with_tuples(config["network"])))
        facts = Facts(**_with_tuples(config["facts"]))
        weights = safetensors.torch.load_file(folder / WEIGHTS_FILE)
        network.load_state_dict(weights)
    except (
        *(OSError, ValueError, KeyError, TypeError, AttributeError),
        *(StrictDataclassError, RuntimeError, SafetensorError),  # of which a RecursionError is one
    ) as error:
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise InputError(
            f"expected an AffinityNet of diffumask at {path}, got {reason}; make one with"
            " `diffumask affinity train`"
        ) from error
    return AffinityNet(network.eval(), facts)


def _card(net: AffinityNet) -> str:
    config = net.network.config
    facts = asdict(net.facts) | {"words": ", ".join(net.facts.words)}
    return CARD.format(
        **facts,
        widths="/".join(map(str, config.hidden_sizes)),
        n_parameters=sum(parameter.numel() for parameter in net.network.parameters()),
        side=config.side,
        radius=config.radius,
    )


def _with_tuples(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()
    }
