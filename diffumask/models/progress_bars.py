"""The bars of libraries, which are hidden where ours tell how far it has come."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from huggingface_hub import utils as hub


@contextmanager
def progress_bars_off() -> Iterator[None]:
    """Hide the bars of the hub, and those that loaded libraries show for the parts of a model."""
    with ExitStack() as stack:
        were_off = hub.are_progress_bars_disabled()
        # Last, as to enable those of transformers enables these too.
        stack.callback(hub.disable_progress_bars if were_off else hub.enable_progress_bars)
        hub.disable_progress_bars()
        for name in ("diffusers.utils.logging", "transformers.utils.logging"):
            library = sys.modules.get(name)
            if library is not None and library.is_progress_bar_enabled():
                stack.callback(library.enable_progress_bar)
                library.disable_progress_bar()
        yield
