"""What a frozen teacher costs: images per second of its forward pass, beside a large matrix product.

The weights are random, of the shapes of the published ones: speed does not depend on them.
"""

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.matmul import against_matmul, matmul_flops, measured
from laminate.pretrained.teachers import VitTeacher, teacher_shapes


def measure(*, name: str, images: int, image_size: int, turns: int, precision: str) -> dict[str, object]:
    rng, dtype = np.random.default_rng(0), jnp.dtype(precision)
    shapes = teacher_shapes(name)
    teacher = jax.tree.map(
        lambda leaf: jnp.asarray(0.02 * rng.standard_normal(leaf.shape), leaf.dtype), shapes
    )
    batch = jnp.asarray(rng.random((images, image_size, image_size, 3)), jnp.float32)
    run = jax.jit(jax.vmap(lambda teacher, image: teacher(image, dtype=dtype), in_axes=(None, 0)))
    compiled = run.lower(teacher, batch).compile()
    flops = images * forward_flops(teacher)
    speeds = against_matmul(lambda: compiled(teacher, batch), flops, dtype, turns)
    return {
        "name": name,
        "images": images,
        "precision": precision,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(teacher)),
        "gflops_per_image": round(flops / images / 1e9, 1),
        "images_per_s": round(images * speeds[0] / flops, 2),
        **measured("forward", speeds, flops),
    }


def forward_flops(teacher: VitTeacher) -> int:
    """Of one image: the layers, and the linear map of its patches."""
    vit = teacher.vit
    patches = 2 * vit.patch.projection.weight.size * teacher.tokens
    return matmul_flops(vit, teacher.tokens + vit.prefix, teacher.tokens) + patches
