"""Epochs turned into optimiser updates, and a run cut into warm-up, plateau and decay. Needs no JAX."""

import dataclasses


def steps_from_epochs(examples: int, epochs: int, global_batch_size: int) -> int:
    """Optimiser updates that `epochs` passes over `examples` make: floor(examples * epochs / batch).

    Raises:
        ValueError: a count below one, or a run too short for a single batch.
    """
    for name, value in (("examples", examples), ("epochs", epochs), ("global_batch_size", global_batch_size)):
        if value < 1:
            raise ValueError(f"{name} is {value}; it must be at least 1.")
    steps = examples * epochs // global_batch_size
    if steps < 1:
        raise ValueError(
            f"{epochs} epochs of {examples} examples do not fill one global batch of {global_batch_size}; "
            f"use a global batch of at most {examples * epochs}."
        )
    return steps


@dataclasses.dataclass(frozen=True)
class Phases:
    """A run of `steps` updates: the first `warmup_steps` rise, the last `decay_steps` fall.

    A decay longer than what the warm-up leaves is cut to what it leaves. A warm-up longer than the run is
    kept: such a run sees the first updates of the longer one.

    Raises:
        ValueError: `steps` below one or a negative phase.
    """

    steps: int
    warmup_steps: int
    decay_steps: int

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps is {self.steps}; a run needs at least 1.")
        if self.warmup_steps < 0 or self.decay_steps < 0:
            raise ValueError(
                f"warmup_steps is {self.warmup_steps} and decay_steps is {self.decay_steps}; "
                "neither may be negative."
            )
        object.__setattr__(self, "decay_steps", min(self.decay_steps, max(self.steps - self.warmup_steps, 0)))

    @property
    def decay_start(self) -> int:
        """The update from which the learning rate falls; the checkpoint of this step is worth keeping."""
        return self.steps - self.decay_steps


def phases_from_epochs(
    examples: int, epochs: int, global_batch_size: int, *, warmup_epochs: int, decay_epochs: int | None = None
) -> Phases:
    """The phases of FlatDINO's recipes, which are counted in epochs of floor(steps / epochs) updates.

    `decay_epochs=None` decays for as many epochs as the warm-up.
    """
    steps = steps_from_epochs(examples, epochs, global_batch_size)
    steps_per_epoch = steps // epochs
    decay_epochs = warmup_epochs if decay_epochs is None else decay_epochs
    return Phases(steps, steps_per_epoch * warmup_epochs, steps_per_epoch * decay_epochs)
