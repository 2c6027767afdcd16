"""One safetensors file of a trained module: for readers that want the weights and nothing else."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from etils import epath

from laminate.train.fingerprint import named_leaves


def save_weights(path: epath.PathLike, module: Any, *, metadata: dict[str, str]) -> None:
    """Every array of `module` under its path in the module, with `metadata` in the header."""
    arrays = {_dotted(name): np.asarray(leaf) for name, leaf in named_leaves(module).items()}
    epath.Path(path).write_bytes(safetensors.numpy.save(arrays, metadata=metadata))


def load_weights(path: epath.PathLike, like: Any) -> Any:
    """The module that `save_weights` wrote, in the structure of `like` (arrays or their shapes).

    Raises ValueError naming every array that is missing, unexpected, or of another shape or dtype.
    """
    saved = safetensors.numpy.load(epath.Path(path).read_bytes())
    wanted = {_dotted(name): leaf for name, leaf in named_leaves(like).items()}
    problems = [f"{name} is missing" for name in wanted.keys() - saved.keys()]
    problems += [f"{name} is unexpected" for name in saved.keys() - wanted.keys()]
    for name in wanted.keys() & saved.keys():
        found, expected = saved[name], wanted[name]
        if (found.shape, found.dtype) != (expected.shape, expected.dtype):
            problems.append(
                f"{name} is {found.dtype}{found.shape}, expected {expected.dtype}{expected.shape}"
            )
    if problems:
        raise ValueError(f"{path} does not fit this module: {'; '.join(sorted(problems))}.")
    return jax.tree.unflatten(jax.tree.structure(like), [jnp.asarray(saved[name]) for name in wanted])


def _dotted(name: str) -> str:
    return name.removeprefix(".")
