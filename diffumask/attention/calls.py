"""What is called before a module is."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


@contextmanager
def before_each_call(module: nn.Module, see: Callable[..., None]) -> Iterator[None]:
    """Call `see` before each call of a module, outside of what is compiled."""
    compiled = module._compiled_call_impl  # set by module.compile(), and it holds the hooks
    if compiled is None:
        hook = module.register_forward_pre_hook(see, with_kwargs=True)
        try:
            yield
        finally:
            hook.remove()
        return

    def seeing(*args: Any, **kwargs: Any) -> Any:
        see(module, args, kwargs)
        return compiled(*args, **kwargs)

    module._compiled_call_impl = seeing
    try:
        yield
    finally:
        module._compiled_call_impl = compiled
