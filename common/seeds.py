"""One way to mix numbers into a seed."""

import numpy as np


def seed_of(*numbers: int) -> int:
    """A well-mixed 32-bit seed for torch from a run's seed and where in the run we are."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
