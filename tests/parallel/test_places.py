"""Where devices stand, and groups of them that are rings of neighbours."""

import itertools
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laminate.parallel.places import in_rings, places


@dataclass(frozen=True)
class Device:
    """As much of a TPU device as says where it stands."""

    coords: tuple[int, ...]
    process_index: int = 0
    slice_index: int | None = None


def torus(*sizes, corner=(0, 0, 0)):
    return [
        Device(tuple(c + at for c, at in zip(corner, coordinates, strict=True)))
        for coordinates in itertools.product(*map(range, sizes))
    ]


def hops(row):
    pairs = zip(row, [*row[1:], row[0]], strict=True)
    return [sum(abs(a - b) for a, b in zip(one.coords, other.coords, strict=True)) for one, other in pairs]


def test_a_device_of_a_single_slice_is_in_slice_0():
    first, second = places([Device((1, 2, 0), 3), Device((0, 0, 0), 5, 1)])
    assert (first.host, first.slice_index, first.coordinates) == (3, 0, (1, 2, 0))
    assert second.slice_index == 1


@given(
    sizes=st.tuples(st.sampled_from([2, 4, 6]), st.sampled_from([4, 8]), st.sampled_from([1, 2, 4])),
    length=st.sampled_from([4, 8, 16, 32]),
    corner=st.tuples(*[st.integers(0, 4)] * 3),
)
def test_rows_are_rings_of_neighbours_that_hold_every_device_once(sizes, length, corner):
    devices = torus(*sizes, corner=corner)
    rows = in_rings(devices, length)
    if rows is not None:
        assert rows.shape == (len(devices) // length, length)
        assert set(rows.flat) == set(devices)
        assert all(set(hops(list(row))) == {1} for row in rows)


@pytest.mark.parametrize(
    ("sizes", "length"), [((4, 8, 1), 8), ((4, 8, 1), 4), ((4, 8, 1), 32), ((4, 4, 4), 8), ((2, 2, 1), 4)]
)
def test_the_slices_that_people_rent_have_such_rings(sizes, length):
    assert in_rings(torus(*sizes), length) is not None


@pytest.mark.parametrize(
    ("sizes", "length"), [((4, 8, 1), 2), ((1, 8, 1), 8), ((3, 3, 1), 9), ((4, 8, 1), 12)]
)
def test_where_there_are_none_none_are_made_up(sizes, length):
    assert in_rings(torus(*sizes), length) is None


def test_two_devices_at_one_place_are_no_torus():
    assert in_rings([*torus(2, 2, 1), *torus(2, 2, 1)], 4) is None
