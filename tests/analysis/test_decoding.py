"""The measures of an image decoder are those of the single images, put together over a set."""

import jax
import jax.numpy as jnp
import numpy as np

from laminate.analysis.decoding import decoding_measures, summarise_decoding
from laminate.evals.psnr import psnr
from laminate.evals.sharpness import high_frequency_energy
from laminate.losses.filters import gaussian_blur
from laminate.losses.pyramid import pyramid_distance
from laminate.losses.structural import ssim
from laminate.parallel.mesh import MeshShape, build_mesh
from laminate.train.step import make_evaluation
from tests.oracles.arrays import normal

ORIGINALS = jax.nn.sigmoid(normal(0, 4, 9, 8, 3))
REBUILT = 1.2 * jax.vmap(lambda x: gaussian_blur(x, sigma=1.0))(ORIGINALS) - 0.1
PERCEPTUAL = {"pyramid": pyramid_distance}


def of_one(model, frozen, example):
    return decoding_measures(example["image"], example["rebuilt"], perceptual=PERCEPTUAL)


def test_a_set_has_the_means_of_its_images_and_the_ratio_of_their_energies():
    """With a row of padding, over devices that share the batch."""
    valid = np.asarray([True, True, True, False])
    evaluate = make_evaluation(of_one, None, None, mesh=build_mesh(MeshShape(2, 1)))
    batch = {"image": ORIGINALS.at[3].set(jnp.nan), "rebuilt": REBUILT, "valid": jnp.asarray(valid)}
    found = summarise_decoding(evaluate(None, None, batch))
    pairs = [(jnp.clip(y, 0, 1), x) for x, y in zip(ORIGINALS[:3], REBUILT[:3], strict=True)]
    expected = {
        "val/l1": np.mean([np.abs(np.asarray(y - x)).mean() for y, x in pairs]),
        "val/psnr": np.mean([psnr(y, x) for y, x in pairs]),
        "val/ssim": np.mean([ssim(y, x) for y, x in pairs]),
        "val/pyramid": np.mean([pyramid_distance(y, x) for y, x in pairs]),
        "val/sharpness": sum(high_frequency_energy(y) for y, _ in pairs)
        / sum(high_frequency_energy(x) for _, x in pairs),
    }
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, err_msg=name)
    assert found["val/sharpness"] < 1


def test_a_perfect_decoder_has_the_best_of_every_measure():
    measured = jax.jit(lambda x: decoding_measures(x, x, perceptual=PERCEPTUAL))(ORIGINALS[0])
    found = summarise_decoding({**measured, "count": jnp.asarray(1.0)})
    assert found["val/l1"] == found["val/pyramid"] == 0
    np.testing.assert_allclose([found["val/ssim"], found["val/sharpness"]], 1, rtol=1e-5)
    np.testing.assert_allclose(found["val/psnr"], 100, rtol=1e-5)


def test_originals_without_detail_have_no_sharpness_to_compare_with():
    sums = {"count": 1.0, "high_frequencies": 0.0, "high_frequencies_of_original": 0.0}
    assert np.isnan(summarise_decoding(sums)["val/sharpness"])
