"""The first of some settings that fits: compiled one after another, those that an estimate rules out left aside."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Protocol, TypeVar, runtime_checkable

from laminate.parallel.mesh import MeshShape
from laminate.planning.memory import Held
from laminate.planning.plan import Setting

REMAT = ("none", "products", "dots", "block")  # each keeps less than the one before
KEPT_BY_REMAT = {
    "none": 1.0,
    "attention": 0.8,
    "products": 0.4,
    "dots": 0.25,
    "block": 0.12,
}  # roughly, of the activations
FASTEST = "dots"
"""Where a search begins. An accelerator waits for its memory more than for its products, so keeping more takes longer:
the schedule of `fast-32-sb-128` on `v5e:4x8`, 512 images, is 80 ms and 18 GB so, 104 ms and 35 GB with all kept;
that of `long-32-bl-128` 219 ms so, and 253 ms with all products kept."""
RESERVE = 1 / 20
"""The share of a device's memory that is left free for what stands beside the step: batches under way, the program
itself, what validation needs."""
_PARTS = (1, 2, 4, 8)


@runtime_checkable
class Answer(Protocol):
    """What is known of a setting once it was compiled, in bytes of one device; `fits` is what the compiler says."""

    @property
    def setting(self) -> Setting: ...
    @property
    def held(self) -> Held: ...
    @property
    def needed_bytes(self) -> int: ...
    @property
    def capacity_bytes(self) -> int: ...
    @property
    def fits(self) -> bool: ...


A = TypeVar("A", bound=Answer)


def has_room(answer: Answer) -> bool:
    """Whether it fits, and leaves the `RESERVE`."""
    return answer.fits and answer.needed_bytes <= (1 - RESERVE) * answer.capacity_bytes


def choices(setting: Setting, *, cuts_batch: bool = True) -> Iterator[Setting]:
    """`setting` and all that trains the same with less memory on the same mesh, the cheapest first: what is computed
    again and, where the batch may be cut, in how many parts it is gone through."""
    share = setting.global_batch_size // setting.mesh.devices
    counts = dict.fromkeys(max(parts, setting.micro_batches) for parts in (_PARTS if cuts_batch else (1,)))
    for count in counts:
        for remat in _stronger(setting.remat):
            if share % count == 0:
                yield replace(setting, micro_batches=count, remat=remat)


def candidates(setting: Setting) -> Iterator[Setting]:
    """Settings near `setting`, the nearest first.

    Those that change nothing in the result come first: what is computed again, the parts of the batch, the mesh. Then
    halves of the batch.
    """
    seen = {setting}
    for global_batch_size in _halves(setting.global_batch_size, setting.mesh.devices):
        for mesh in _meshes(setting.mesh):
            for one in choices(replace(setting, mesh=mesh, global_batch_size=global_batch_size)):
                if one not in seen:
                    seen.add(one)
                    yield one


def _halves(global_batch_size: int, devices: int) -> Iterator[int]:
    while global_batch_size >= devices and global_batch_size % devices == 0:
        yield global_batch_size
        global_batch_size //= 2


def _meshes(mesh: MeshShape) -> Iterator[MeshShape]:
    """`mesh`, then the same devices with parameters cut over more and more of them."""
    yield mesh
    while mesh.data % 2 == 0:
        mesh = replace(mesh, data=mesh.data // 2, fsdp=mesh.fsdp * 2)
        yield mesh


def _stronger(remat: str) -> tuple[str, ...]:
    return REMAT[REMAT.index(remat) :] if remat in REMAT else (remat, *REMAT[1:])


def estimated_bytes(setting: Setting, known: Answer, held: int) -> float:
    """Bytes that `setting` may need, from one that was compiled: what is held, and activations in proportion."""
    before = known.needed_bytes - known.held.total
    share = setting.device_batch_size / known.setting.device_batch_size
    kept = KEPT_BY_REMAT[setting.remat] / KEPT_BY_REMAT[known.setting.remat]
    return held + before * share * min(1.0, kept)


def first_with_room(
    settings: Iterable[Setting],
    compile_one: Callable[[Setting], A],
    least: Callable[[Setting], tuple[int, int]],
    *,
    capacity: int,
    known: Iterable[A] = (),
) -> tuple[A | None, list[A], dict[Setting, int]]:
    """The first that has room, None if there is none; all that were compiled; and the bytes that ruled others out.

    `least(setting)` says without compiling how many bytes a device holds between steps, and how many it needs at
    least. A setting is left aside if the latter is more than there is, or if the estimate from what was compiled so
    far is beyond capacity by half.
    """
    compiled: list[A] = []
    before, ruled_out = list(known), dict[Setting, int]()
    for setting in settings:
        held, needed = least(setting)
        guesses = [estimated_bytes(setting, one, held) for one in (*before, *compiled)]
        if needed > capacity or min(guesses, default=0.0) > 1.5 * capacity:
            ruled_out[setting] = needed
            continue
        compiled.append(compile_one(setting))
        if has_room(compiled[-1]):
            return compiled[-1], compiled, ruled_out
    return None, compiled, ruled_out
