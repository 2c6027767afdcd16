"""What devices say to each other, and the gradients that come back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from laminate.parallel.collectives import gather, gather_by_hops
from laminate.parallel.mesh import AXES, MeshShape, build_mesh
from tests.oracles.arrays import normal


@pytest.mark.parametrize("shape", [(2, 4), (4, 2), (1, 8)])
@pytest.mark.parametrize("axis", [0, 2])
def test_the_gradient_by_hops_is_the_gradient_of_a_gather(shape, axis):
    mesh = build_mesh(MeshShape(*shape))
    x, weights = normal(0, 8, 3, 16), normal(1, 8, 8, 3, 16)  # each device weighs the whole in its own way
    names = [None, None, None]
    names[axis] = "fsdp"
    spec = P(*names)
    gradients = []
    for collect in (gather, gather_by_hops):

        def local(piece, weights, collect=collect):
            loss = lambda piece: jnp.sum(jnp.sin(collect(piece, axis)) * weights[0])
            return jax.lax.psum(jax.grad(loss)(jax.lax.pcast(piece, "data", to="varying")), "data")

        step = jax.shard_map(local, mesh=mesh, in_specs=(spec, P(AXES)), out_specs=spec)
        gradients.append(jax.jit(step)(x, weights))
    wanted = np.cos(x) * np.sum(weights, axis=0)
    np.testing.assert_allclose(gradients[0], wanted, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(gradients[1], wanted, rtol=1e-5, atol=1e-5)
