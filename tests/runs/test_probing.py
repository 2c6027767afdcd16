"""What is asked of labelled images before classes are told, and what is said of few of them; one image alone."""

import numpy as np
import pytest

from laminate.cli.evaluate_flags import Probe
from laminate.evals.knn import KnnAccuracy
from laminate.evals.protocols import PROTOCOLS, deviations
from laminate.runs.measured_sets import measured_pairs
from laminate.runs.probing import Known, Told, probe_results, require_told


def known(*labels: int) -> Known:
    features = {"latents": np.random.default_rng(0).normal(size=(len(labels), 3)).astype(np.float32)}
    return Known(features, features, np.asarray(labels, np.int32))


def test_images_of_one_class_or_too_few_of_them_tell_nothing() -> None:
    require_told(known(0, 1, 0, 1, 2), 4, "photos")
    with pytest.raises(ValueError, match="6 labelled training images of photos show 1 of 4 classes"):
        require_told(known(*[2] * 6), 4, "photos")
    with pytest.raises(ValueError, match="photos has 4 labelled training images, and a probe is fitted on 5"):
        require_told(known(0, 1, 0, 1), 4, "photos")


def test_few_images_and_classes_that_are_missing_on_a_side_are_remarked_on() -> None:
    told = {"latents": Told(3, {2: KnnAccuracy(50.0, 100.0), 9: KnnAccuracy(50.0, 100.0)}, 25.0, 0.1)}
    some = known(0, 1, 2, 2, 1)
    found = probe_results(
        told, some, known(0, 0), "whole", 0.07, data="photos", classes=("cat", "dog", "owl", "emu")
    )
    general = ("only 2 held-out images", "no known image of emu", "no held-out image of dog, owl, emu")
    assert found[0].protocol.reference == "training images" and found[0].protocol.reference_sha256
    assert [one.remarks for one in found] == [general, ("there are only 5 known images", *general), general]
    wanted = PROTOCOLS["knn@dino"].protocol
    assert deviations(found[0].protocol, wanted) == [
        "options: neighbours 2, temperature 0.07, where the protocol has neighbours 20, temperature 0.07"
    ]
    many = known(*range(3), *[0] * 40)
    assert (
        probe_results(told, many, many, "whole", 0.07, data="photos", classes=("cat", "dog", "owl"))[
            0
        ].remarks
        == ()
    )


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"neighbours": (0,)}, "--neighbours must be at least 1"),
        ({"neighbours": ()}, "--neighbours needs a number"),
        ({"temperature": 0.0}, "--temperature must be greater than 0"),
        ({"temperature": float("nan")}, "--temperature must be greater than 0"),
    ],
)
def test_votes_of_no_neighbour_or_no_temperature_are_refused_at_once(flags, said) -> None:
    with pytest.raises(ValueError, match=said):
        Probe(**flags)


def test_one_image_has_its_figures_and_no_distance_of_sets() -> None:
    how = {"view": "whole", "rounding": "none", "seed": 0, "data": "photos"}
    (one,) = measured_pairs({"psnr": np.asarray([24.0])}, [], {}, {}, **how)
    assert (one.name, one.value, one.spread) == ("psnr", 24.0, None)
    assert one.remarks == ("of one image: a distance of sets needs two of each",)
    assert measured_pairs({"psnr": np.asarray([24.0, 20.0])}, [], {}, {}, **how)[0].remarks == ()
