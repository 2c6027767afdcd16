"""What a path from noise to data is, whatever space it runs in."""

import abc
from collections.abc import Callable
from typing import Any

from jaxtyping import Array, Float, PyTree

from laminate.types import Scalar

State = PyTree[Float[Array, "..."]]
Velocity = Callable[[Any, Scalar], Any]
"""`(state, t) -> d state / d t`, a tree like the state."""


class Path(abc.ABC):
    """One way from each noise, at time 0, to each data point, at time 1.

    Losses and samplers ask the path for all that they need to know of the space: where a pair is at a time, and how
    fast (`point`, `velocity`); what velocity a prediction of the data means (`data_to_velocity`); where states lie
    (`project`), and which directions stay there (`tangent`). In flat space, `AffinePath`, these two change nothing.
    """

    @abc.abstractmethod
    def point(self, data: State, noise: State, t: Scalar) -> State:
        """The state at time `t` between a noise and a data point."""

    @abc.abstractmethod
    def velocity(self, data: State, noise: State, t: Scalar) -> State:
        """d x_t / d t of the same pair."""

    @abc.abstractmethod
    def data_to_velocity(self, x: State, data: State, t: Scalar, *, min_one_minus_t: float | Scalar) -> State:
        """The velocity at `x` of the path that is there at time `t` and ends in `data`, which a network predicts.

        From the time `1 - min_one_minus_t` on it is as at that time, since what remains is a divisor. The released
        FlatDINO takes `1 / (steps * time_shift)`.
        """

    @abc.abstractmethod
    def project(self, x: State) -> State:
        """The state of the space that any numbers stand for; of standard normal ones, a draw of the noise."""

    @abc.abstractmethod
    def tangent(self, x: State, velocity: State) -> State:
        """The part of `velocity` along which a state at `x` can move."""
