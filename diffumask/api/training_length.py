"""How long a training is that nobody told for how long."""

import math

PASSES = 60
LEAST_STEPS, MOST_STEPS = 150, 1000


def most_steps(n_images: int, images_per_step: int) -> int:
    """Return after how many steps a training on so many images ends, if no plateau comes before.

    It sees each image 60 times, yet takes no less than 150 steps, as a network from nothing has
    learned little before, and no more than 1,000.
    """
    wanted = math.ceil(PASSES * n_images / max(images_per_step, 1))
    return min(max(wanted, LEAST_STEPS), MOST_STEPS)
