"""A figure says how it was measured; what cannot be measured, or is measured otherwise than asked, is said."""

import dataclasses

import numpy as np
import pytest
from etils import epath

from laminate.evals.fid import FeatureMoments, fid_of_few
from laminate.evals.image_figures import image_figures
from laminate.evals.protocols import AS_GIVEN, PROTOCOLS, Protocol, deviations, named
from laminate.evals.reference_files import ReferenceFile
from laminate.evals.results import differences, read_result, write_result
from laminate.evals.set_measures import Measured, SetFeatures, measure_sets, with_floor
from laminate.runs.evaluation_result import followed

HOW = Protocol("", "a network", view="as they are")
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(30, 4)).astype(np.float32), RNG.normal(size=(40, 4)).astype(np.float32) + 1


def features(said: str, pool: np.ndarray | None, **more: object) -> SetFeatures:
    return SetFeatures(said, pool, **more)


def by_name(found: list[Measured]) -> dict[str, Measured]:
    return {one.name: one for one in found}


def test_every_measure_names_its_network_and_states_all_that_it_depends_on() -> None:
    found = by_name(measure_sets(features("samples", X), features("images", Y), HOW, "toy"))
    assert set(found) == {f"{m}@toy" for m in ("fd", "kid", "cmmd", "precision", "recall", "mind")}
    np.testing.assert_allclose(found["fd@toy"].value, fid_of_few(X, Y), rtol=1e-9)
    assert found["fd@toy"].spread is not None and found["fd@toy"].diagnostics["rank"] == 4
    for one in found.values():
        assert one.protocol.reference == "images" and one.protocol.view == "as they are"
        assert one.protocol.samples == 30 and "float64" in one.protocol.precision
    again = by_name(measure_sets(features("samples", X), features("images", Y), HOW, "toy"))
    assert {name: one.value for name, one in again.items()} == {n: one.value for n, one in found.items()}
    paired = by_name(measure_sets(features("a", X), features("b", X + 1), HOW, "toy", paired=True))
    assert "kid@toy" not in paired and paired["fd@toy"].spread is None


def test_moments_alone_have_a_frechet_distance_and_real_images_are_the_floor() -> None:
    moments = FeatureMoments(4)
    moments.update(Y)
    known = FeatureMoments.known(moments.mean, moments.covariance)
    found = measure_sets(features("samples", X), features("file", None, moments=known), HOW, "inception")
    assert [one.name for one in found] == ["fid"]
    np.testing.assert_allclose(found[0].value, fid_of_few(X, Y), rtol=1e-6)
    floor = [dataclasses.replace(found[0], value=0.5)]
    assert with_floor(found, floor)[0].floor == 0.5


