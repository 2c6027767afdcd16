"""The nearest setting that fits: compiled one after another, those that an estimate rules out left aside."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from laminate.parallel.mesh import MeshShape
from laminate.planning.plan import Plan, Setting

REMAT = ("none", "dots", "block")  # each keeps less than the one before
KEPT_BY_REMAT = {"none": 1.0, "attention": 0.8, "dots": 0.5, "block": 0.12}  # roughly, of the activations


def candidates(setting: Setting) -> Iterator[Setting]:
    """Settings near `setting`, the nearest first.

    Those that change nothing in the result come first: what is computed again, the parts of the batch, the mesh. Then
    halves of the batch.
    """
    seen = {setting}
    for global_batch_size in _halves(setting.global_batch_size, setting.mesh.devices):
        for mesh in _meshes(setting.mesh):
            for parts in (1, 2, 4, 8):
                for remat in _stronger(setting.remat):
                    one = Setting(mesh, global_batch_size, max(parts, setting.micro_batches), remat)
                    share = global_batch_size // mesh.devices
                    if one not in seen and share % one.micro_batches == 0 and share >= one.micro_batches:
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


def estimated_bytes(setting: Setting, known: Plan, held: int) -> float:
    """Bytes that `setting` may need, from one that was compiled: what is held, and activations in proportion."""
    before = known.needed_bytes - known.held.total
    share = setting.device_batch_size / known.setting.device_batch_size
    kept = KEPT_BY_REMAT[setting.remat] / KEPT_BY_REMAT[known.setting.remat]
    return held + before * share * min(1.0, kept)


def suggest(
    first: Plan, plan: Callable[[Setting], Plan], held: Callable[[Setting], int]
) -> tuple[Plan | None, int]:
    """The nearest plan that fits, None if there is none, and how many were compiled.

    `held(setting)` says without compiling how many bytes a device holds between steps. A setting is left aside if
    that is too much by itself, or if the estimate from what was compiled so far is beyond capacity by half.
    """
    known, compiled = [first], 0
    for setting in candidates(first.setting):
        bytes_held = held(setting)
        if min(estimated_bytes(setting, one, bytes_held) for one in known) > 1.5 * first.capacity_bytes:
            continue
        if bytes_held > first.capacity_bytes:
            continue
        compiled += 1
        found = plan(setting)
        if found.fits:
            return found, compiled
        known.append(found)
    return None, compiled
