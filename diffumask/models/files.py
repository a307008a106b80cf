"""The files of a diffusers model folder: what it holds, and whether it is whole."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from diffumask.errors import InputError
from diffumask.files.json_kinds import parse, shown, whole

from .families import UNET_CLASS, Family, family_of, pace, refuse_family
from .variants import check_variant, variant_of, weights_in

INDEX = "model_index.json"
PART_NAME = re.compile(r"[A-Za-z0-9_]+")  # a folder in that of the model, and none outside of it
LATENT_SIDES, BLOCKS = range(1, 4097), range(1, 9)  # so that no image is beyond any memory
HUB_SNAPSHOTS = "snapshots"  # what the hub's client keeps the folders of revisions in
# Parts of a Stable Diffusion folder that are never loaded, and so never downloaded.
UNUSED_PARTS = ("safety_checker", "feature_extractor", "image_encoder")


def read_index(folder: Path) -> dict[str, Any]:
    """Return which library and class load each part of the model.

    Raises `InputError` for folders that are no diffusers model, and for models of other kinds.
    """
    if not (folder / INDEX).is_file():
        raise InputError(f"expected a diffusers model folder, got {folder} without {INDEX}")
    index = _read_json(folder / INDEX)
    for name in _parts(index):
        if not PART_NAME.fullmatch(name):
            raise InputError(f"expected parts of a model in {folder / INDEX}, got {name!r}")
    network = _network_class(index)
    if family_of(index.get("_class_name"), network) is None:
        raise refuse_family(folder, index.get("_class_name"), network)
    return index


def family_in(folder: Path) -> Family:
    """Return the family of the model in a folder; raises as `read_index` does."""
    index = read_index(folder)
    family = family_of(index.get("_class_name"), _network_class(index))
    assert family is not None
    return family


def usual_pace(folder: Path) -> tuple[int, float]:
    """Return the usual number of steps and guidance of a model; raises as `read_index` does."""
    family = family_in(folder)
    return pace(family, _read_json(folder / family.part / "config.json"), read_index(folder))


def _network_class(index: Mapping[str, Any]) -> str | None:
    return part_class(index, "unet") or part_class(index, "transformer")


def part_class(index: Mapping[str, Any], name: str) -> str | None:
    """Return the class of a part of a model, None where it has none."""
    return _parts(index).get(name, (None, None))[1]


def empty_parts(index: Mapping[str, Any]) -> list[str]:
    """List the parts that a model could have and leaves out."""
    return [name for name, (library, _) in _parts(index).items() if library is None]


def default_size_hw(folder: Path) -> tuple[int, int]:
    """Return the height and width in pixels that the model was made for.

    Raises `InputError` as `read_index`, and for configurations that do not tell it.
    """
    family = family_in(folder)
    paths = folder / family.part / "config.json", folder / "vae" / "config.json"
    network, vae = (_read_json(path) for path in paths)
    sample_size = network.get("sample_size")
    blocks = vae.get("block_out_channels")
    if family.part != "unet" and (sample_size is None or blocks is None):
        return family.side_px, family.side_px
    sides = sample_size if isinstance(sample_size, list) else [sample_size] * 2
    if len(sides) != 2 or not all(type(one) is int and one in LATENT_SIDES for one in sides):
        raise InputError(f"expected sample_size in {paths[0]}, got {shown(sample_size)}")
    if not isinstance(blocks, list) or len(blocks) not in BLOCKS:
        raise InputError(f"expected block_out_channels in {paths[1]}, got {shown(blocks)}")
    h, w = sides
    return h * 2 ** (len(blocks) - 1), w * 2 ** (len(blocks) - 1)


def text_width(folder: Path) -> int:
    """Return the width of the text that a UNet attends to, 0 for a model without a UNet.

    Raises as `read_index` does.
    """
    family = family_in(folder)
    if family.network != UNET_CLASS:
        return 0
    path = folder / family.part / "config.json"
    return whole(_read_json(path), "cross_attention_dim")


def check_whole(folder: Path, variant: str | None = None) -> None:
    """Raise `InputError` if a part of the model is missing or a weight file is cut off.

    As well for a variant of which there are no weights.
    """
    parts = _loaded_parts(folder)
    for part in parts:
        if not part.is_dir():
            raise InputError(f"expected a whole model, got {folder} without {part.name}")
    check_variant(folder, parts, variant)
    for path in _files(folder, variant):
        if path.suffix == ".safetensors":
            try:
                with safe_open(path, framework="pt"):
                    pass  # opening compares the header with the length of the file
            except SafetensorError as error:
                raise InputError(
                    f"expected whole weights, got {path} with {reason(error)}; copy or download the"
                    " model again"
                ) from error


def has_weights(folder: Path, variant: str | None = None) -> bool:
    """Tell whether every part of the model is there, and weights for each that needs them.

    Nothing is opened but the index: `check_whole` tells whether the weights are not cut off.
    """
    return all(
        part.is_dir() and (not (part / "config.json").is_file() or weights_in(part, variant))
        for part in _loaded_parts(folder)
    )


def fingerprint_folder(folder: Path, variant: str | None = None) -> str:
    """Return 16 hex digits that change with any configuration or weight file that is loaded."""
    total = hashlib.blake2b(digest_size=8)
    for path in _files(folder, variant):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, hashlib.blake2b).digest()
        total.update(path.relative_to(folder).as_posix().encode() + b"\0" + content)
    return total.hexdigest()


def fingerprint_vae(folder: Path) -> str:
    """Return 16 hex digits of the weights of a model's VAE, the same in float32 and float16.

    Raises `InputError` for a model without a VAE in safetensors.
    """
    weights: dict[str, bytes] = {}
    paths = sorted(path for path in (folder / "vae").glob("*.safetensors"))
    for path in [one for one in paths if ".fp16." not in one.name] or paths:
        try:
            with safe_open(path, framework="pt") as file:
                for name in sorted(file.keys()):
                    weights[name] = file.get_tensor(name).half().numpy().tobytes()
        except (SafetensorError, OSError) as error:
            raise InputError(f"expected a whole VAE, got {path} with {reason(error)}") from error
    if not weights:
        raise InputError(f"expected a VAE in safetensors, got none in {folder}")
    total = hashlib.blake2b(digest_size=8)
    for name, content in sorted(weights.items()):
        total.update(name.encode() + b"\0" + content)
    return total.hexdigest()


def reason(error: BaseException) -> str:
    """Return the first line of what a library says went wrong, or of what caused that."""
    text = str(error.__cause__ or error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def _loaded_parts(folder: Path) -> list[Path]:
    parts = _parts(read_index(folder))
    return [
        folder / name
        for name, (library, _) in parts.items()
        if name not in UNUSED_PARTS and library is not None
    ]


def _parts(index: Mapping[str, Any]) -> dict[str, tuple[str | None, str | None]]:
    """Return library and class of each part; all else in the index is a setting."""
    pairs = {name: one for name, one in index.items() if isinstance(one, list) and len(one) == 2}
    return {name: (first, second) for name, (first, second) in pairs.items()}


def _files(folder: Path, variant: str | None) -> list[Path]:
    kinds = {".json", ".txt", ".safetensors"}
    parts = [part for part in _loaded_parts(folder) if part.is_dir()]
    files = [path for part in parts for path in part.iterdir() if path.is_file()]
    # In the hub's cache another variant may come later. Of other folders all weights count without
    # a variant: datasets of earlier versions hold that fingerprint.
    if variant is not None or folder.parent.name == HUB_SNAPSHOTS:
        taken = {path for part in parts for path in weights_in(part, variant)}
        files = [
            path
            for path in files
            if path in taken
            or (path.suffix != ".safetensors" and variant_of(path) in (None, variant))
        ]
    return [folder / INDEX, *sorted(path for path in files if path.suffix in kinds)]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        tree = parse(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"expected a JSON file at {path}, got {reason(error)}") from error
    if not isinstance(tree, dict):
        raise InputError(f"expected a JSON object in {path}, got {shown(tree)}")
    return tree
