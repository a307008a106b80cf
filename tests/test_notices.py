"""What libraries print while ours calls them: nothing that a user cannot follow."""

import logging
import subprocess
import sys

from diffumask.notices import NOTICES, notices_off

PROGRAM = """
import sys
import diffumask
made = diffumask.generate(
    classes=["bird"], n=1, out=sys.argv[1], num_inference_steps=1, height=64, width=64
)
assert len(made) == 1

import benchmarks.speed.capture
import diffumask.tiny.stages
import numpy as np
from diffumask.models import load, resolve

pipe = load(resolve("tiny"), "cpu", "bfloat16")
prompt = diffumask.Prompt("a photo of a cat", (diffumask.Target("cat", "cat", 8),))
image = np.zeros((64, 64, 3), np.uint8)
for _ in range(2):
    assert diffumask.observe(pipe, [image], [prompt], seeds=[0])[0].heats
"""


def test_libraries_print_nothing_that_nobody_can_follow(tmp_path):
    words = [sys.executable, "-c", PROGRAM, str(tmp_path / "out")]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout == ""


def test_only_these_notices_are_left_out_and_only_meanwhile(caplog):
    for name, text in NOTICES.items():
        logger = logging.getLogger(name)
        caplog.clear()
        with caplog.filtering(lambda record: True):
            logger.addHandler(caplog.handler)  # that of the library does not propagate
            before = list(logger.filters)
            with notices_off():
                logger.warning("modules %s", text)
                logger.warning("another")
            assert logger.filters == before
            logger.warning("modules %s", text)
            logger.removeHandler(caplog.handler)
        assert set(caplog.messages) == {"another", f"modules {text}"}
        assert caplog.messages[0] == "another"
