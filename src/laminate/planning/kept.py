"""What a step keeps from its forward for its backward pass, told from the traced program without compiling it."""

import math
from collections.abc import Iterator
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

_Stacked = dict[Any, int]  # bytes of the results of scans that are still to be used, by variable


def stacked_bytes(traced: ClosedJaxpr) -> int:
    """The most bytes of one device that outputs of scans take at a time, each from where it is made to its last use.

    A scan over depth hands what the backward pass needs of every layer on as such outputs, and no compiler can leave
    out one that is used. So no program needs less, but for what is held between steps; it may well need more.
    """
    return _most(traced.jaxpr)[0]


def _most(jaxpr: Jaxpr) -> tuple[int, list[int]]:
    """That of one program, and how many bytes of each of its results are outputs of a scan."""
    last = {var: place for place, one in enumerate(jaxpr.eqns) for var in one.invars if _is_variable(var)}
    end = len(jaxpr.eqns)
    last |= {var: end for var in jaxpr.outvars if _is_variable(var)}
    alive: _Stacked = {}
    made: _Stacked = {}
    most = 0
    for place, one in enumerate(jaxpr.eqns):
        inner, results = _of_equation(one)
        most = max(most, sum(alive.values()) + inner)
        new = {
            var: size
            for var, size in zip(one.outvars, results, strict=True)
            if size and last.get(var, -1) > place
        }
        made |= new
        alive |= new
        most = max(most, sum(alive.values()))
        alive = {var: size for var, size in alive.items() if last[var] > place}
    return most, [made.get(var, 0) if _is_variable(var) else 0 for var in jaxpr.outvars]


def _of_equation(one: Any) -> tuple[int, list[int]]:
    """The most inside one equation, and how many bytes of each result are outputs of a scan."""
    found = [_most(jaxpr) for jaxpr in _programs(one.params)]
    inner = max((most for most, _ in found), default=0)
    if one.primitive.name == "scan":
        carried = one.params["num_carry"]
        return inner, [0] * carried + [_bytes(var.aval) for var in one.outvars[carried:]]
    if len(found) == 1 and len(found[0][1]) == len(one.outvars):
        return inner, found[0][1]
    return inner, [0] * len(one.outvars)


def _programs(params: dict[str, Any]) -> Iterator[Jaxpr]:
    for value in params.values():
        for one in value if isinstance(value, tuple | list) else (value,):
            if isinstance(one, ClosedJaxpr):
                yield one.jaxpr
            elif isinstance(one, Jaxpr):
                yield one


def _is_variable(var: Any) -> bool:
    return not isinstance(var, Literal)


def _bytes(aval: Any) -> int:
    if jax.numpy.issubdtype(aval.dtype, jax.dtypes.prng_key):
        return 8 * math.prod(aval.shape)
    return math.prod(aval.shape) * aval.dtype.itemsize
