"""CLIP's vision tower as its authors describe it, in NumPy and float64, on weights under their published names."""

from collections.abc import Mapping

import numpy as np
from scipy.special import expit


def drawn_weights(
    *, dim: int, depth: int, hidden: int, patch: int, grid: int, out_dim: int, seed: int = 0
) -> dict[str, np.ndarray]:
    """A small checkpoint in the published layout, a text tower's first table beside it."""
    rng = np.random.default_rng(seed)
    tower = "vision_model."
    shapes: dict[str, tuple[int, ...]] = {
        f"{tower}embeddings.class_embedding": (dim,),
        f"{tower}embeddings.patch_embedding.weight": (dim, 3, patch, patch),
        f"{tower}embeddings.position_embedding.weight": (grid**2 + 1, dim),
        "visual_projection.weight": (out_dim, dim),
        "text_model.embeddings.token_embedding.weight": (5, 7),
        "text_projection.weight": (out_dim, 7),
        "logit_scale": (),
    }
    for norm in ("pre_layrnorm", "post_layernorm"):
        shapes |= {f"{tower}{norm}.{part}": (dim,) for part in ("weight", "bias")}
    for layer in range(depth):
        block = f"{tower}encoder.layers.{layer}."
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= {f"{block}self_attn.{name}.weight": (dim, dim), f"{block}self_attn.{name}.bias": (dim,)}
        for name in ("layer_norm1", "layer_norm2"):
            shapes |= {f"{block}{name}.weight": (dim,), f"{block}{name}.bias": (dim,)}
        shapes |= {f"{block}mlp.fc1.weight": (hidden, dim), f"{block}mlp.fc1.bias": (hidden,)}
        shapes |= {f"{block}mlp.fc2.weight": (dim, hidden), f"{block}mlp.fc2.bias": (dim,)}
    drawn = {name: np.asarray(0.3 * rng.normal(size=shape), np.float32) for name, shape in shapes.items()}
    drawn[f"{tower}embeddings.position_ids"] = np.arange(grid**2 + 1)[None]
    return drawn


def image_embedding(weights: Mapping[str, np.ndarray], image: np.ndarray, *, heads: int) -> np.ndarray:
    """Of a normalised image `[height, width, 3]`."""
    w = {name: np.asarray(array, np.float64) for name, array in weights.items()}
    tower = "vision_model."
    kernel = w[f"{tower}embeddings.patch_embedding.weight"]
    patch = kernel.shape[2]
    tokens = [w[f"{tower}embeddings.class_embedding"]]
    for row in range(0, image.shape[0], patch):
        for column in range(0, image.shape[1], patch):
            window = image[row : row + patch, column : column + patch]
            tokens.append(np.einsum("dcyx,yxc->d", kernel, window))
    x = np.stack(tokens) + w[f"{tower}embeddings.position_embedding.weight"]
    x = _norm(w, f"{tower}pre_layrnorm", x)
    layer = 0
    while f"{tower}encoder.layers.{layer}.mlp.fc1.bias" in w:
        block = f"{tower}encoder.layers.{layer}."
        x = x + _attention(w, f"{block}self_attn.", _norm(w, f"{block}layer_norm1", x), heads)
        inner = _linear(w, f"{block}mlp.fc1", _norm(w, f"{block}layer_norm2", x))
        x = x + _linear(w, f"{block}mlp.fc2", inner * expit(1.702 * inner))
        layer += 1
    return w["visual_projection.weight"] @ _norm(w, f"{tower}post_layernorm", x[0])


def _norm(w: Mapping[str, np.ndarray], name: str, x: np.ndarray) -> np.ndarray:
    centred = x - x.mean(axis=-1, keepdims=True)
    scaled = centred / np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + 1e-5)
    return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]


def _linear(w: Mapping[str, np.ndarray], name: str, x: np.ndarray) -> np.ndarray:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def _attention(w: Mapping[str, np.ndarray], name: str, x: np.ndarray, heads: int) -> np.ndarray:
    q, k, v = (
        _linear(w, f"{name}{part}_proj", x).reshape(len(x), heads, -1).transpose(1, 0, 2) for part in "qkv"
    )
    logits = q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[-1])
    shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares /= shares.sum(axis=-1, keepdims=True)
    return _linear(w, f"{name}out_proj", (shares @ v).transpose(1, 0, 2).reshape(len(x), -1))
