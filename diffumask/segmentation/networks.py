"""Networks by name, to be trained from nothing, or pretrained ones by folder or hub id."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional
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

from diffumask.errors import InputError
from diffumask.files.atomic import sync_folder, take_over, writing
from diffumask.files.partial import partial_folder
from diffumask.labelled.labels import Labels
from diffumask.models import HUB_ID, find_device, load_trainable, progress_bars_off
from diffumask.types import IGNORE_ID

from .output import label_logits

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet
SHORTER_SIDE = "shortest_edge"
WEIGHTS_FILE, PREPARATION_FILE = "model.safetensors", "preprocessor_config.json"


class Network(nn.Module):
    """A segmentation network of transformers with the classes that its labels stand for.

    `shorter_side_px` is that of the images it was trained on, None before; to predict, images
    are resized to it.
    """

    def __init__(
        self, model: nn.Module, labels: Labels, shorter_side_px: int | None = None
    ) -> None:
        super().__init__()
        self.model: Any = model
        self.labels = labels
        self.shorter_side_px = shorter_side_px
        for name, values in (("mean", MEAN), ("deviation", DEVIATION)):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def forward(
        self, pixels: Float[Tensor, "b 3 h w"], labels: Int64[Tensor, "b h w"]
    ) -> Float[Tensor, ""]:
        """Return the loss; as `loss`, which does not go through the hooks of a module."""
        return self.loss(pixels, labels)

    def loss(
        self, pixels: Float[Tensor, "b 3 h w"], labels: Int64[Tensor, "b h w"]
    ) -> Float[Tensor, ""]:
        """Return the loss that the network is trained with; pixels in [0, 1], 255 is ignored.

        Cross-entropy on every other pixel, of which the first is drawn from torch's random
        numbers; networks with queries have their own loss, to which 255 is no part of any mask.
        """
        if _has_queries(self.model):
            masks, classes = _segments(labels)
            output = self.model(
                pixel_values=self._normalised(pixels), mask_labels=masks, class_labels=classes
            )
            return output.loss.squeeze()
        top, left = torch.randint(2, (2,)).tolist()
        truth = labels[:, top::2, left::2]
        logits = self.model(pixel_values=self._normalised(pixels)).logits.float()
        near = functional.interpolate(logits, truth.shape[1:], mode="bilinear")
        known = (truth != IGNORE_ID).sum().clamp(min=1)  # a mean over none would be no number
        total = functional.cross_entropy(near, truth, ignore_index=IGNORE_ID, reduction="sum")
        return total / known

    def logits(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c h w"]:
        """Return logits in the size of the pixels, which are in [0, 1]; see `label_logits`."""
        output = self.model(pixel_values=self._normalised(pixels))
        return functional.interpolate(label_logits(output), pixels.shape[2:], mode="bilinear")

    def _normalised(self, pixels: Tensor) -> Tensor:
        return (pixels - self.get_buffer("mean")) / self.get_buffer("deviation")


def _has_queries(model: Any) -> bool:
    return hasattr(model.config, "num_queries")


def _segments(labels: Int64[Tensor, "b h w"]) -> tuple[list[Tensor], list[Tensor]]:
    """Return the masks and the labels of each image; an image may have none."""
    of_images = [one.unique() for one in labels]
    classes = [found[found != IGNORE_ID] for found in of_images]
    masks = [
        (one == found[:, None, None]).float() for one, found in zip(labels, classes, strict=True)
    ]
    return masks, classes


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
    names = dict(enumerate(labels.names))
    shorter_side_px = None
    torch_device = find_device(device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed % 2**63)
        if model in NETWORKS:
            made = NETWORKS[model](names)
        elif (Path(model) / "config.json").is_file() or HUB_ID.fullmatch(model):
            made, preparation = load_trainable(model, names)
            size = preparation.get("size")
            shorter_side_px = size.get(SHORTER_SIDE) if isinstance(size, dict) else None
        else:
            raise InputError(
                f"expected one of {', '.join(NETWORKS)}, a folder with config.json or a hub id "
                f"like owner/name, got {model!r}"
            )
    return Network(made, labels, shorter_side_px).to(torch_device).eval()


def save_network(network: Network, folder: Path) -> None:
    """Write config.json, model.safetensors and preprocessor_config.json, one after the other.

    `diffumask evaluate --checkpoint` and transformers read the folder. Raises InputError where
    that cannot be done.
    """
    preparation = {
        "do_resize": network.shorter_side_px is not None,
        "size": {SHORTER_SIDE: network.shorter_side_px or 0},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": MEAN,
        "image_std": DEVIATION,
    }
    if network.shorter_side_px is None:
        del preparation["size"]
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with partial_folder(folder) as partial:
            with progress_bars_off():
                network.model.save_pretrained(partial)
            text = json.dumps(preparation, indent=2) + "\n"
            (partial / PREPARATION_FILE).write_text(text, encoding="utf-8")
            for path in sorted(partial.iterdir()):
                take_over(path, folder / path.name)
        sync_folder(folder)
