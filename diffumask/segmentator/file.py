"""A trained head in one .safetensors file, with a card beside it.

The metadata of the file has one key, "diffumask", whose JSON holds the `Facts`.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import safetensors.torch

from diffumask.errors import InputError
from diffumask.files.atomic import write_file, write_new

from .facts import FORMAT, KEY, Facts, check_fingerprint, read_facts
from .features import Autoencoder
from .head import Head
from .heads import n_parameters, new_head

CARD = """# Segmentator

Gives the class of each pixel of an image that one VAE decodes, from the decoder's hidden states.
Made by `diffumask segmentator train`; for `segmentator predict`, `segmentator evaluate` and
`generate --mask-source segmentator`.

- Classes: {names}.
- VAE: that of `{model}`, fingerprint `{vae_fingerprint}`; no other works.
- Head: design `{design}`, {n_parameters:,} parameters, {decoder_share:.1%} of the decoder's.
- Images are brought to {side} pixels on the shorter side.
- Training: {training}.

The licence of the images and masks it was trained on may bind its use.
"""

OF_ANY = " (of any class: what it outlines the prompt names)"


@dataclass(frozen=True, slots=True)
class Segmentator:
    """A head in evaluation mode and its facts."""

    head: Head
    facts: Facts


def save(segmentator: Segmentator, vae: Autoencoder, path: Path) -> None:
    """Write the file and its card. Raises InputError where that cannot be done."""
    for place, content in _contents(segmentator, vae, path).items():
        write_file(place, content)


def save_new(segmentator: Segmentator, vae: Autoencoder, path: Path) -> None:
    """Write as `save` what is not there yet; raises as `write_new`."""
    write_new(_contents(segmentator, vae, path), "the head")


def _contents(segmentator: Segmentator, vae: Autoencoder, path: Path) -> dict[Path, bytes]:
    """Return the content of the file and of its card, by where they are."""
    labels = segmentator.facts.labels
    facts = {"format": FORMAT, **asdict(segmentator.facts)}
    facts["labels"] = {"ids": labels.class_ids, "names": labels.names}
    tensors = {
        name: value.cpu().contiguous() for name, value in segmentator.head.state_dict().items()
    }
    return {
        path: safetensors.torch.save(tensors, {KEY: json.dumps(facts)}),
        card_path(path): _card(segmentator, vae).encode(),
    }


def card_path(path: Path) -> Path:
    """Return where the card of a head is."""
    return path.with_suffix(".md")


def load(path: Path, vae: Autoencoder, vae_fingerprint: str) -> Segmentator:
    """Read a head for an autoencoder, on the autoencoder's device.

    Raises InputError for a file that is none, and a head that was trained for another VAE.
    """
    facts = read_facts(path)
    check_fingerprint(path, facts, vae_fingerprint)
    head = new_head(facts.design, vae, len(facts.labels))
    try:
        head.load_state_dict(safetensors.torch.load_file(path))
    except RuntimeError as error:
        raise InputError(
            f"expected the weights of a {facts.design} head in {path}, got others; train it again"
        ) from error
    return Segmentator(head.eval(), facts)


def _card(segmentator: Segmentator, vae: Autoencoder) -> str:
    facts = segmentator.facts
    training = ", ".join(
        f"{name.replace('_', ' ')} {value}" for name, value in facts.training.items()
    )
    return CARD.format(
        names=", ".join(facts.labels.names) + (OF_ANY if facts.class_agnostic else ""),
        model=facts.model,
        vae_fingerprint=facts.vae_fingerprint,
        design=facts.design,
        side=facts.side,
        n_parameters=n_parameters(segmentator.head),
        decoder_share=n_parameters(segmentator.head) / n_parameters(vae.decoder),
        training=training or "none",
    )
