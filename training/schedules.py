"""Learning rates, temperature and weights as pure functions of the step."""


def linear_schedule(step: int, warmup_steps: int, max_steps: int) -> float:
    """The share of the peak learning rate for the update of `step` (from 0): a linear rise, then a linear fall to 0."""
    return min((step + 1) / max(1, warmup_steps), (max_steps - step) / max(1, max_steps - warmup_steps), 1.0)


def wsd_schedule(step: int, warmup_steps: int, max_steps: int, decay: float = 0.1) -> float:
    """The same for warm-up, stable, decay: a linear rise, a constant rate, a linear fall to 0 over the last tenth.

    A run read before its fall is a shorter run, but for the fall (Hu et al. 2024, section 4).
    """
    return min((step + 1) / max(1, warmup_steps), (max_steps - step) / max(1, round(decay * max_steps)), 1.0)


SCHEDULES = {"linear": linear_schedule, "wsd": wsd_schedule}


def temperature(step: int, max_steps: int, start: float = 5.0, end: float = 0.5, share: float = 0.7675) -> float:
    """Of the Gumbel-softmax at a step (from 0): a geometric fall from `start` that reaches `end` at a share of the run.

        tau(step) = max(start * (end / start)^(step / (share * max_steps)), end)

    At 100,000 steps this is the paper's `max(5 * (1 - 3e-5)^step, 0.5)`, which reaches 0.5 at step 76,752; in a shorter
    run the paper's own formula would leave the types soft to the end.
    """
    return max(start * (end / start) ** (step / (share * max_steps)), end)


def ramp(step: int, ramp_steps: float) -> float:
    """The share of a loss' weight at a step (from 0): a linear rise from 0 over `ramp_steps`, then 1."""
    return min(1.0, step / ramp_steps) if ramp_steps > 0 else 1.0
