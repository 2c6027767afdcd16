"""ADM's protocol: scores in file order, precision and recall, spatial features, moments of reference files."""

import jax
import jax.numpy as jnp
import numpy as np

from laminate.evals.fid import fid_of_few, frechet_check, frechet_distance
from laminate.evals.inception_score import inception_scores
from laminate.evals.neighbours import in_balls
from laminate.evals.precision_recall import squared_radii
from laminate.models.inception import inception_input
from laminate.pretrained.inception import load_inception

from ..options import Options
from ..reader import Golden
from .set_measures import moments
from .vision import channels_last

ABOUT_THE_FILE = ("facts", "note", "recipe", "reference", "tolerance")


def protocol(golden: Golden) -> dict[str, np.ndarray]:
    options = Options("config", golden.config)
    k, size = options.take("k"), options.take("split_size")
    options.ignore(*ABOUT_THE_FILE)
    options.none_left()
    drawn, real, logits = (golden.input(name) for name in ("pool_sample", "pool_reference", "logits"))
    scores = inception_scores(logits, size=size)
    radii, real_radii = squared_radii(drawn, k), squared_radii(real, k)
    precise, recalled = in_balls(drawn, real, radii, real_radii)
    first, second = moments(golden, "pool_sample"), moments(golden, "pool_reference")
    found = frechet_check(first.mean, first.covariance, second.mean, second.covariance)
    indefinite = frechet_check(
        *(golden.input(f"indefinite_{part}_{i}") for i in (1, 2) for part in ("mu", "sigma"))
    )
    produced: dict[str, np.ndarray | float] = {
        "inception_score_per_split": scores,
        "inception_score": scores.mean(),
        "inception_score_single_split": inception_scores(logits, size=len(logits))[0],
        "squared_radius_sample": radii,
        "squared_radius_reference": real_radii,
        "sample_in_reference": precise,
        "reference_in_sample": recalled,
        "precision": precise.mean(),
        "recall": recalled.mean(),
        "fid": found.distance,
        "fid_clipped_mass": found.clipped_mass,
        "indefinite_fid": indefinite.distance,
        "indefinite_clipped_mass": indefinite.clipped_mass,
        "indefinite_clipped_root_mass": indefinite.clipped_root_mass,
    }
    return {name: np.asarray(value) for name, value in produced.items()}


def spatial(golden: Golden) -> dict[str, np.ndarray]:
    options = Options("config", golden.config)
    options.ignore(*ABOUT_THE_FILE, "seed", "table")
    options.none_left()
    images = channels_last(golden.input("image")).astype(jnp.float32) / 255
    network = load_inception(golden.weights)
    run = jax.jit(
        lambda network, images: jax.vmap(lambda x: network(inception_input(x, "tensorflow")))(images)
    )
    first, second = moments(golden, "spatial_1"), moments(golden, "spatial_2")
    reference = (golden.input("reference_mu_s"), golden.input("reference_sigma_s"))
    few = {
        name: fid_of_few(*(golden.input(f"spatial_{of}_{i}") for i in (1, 2)))
        for name, of in (("sfid_low", "low"), ("sfid_full", "full"))
    }
    produced = {
        "image_spatial": run(network, images).spatial2023,
        "mu_s": first.mean,
        "sigma_s": first.covariance,
        "sfid": frechet_distance(first.mean, first.covariance, second.mean, second.covariance),
        "sfid_reference": frechet_distance(second.mean, second.covariance, *reference),
        **few,
    }
    return {name: np.asarray(value) for name, value in produced.items()}
