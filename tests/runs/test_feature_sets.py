"""Features of sets are the same on any mesh, and nothing of an image is kept but them."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

from laminate.evals.protocols import Protocol
from laminate.evals.set_measures import SetFeatures, measure_sets
from laminate.parallel.mesh import MeshShape, build_mesh
from laminate.runs.feature_networks import FeatureNetwork
from laminate.runs.feature_sets import Extractor, some_of

RNG = np.random.default_rng(0)


class Toy(eqx.Module):
    """Four numbers of an image, and its rows as spatial features."""

    weight: Array

    def __call__(self, image: Array) -> dict[str, Array]:
        pool = jnp.sin(image.reshape(-1) @ self.weight)
        return {"pool": pool, "spatial": image.mean(axis=(1, 2))}


NETWORK = FeatureNetwork(
    "toy", "a toy", Toy(np.asarray(RNG.normal(size=(60, 4)), np.float32)), "none", "0", 5, "bilinear"
)


def images(count: int, shift: int = 0) -> np.ndarray:
    return (RNG.integers(0, 200, (count, 5, 4, 3)) + shift).astype(np.uint8)


def gathered(shape: MeshShape, sets: list[np.ndarray]) -> list[SetFeatures]:
    extractor = Extractor([NETWORK], build_mesh(shape), global_batch_size=8)
    return [extractor.gather("a set", iter(np.array_split(one, 3)))["toy"] for one in sets]


def test_features_moments_and_distances_are_the_same_on_any_mesh_and_in_any_parts() -> None:
    sets = [images(21), images(30, 40)]
    alone, many = (gathered(MeshShape(*shape), sets) for shape in ((1, 1), (2, 2)))
    for one, other in zip(alone, many, strict=True):
        assert one.pool is not None and other.pool is not None and one.spatial is not None
        np.testing.assert_allclose(one.pool, other.pool, atol=1e-6)
        assert other.spatial is not None and one.spatial.count == other.spatial.count == one.count
        np.testing.assert_allclose(one.spatial.covariance, other.spatial.covariance, atol=1e-6)
    values = [
        {m.name: m.value for m in measure_sets(*sides, Protocol("", "toy"), "toy")} for sides in (alone, many)
    ]
    for name, value in values[0].items():
        np.testing.assert_allclose(values[1][name], value, rtol=1e-5, atol=1e-6)
    assert "sfid" in values[0]


def test_some_images_of_a_set_are_the_set_of_these_images() -> None:
    whole, rows = images(21), [2, 3, 11]
    every, alone = gathered(MeshShape(1, 1), [whole, whole[rows]])
    some = some_of(every, "a set", rows)
    np.testing.assert_array_equal(some.pool, alone.pool)
    assert (some.sha256, some.count) == (alone.sha256, 3)
    with pytest.raises(ValueError, match="a file has moments alone, and no features of some"):
        some_of(SetFeatures("a file", None), "some", rows)


def test_a_set_of_no_images_or_of_several_sizes_is_refused() -> None:
    extractor = Extractor([NETWORK], build_mesh(MeshShape(1, 1)), global_batch_size=8)
    with pytest.raises(ValueError, match="nothing has no image"):
        extractor.gather("nothing", iter(()))
    with pytest.raises(ValueError, match=r"sizes \(5, 4, 3\) and \(4, 4, 3\)"):
        extractor.gather("two", iter([images(3), images(3)[:, :4]]))
    floats = images(3).astype(np.float32) / 255
    floats[1, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="broken: pool of an image is not finite"):
        extractor.gather("broken", iter([floats]))
