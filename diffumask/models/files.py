"""The files of a diffusers model folder: whether they are whole, and what tells them apart."""

import hashlib
from pathlib import Path

from safetensors import SafetensorError, safe_open

from diffumask.errors import InputError, reason

from .index import INDEX, read_index
from .variants import check_variant, variant_of, weights_in

HUB_SNAPSHOTS = "snapshots"  # what the hub's client keeps the folders of revisions in


def check_whole(folder: Path, variant: str | None = None) -> None:
    """Raise `InputError` if a part of the model is missing or a weight file is cut off.

    As well for a variant of which there are no weights.
    """
    parts = read_index(folder).loaded_parts
    for part in parts:
        if not part.is_dir():
            raise InputError(f"expected a whole model, got {folder} without {part.name}")
    check_variant(folder, parts, variant)
    for path in _files(folder, variant):
        if path.suffix == ".safetensors":
            try:
                with safe_open(path, framework="np"):  # that of torch would import it
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
        for part in read_index(folder).loaded_parts
    )


def fingerprint_folder(folder: Path, variant: str | None = None) -> str:
    """Return 16 hex digits that change with any configuration or weight file that is loaded."""
    total = hashlib.blake2b(digest_size=8)
    for path in _files(folder, variant):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, hashlib.blake2b).digest()
        total.update(path.relative_to(folder).as_posix().encode() + b"\0" + content)
    return total.hexdigest()


def stamp_folder(folder: Path, variant: str | None = None) -> str:
    """Return 16 hex digits of where these files lie, their sizes and when they last changed."""
    total = hashlib.blake2b(digest_size=8)
    for path in _files(folder, variant):
        one = path.stat()
        facts = one.st_dev, one.st_ino, one.st_size, one.st_mtime_ns, one.st_ctime_ns
        total.update(f"{path.resolve()}\0{facts}\0".encode("utf-8", "surrogateescape"))
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


def _files(folder: Path, variant: str | None) -> list[Path]:
    kinds = {".json", ".txt", ".safetensors"}
    parts = [part for part in read_index(folder).loaded_parts if part.is_dir()]
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