@pytest.mark.parametrize(
    ("samples", "reference", "said"),
    [
        (X[:1], Y, "samples has 1 images, and a distance of sets needs two"),
        (X, RNG.normal(size=(9, 3)), "features of 4 numbers and images of 3.*give --inception"),
        (np.where(X > 2, np.nan, X), Y, "samples: a feature is not finite"),
    ],
)
def test_sets_that_have_no_distance_are_refused(
    samples: np.ndarray, reference: np.ndarray, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        measure_sets(features("samples", samples), features("images", reference), HOW, "toy")


def test_too_few_images_and_features_that_do_not_vary_are_said() -> None:
    few = by_name(measure_sets(features("samples", X[:4]), features("images", Y), HOW, "toy"))
    assert "4 images are too few for 4 features" in few["fd@toy"].remarks[0]
    flat = np.concatenate([X, np.ones((30, 2), np.float32)], axis=1)
    found = by_name(measure_sets(features("samples", flat), features("images", flat), HOW, "toy"))
    assert "2 of 6 features are constant" in found["fd@toy"].remarks[0]
    assert abs(found["fd@toy"].value) < 1e-9 and np.isfinite([one.value for one in found.values()]).all()
    figures = {"psnr": np.asarray([20.0, np.nan, 30.0])}
    with pytest.raises(ValueError, match="psnr of image 1 is not finite"):
        image_figures(figures, "whole")
    one = image_figures({"psnr": np.asarray([20.0])}, "whole")[0]
    assert one.value == 20 and one.spread is None


def test_a_protocol_that_is_not_followed_is_refused_or_named() -> None:
    wanted = named("fd-dinov2@dgm").protocol
    assert not deviations(wanted, wanted)
    fewer = dataclasses.replace(wanted, samples=5000)
    assert deviations(fewer, wanted) == ["samples: 5,000, where the protocol has 50,000"]
    result = Measured("fd@dinov2-l", 1.0, fewer)
    with pytest.raises(ValueError, match="is not followed: samples: 5,000, where"):
        followed([result], "fd-dinov2@dgm", inexact=False)
    told = followed([result], "fd-dinov2@dgm", inexact=True)
    assert told[0].remarks == ("not fd-dinov2@dgm: samples: 5,000, where the protocol has 50,000",)
    assert "fd-dinov2@dgm" in dataclasses.replace(result, protocol=wanted).follows
    with pytest.raises(ValueError, match="is for mind, and what was measured is fd"):
        followed([result], "mind@5k", inexact=True)
    with pytest.raises(ValueError, match="no protocol 'fid'; there are rfid@val50k"):
        named("fid")
    assert all(one.said and one.protocol.network for one in PROTOCOLS.values())


def test_results_are_read_as_they_were_written_and_differ_in_what_their_protocols_do(tmp_path) -> None:
    first = Measured("fd@toy", 1.5, dataclasses.replace(HOW, measure="fd", samples=10), 0.1, "20 resamples")
    second = dataclasses.replace(
        first, value=float("inf"), protocol=dataclasses.replace(first.protocol, samples=20)
    )
    held = []
    for name, one in (("a", first), ("b", second)):
        file = epath.Path(tmp_path / f"{name}.json")
        write_result(
            file, "compare", [one], subject={"first": "x"}, software=[("commit", "0")], command="c", more={}
        )
        held.append(read_result(file))
    assert held[0]["fd@toy"]["value"] == 1.5 and held[1]["fd@toy"]["value"] == "inf"
    found = differences(held)
    assert [(one.measure, one.field, one.values) for one in found] == [("fd@toy", "samples", ("10", "20"))]
    (tmp_path / "a.json").write_text('{"format": 9, "results": []}')
    with pytest.raises(ValueError, match="later version"):
        read_result(epath.Path(tmp_path / "a.json"))


def test_a_reference_file_is_read_in_parts_and_what_is_none_is_refused(tmp_path) -> None:
    images = RNG.integers(0, 256, (5, 4, 6, 3), np.uint8)
    np.savez(tmp_path / "s.npz", arr_0=images, labels=np.arange(5))
    file = ReferenceFile(tmp_path / "s.npz")
    assert (file.count, file.size, file.has_moments, file.moments()) == (5, (4, 6), False, None)
    parts = list(file.images(2))
    assert [len(part) for part in parts] == [2, 2, 1]
    np.testing.assert_array_equal(np.concatenate(parts), images)
    np.savez(tmp_path / "m.npz", mu=np.zeros(3), sigma=np.eye(3), mu_s=np.ones(2), sigma_s=np.eye(2))
    moments = ReferenceFile(tmp_path / "m.npz").moments()
    assert moments is not None
    np.testing.assert_allclose(moments.covariance, np.eye(3))
    bad = {
        "float.npz": ({"arr_0": np.zeros((2, 3, 3, 3))}, "float64 of shape"),
        "none.npz": ({"x": np.zeros(2)}, "holds x: samples are in arr_0"),
        "skew.npz": (
            {"mu": np.zeros(2), "sigma": np.asarray([[1.0, 2.0], [0.0, 1.0]])},
            "skew.npz: mu and sigma: .*not symmetric",
        ),
        "wide.npz": ({"mu": np.zeros(3), "sigma": np.eye(2)}, "covariance of shape"),
        "nan.npz": ({"mu": np.zeros(2), "sigma": np.full((2, 2), np.nan)}, "nan.npz: mu and sigma: .*NaN"),
        "below.npz": (
            {"mu": np.zeros(2), "sigma": np.diag([1.0, -0.1])},
            "eigenvalue -0.1, and no variance is",
        ),
        "none-at-all.npz": (
            {"mu": np.zeros(2), "sigma": -np.eye(2)},
            "eigenvalue -1, and no variance is below",
        ),
        "words.npz": (
            {"mu": np.asarray(["a", "b"]), "sigma": np.eye(2)},
            "mu is of <U1; moments are real numbers",
        ),
        "complex.npz": (
            {"mu": np.zeros(2), "sigma": 1j * np.eye(2)},
            "sigma is of complex128; moments are real",
        ),
    }
    for name, (arrays, said) in bad.items():
        np.savez(tmp_path / name, **arrays)
        with pytest.raises(ValueError, match=said):
            ReferenceFile(tmp_path / name).moments()
    (tmp_path / "text.npz").write_text("no zip")
    with pytest.raises(ValueError, match="no npz file"):
        ReferenceFile(tmp_path / "text.npz")


def test_what_follows_a_protocol_is_told_by_values_that_can_be_compared() -> None:
    def made(name: str, **other: object) -> list[str]:
        wanted = PROTOCOLS[name].protocol
        return deviations(dataclasses.replace(wanted, **other), wanted)

    assert made("rfid@val50k", data="/data/ImageNet-1k") == []
    assert made("rfid@val50k", data="photos") == ["data: photos, where the protocol has imagenet"]
    adm = PROTOCOLS["gfid@adm-256"].protocol
    pool = SetFeatures("VIRTUAL_imagenet256_labeled.npz", Y, sha256="f")
    held = dataclasses.replace(pool, moments=FeatureMoments.of(Y), role="VIRTUAL_imagenet256_labeled.npz")
    how = dataclasses.replace(adm, measure="", options=(), view="as in the file, 256 x 256")
    found = by_name(measure_sets(features("samples", X), held, how, "inception"))
    assert deviations(found["fid"].protocol, adm) == ["samples: 30, where the protocol has 50,000"]
    assert deviations(found["precision@inception"].protocol, PROTOCOLS["prc@adm-256"].protocol) == [
        "samples: 30, where the protocol has 50,000"
    ]
    scores = measure_sets(features("s", X, logits=X), held, how, "inception", only={"inception score"})
    assert (scores[0].protocol.reference, scores[0].protocol.reference_sha256) == ("none", "")


def test_scores_in_the_order_of_a_file_follow_adms_evaluator_and_say_where_the_file_is_sorted(
    monkeypatch,
) -> None:
    monkeypatch.setattr("laminate.evals.set_measures.SPLIT", 10)
    wanted = PROTOCOLS["is@adm-256"].protocol
    sure = np.repeat(20 * np.eye(3), 10, axis=0).astype(np.float32)
    how = dataclasses.replace(
        PROTOCOLS["gfid@adm-256"].protocol, measure="", options=(), view="as in the file, 256 x 256"
    )

    def scores(logits: np.ndarray, order: str) -> dict[str, Measured]:
        made = features("samples", X, logits=logits)
        only = {"inception score"}
        return by_name(
            measure_sets(
                made, features("held", Y), dataclasses.replace(how, order=order), "inception", only=only
            )
        )

    few = ["samples: 30, where the protocol has 50,000"]
    size = ["options: images of a split 10, where the protocol has images of a split 5000"]
    by_class = scores(sure, AS_GIVEN)["inception-score@adm"]
    assert deviations(by_class.protocol, wanted) == few + size
    np.testing.assert_allclose(by_class.value, 1, atol=1e-6)
    assert any("the file is sorted: shuffled, it is" in text for text in by_class.remarks)
    mixed = scores(sure.reshape(3, 10, 3).swapaxes(0, 1).reshape(30, 3), AS_GIVEN)["inception-score@adm"]
    assert mixed.value > 2.9 and not any("sorted" in text for text in mixed.remarks)
    drawn = scores(sure, "sorted by class")  # by whoever draws: its order is no file's
    assert set(drawn) == {"inception-score"}
    assert "order: shuffled with seed 0, where the protocol has as in the file" in deviations(
        drawn["inception-score"].protocol, wanted
    )
