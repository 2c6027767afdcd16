"""Images of any size as patches: the dictionary and its inverse, token budgets, windows."""

import jax
import jax.numpy as jnp
import numpy as np

from laminate.data.patches import budget_size, from_patches, to_patches
from laminate.data.views import resized_floats
from laminate.nn import cut_window, to_canvas, window_start

from ..options import Options
from ..reader import Golden

_KEYS = {"patches": "patches", "patch_mask": "mask", "row_idx": "row", "col_idx": "col"}


def produce(golden: Golden) -> dict[str, np.ndarray]:
    """The case `14_vitok_patchify`. The reference counts rows and columns of the time axis too, which is always 0."""
    options = Options("config", golden.config)
    patch, tokens = int(options.take("patch")), int(options.take("max_tokens"))
    tile, largest = options.take("tile"), options.take("max_grid_size")
    options.ignore("big", "note", "sizes", "tolerance")
    options.none_left()
    images = [np.moveaxis(golden.input(name), 0, -1) for name in _numbered(golden, "image")]
    patched = [to_patches(image, patch, tokens) for image in images]
    produced: dict[str, np.ndarray] = {}
    for number, one in enumerate(patched):
        produced |= {f"dict{number}/{theirs}": one[ours] for theirs, ours in _KEYS.items()}
        produced |= _scalars(f"dict{number}", one)
        produced[f"unpacked{number}"] = np.moveaxis(from_patches(one, patch), -1, 0)
    tight = tuple(np.max([one["grid"] for one in patched], axis=0).tolist())
    canvases = {
        "unpatchify_tight": tight,
        "unpatchify_max_grid": tight if largest is None else (largest, largest),
    }
    stacked = {name: jnp.asarray(np.stack([one[name] for one in patched])) for name in _KEYS.values()}
    for name, grid in canvases.items():
        painted = jax.vmap(lambda *arrays, g=grid: to_canvas(*arrays, grid=g, patch=patch))(*stacked.values())
        produced[name] = np.moveaxis(np.asarray(painted), -1, 1)
    sizes = np.stack([one["size"] for one in patched])
    produced |= _windows(golden, np.moveaxis(produced["unpatchify_max_grid"], 1, -1), sizes, tuple(tile))
    big = np.moveaxis(golden.input("big_image"), 0, -1)
    resized = resized_floats(big, *budget_size(*big.shape[:2], patch, tokens, strict=False))
    produced["resized_to_budget"] = np.moveaxis(resized, -1, 0)
    rows = golden.input("budget_h_w_patch_tokens").tolist()
    produced["budget_new_h_w"] = np.asarray([budget_size(*row, strict=False) for row in rows])
    return produced


def _numbered(golden: Golden, name: str) -> list[str]:
    found = [key for key in golden.inputs if key.startswith(name) and key.removeprefix(name).isdigit()]
    return sorted(found, key=lambda key: int(key.removeprefix(name)))


def _scalars(name: str, one: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    rows, columns = one["grid"]
    height, width = one["size"]
    return {
        f"{name}/grid_rows": rows,
        f"{name}/grid_cols": columns,
        f"{name}/orig_height": height,
        f"{name}/orig_width": width,
        f"{name}/time_idx": np.zeros_like(one["row"]),
    }


def _windows(
    golden: Golden, canvases: np.ndarray, sizes: np.ndarray, tile: tuple[int, int]
) -> dict[str, np.ndarray]:
    drawn = np.stack([golden.input(f"tile_uniform_{axis}") for axis in "yx"], axis=-1)
    start = jax.vmap(lambda u, size: jax.vmap(lambda one: window_start(one, size, tile))(u))
    from_uniform = np.asarray(start(jnp.asarray(drawn), jnp.asarray(sizes)))
    given = np.stack([golden.input(f"tile_start_{axis}") for axis in "yx"], axis=-1)
    most = np.maximum(np.asarray(canvases.shape[1:3]) - np.asarray(tile), 0)
    clamped = np.clip(given, 0, most)
    cut = jax.vmap(
        lambda canvas, starts: jax.vmap(lambda s: cut_window(canvas, s, tile, beyond=-1.0))(starts)
    )
    tiles = np.asarray(cut(jnp.asarray(canvases), jnp.asarray(given)))
    produced = {"tiles": np.moveaxis(tiles, -1, 2)}
    for number, axis in enumerate("yx"):
        produced[f"tile_start_{axis}_from_uniform"] = from_uniform[..., number]
        produced[f"tile_start_{axis}_clamped"] = clamped[..., number]
    return produced
