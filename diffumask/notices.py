"""Notices of libraries that nobody who calls us can follow, left out while we call these."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

NOTICES = {  # by logger
    # of the image processors of a pipeline that draws, which nobody uses
    "transformers.utils.import_utils": "requires torchvision (not installed)",
    # of SAM 2 and 3, whose published checkpoints are of the model for videos
    "transformers.configuration_utils": "a checkpoint that shares a subset of the architecture",
    # of weights in 8 bits, which float32 and bfloat16 go well with; float16 is refused
    "diffusers.quantizers.torchao.torchao_quantizer": "for integer quantization, but only bfloat16",
    # of a VAE that a pipeline, or we, bring to float32 and back, with an empty list of modules
    "diffusers.models.modeling_utils": "that should be kept in float32: []",
}


@contextmanager
def notices_off() -> Iterator[None]:
    """Leave these notices out; all other lines of the loggers come through."""

    def is_other(record: logging.LogRecord) -> bool:
        return NOTICES[record.name] not in record.getMessage()

    with ExitStack() as stack:
        for name in NOTICES:
            logger = logging.getLogger(name)
            logger.addFilter(is_other)
            stack.callback(logger.removeFilter, is_other)
        yield
