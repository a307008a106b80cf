"""What the text encoders are given: the tokens have to stand where the words are looked for."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from diffumask.errors import InputError

from .calls import before_each_call
from .network import Network

ENCODERS = {"tokenizer" + end: "text_encoder" + end for end in ("", "_2", "_3")}


@contextmanager
def seen_ids(pipe: Any) -> Iterator[dict[str, Tensor]]:
    """Note the token ids of the first call of each text encoder, by its tokenizer's name."""
    seen: dict[str, Tensor] = {}

    def noting(name: str) -> Any:
        def see(encoder: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
            ids = args[0] if args else kwargs.get("input_ids")
            if isinstance(ids, Tensor):
                seen.setdefault(name, ids)

        return see

    with ExitStack() as hooks:
        for tokenizer, encoder in ENCODERS.items():
            module = getattr(pipe, encoder, None)
            if isinstance(module, nn.Module) and getattr(pipe, tokenizer, None) is not None:
                hooks.enter_context(before_each_call(module, noting(tokenizer)))
        yield seen


def check_ids(
    pipe: Any,
    network: Network,
    texts: Sequence[str],
    seen: Mapping[str, Tensor],
    arguments: Mapping[str, Any],
) -> None:
    """Raise `InputError` unless each encoder was given its text where the network expects it.

    Other padding, another template around the prompt or weights of words would move the words.
    The text may be cut off: a last token may differ.
    """
    for name, ids in seen.items():
        tokenizer = getattr(pipe, name)
        rows = ids.tolist()
        for text, row in zip(texts, rows, strict=False):
            expected = network.given_ids(tokenizer, text, arguments)
            n = min(len(expected), len(row)) - 1
            start = max(0, len(row) - len(expected)) if network.pads_left else 0
            if len(rows) != len(texts) or row[start : start + n] != expected[:n]:
                raise InputError(
                    f"expected the tokens of {text!r} from the start of what the text encoder"
                    f" is given, got others of {type(tokenizer).__name__}; capture another pipeline"
                )
