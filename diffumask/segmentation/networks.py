"""Networks by name, to be trained from nothing, or pretrained ones by folder or hub id."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    ResNetConfig,
    SegformerConfig,
    SegformerForSemanticSegmentation,
    SwinConfig,
    UperNetConfig,
    UperNetForSemanticSegmentation,
)

from diffumask.files.atomic import sync_folder, take_over, writing
from diffumask.files.partial import partial_folder
from diffumask.labelled.labels import Labels
from diffumask.models import find_device, load_trainable, progress_bars_off

from .known import check_network
from .network import Network
from .preprocessing import Preprocessing

WEIGHTS_FILE, PREPROCESSING_FILE = "model.safetensors", "preprocessor_config.json"


STAGES: dict[str, Any] = {"out_features": ["stage1", "stage2", "stage3", "stage4"]}


def _named(names: Mapping[int, str]) -> dict[str, Any]:
    return {"id2label": dict(names), "label2id": {name: label for label, name in names.items()}}


def _segformer(names: Mapping[int, str], **sizes: Any) -> nn.Module:
    return SegformerForSemanticSegmentation(SegformerConfig(**_named(names), **sizes))


def _mask2former(names: Mapping[int, str], backbone: dict[str, Any], **sizes: Any) -> nn.Module:
    swin = SwinConfig(**backbone, **STAGES)
    config = Mask2FormerConfig(backbone_config=swin, **_named(names), **sizes)
    return Mask2FormerForUniversalSegmentation(config)


def _upernet(
    names: Mapping[int, str], hidden_size: int, pool_scales: list[int], **backbone: Any
) -> nn.Module:
    config = UperNetConfig(
        backbone_config=ResNetConfig(**backbone, **STAGES),
        hidden_size=hidden_size,
        pool_scales=pool_scales,
        use_auxiliary_head=False,
        **_named(names),
    )
    return UperNetForSemanticSegmentation(config)


NETWORKS: dict[str, Callable[[Mapping[int, str]], nn.Module]] = {
    # Convolutions with batch normalisation: of these it learns the most in a few hundred steps.
    "upernet-tiny": partial(
        _upernet,
        embedding_size=16,
        hidden_sizes=[16, 32, 64, 128],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        hidden_size=48,
        pool_scales=[2, 4],  # no pool of one pixel, which has no variance to normalise by
    ),
    "segformer-tiny": partial(
        _segformer,
        hidden_sizes=[16, 32, 64, 128],
        decoder_hidden_size=64,
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 2, 2, 4],
        classifier_dropout_prob=0.0,
        drop_path_rate=0.0,
        initializer_range=0.1,  # the 0.02 of wide networks all but silences narrow ones
    ),
    "segformer-b0": _segformer,
    "mask2former-tiny": partial(
        _mask2former,
        backbone={
            "embed_dim": 24,
            "depths": [1, 1, 2, 1],
            "num_heads": [1, 2, 4, 8],
            "window_size": 4,
        },
        feature_size=64,
        mask_feature_size=64,
        hidden_dim=64,
        encoder_feedforward_dim=128,
        encoder_layers=1,
        decoder_layers=3,
        num_attention_heads=4,
        dim_feedforward=128,
        num_queries=20,
        train_num_points=1024,
    ),
    "mask2former": partial(_mask2former, backbone={"drop_path_rate": 0.3}),
}


def new_network(model: str, labels: Labels, seed: int, device: str = "auto") -> Network:
    """Make a network of `NETWORKS` with random weights, or load a pretrained one to go on with.

    `model` may be a folder or a hub id of a semantic segmentation network or of its encoder;
    what has another number of labels gets a new head. Random weights depend on the seed only.
    Raises InputError for a model that is unknown or cannot be loaded.
    """
    check_network(model)
    names = dict(enumerate(labels.names))
    shorter_side_px = None
    torch_device = find_device(device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed % 2**63)
        if model in NETWORKS:
            loaded = NETWORKS[model](names)
        else:
            loaded, config = load_trainable(model, names)
            shorter_side_px = Preprocessing.from_json(config).shorter_side_px
    return Network(loaded, labels, shorter_side_px).to(torch_device).eval()


def save_network(network: Network, folder: Path) -> None:
    """Write config.json, model.safetensors and preprocessor_config.json, one after the other.

    `diffumask evaluate --checkpoint` and transformers read the folder. Raises InputError where
    that cannot be done.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with partial_folder(folder) as partial:
            with progress_bars_off():
                network.model.save_pretrained(partial)
            text = json.dumps(network.preprocessing.to_json(), indent=2) + "\n"
            (partial / PREPROCESSING_FILE).write_text(text, encoding="utf-8")
            for path in sorted(partial.iterdir()):
                take_over(path, folder / path.name)
        sync_folder(folder)
