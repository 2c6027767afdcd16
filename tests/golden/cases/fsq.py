"""Finite scalar quantisation alone."""

import jax
import jax.numpy as jnp
import numpy as np

from laminate.bottlenecks.fsq import Fsq

from ..reader import CannotRun, Golden


def produce(golden: Golden) -> dict[str, np.ndarray]:
    levels, eps = golden.config["levels"], float(golden.config.get("eps", 1e-3))
    if not isinstance(levels, dict):
        raise CannotRun(f"{golden.path}: config.levels should map tags to levels, got {levels}")
    produced: dict[str, np.ndarray] = {}
    for tag, of_tag in levels.items():
        fsq = Fsq(tuple(of_tag), eps=eps)
        z = jnp.asarray(golden.input(f"{tag}/z"))
        codes, pullback = jax.vjp(fsq.codes, z)
        outputs = {
            "bound": fsq.bound(z),
            "codes": codes,
            "indices": fsq.indices_from_codes(codes),
            "codes_of_indices": fsq.codes_from_indices(jnp.asarray(golden.input(f"{tag}/indices"))),
            "grad_z": pullback(jnp.asarray(golden.input(f"{tag}/cotangent")))[0],
            "const/basis": fsq.basis,
            "const/half_l": fsq.half_l,
            "const/half_width": fsq.half_width,
            "const/offset": fsq.offset,
            "const/shift": fsq.shift,
        }
        produced |= {f"{tag}/{name}": np.asarray(value) for name, value in outputs.items()}
    return produced
