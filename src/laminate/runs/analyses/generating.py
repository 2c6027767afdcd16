"""Questions about a generator on the latents of the tokenizer: what it recovers from noise, and how guidance acts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from etils import epath
from jaxtyping import Float, Int, UInt8

from laminate.analysis.panels import Lines, image_page
from laminate.analysis.recovery import Recovered, Recovery, guess_error
from laminate.analysis.sample_files import class_major, to_bytes
from laminate.analysis.sampling import SamplerParams
from laminate.evals.fid import fid_of_few
from laminate.evals.ridge import RidgeClassifier, fit_ridge
from laminate.flow import STRAIGHT, Interval
from laminate.recipes.modules import sampling_grid, solver
from laminate.runs.analyses.subject import Finding, Seen, Subject, as_bytes, decibels
from laminate.runs.feature_networks import open_feature_networks
from laminate.runs.feature_sets import Extractor
from laminate.runs.open_sampler import OpenSampler

RECOVERED = 48
STARTS = 8
SHOWN = 10
Page = Callable[[epath.Path], None]


# 1. What is recovered of latents under noise


@dataclass(frozen=True)
class Recoveries:
    """What was made of the latents of some images from each of some times on, and those images decoded as they are."""

    source: str
    times: Float[np.ndarray, " times"]
    steps_left: Int[np.ndarray, " times"]
    images: Float[np.ndarray, "images height width 3"]
    rebuilt: Float[np.ndarray, "images height width 3"]
    found: Sequence[Recovered]
    guess: Float[np.ndarray, " times"] | None
    """The least error of any guess, where latents are normalised and their path is straight."""

    @property
    def error(self) -> Float[np.ndarray, "times images tokens"]:
        return np.stack([one.error for one in self.found])

    @property
    def noisy(self) -> Float[np.ndarray, " times"]:
        return np.stack([one.noisy for one in self.found]).mean(axis=(1, 2))

    @property
    def psnr(self) -> Float[np.ndarray, " times"]:
        return np.asarray([decibels(one.images, self.images).mean() for one in self.found])


def noise_recovery(subject: Subject, seen: Seen, seed: int) -> Finding:
    """How near to an image's latents the generator comes that begins between them and noise, at each time."""
    made = _recoveries(subject, seen, seed)
    error, times = made.error, made.times
    means = error.mean(axis=(1, 2))
    whole = float(decibels(made.rebuilt, made.images).mean())
    numbers = {
        "images": len(made.images),
        "generator": made.source,
        "steps_left": made.steps_left,
        "times": times,
        "error_mean": means,
        "error_deviation_over_images": error.mean(axis=2).std(axis=1),
        "error_by_token": error.mean(axis=1),
        "error_of_noisy_latents": made.noisy,
        "error_of_best_gaussian_guess": made.guess,
        "psnr": made.psnr,
        "psnr_of_reconstructions": whole,
        "guidance": 1.0,
        "seed": seed,
    }
    middle = int(np.abs(times - 0.5).argmin())
    summary = (
        f"from time {times[middle]:.2f} on the generator comes to {means[middle]:.2f} of the latents' variance, where "
        f"the noisy latents are at {made.noisy[middle]:.2f}; from pure noise to {means[0]:.2f}"
    )
    classes, there = subject.require_generator("noise-recovery").recipe.classes, len(seen.classes)
    remark = f"without labels: the images have {there} classes, and the generator {classes}"
    remarks = () if classes in (0, there) else (remark,)
    return Finding(numbers, summary, _recovery_page(made, whole), remarks)


def _recoveries(subject: Subject, seen: Seen, seed: int) -> Recoveries:
    opened = subject.require_generator("noise-recovery")
    flow, (tokenizer, decoder) = opened.sampler.flow, opened.frozen
    recovery = Recovery(
        flow,
        opened.generator.network,
        (decoder, tokenizer.normalization),
        solver(opened.recipe),
        mesh=subject.mesh,
        device_batch_size=max(1, subject.batch // subject.mesh.devices.size),
    )
    chosen = _spread(seen.count, RECOVERED)
    latents, labels = (
        (seen.latents if flow.normalize else seen.raw)[chosen],
        _labels(seen, opened.recipe.classes)[chosen],
    )
    grid = sampling_grid(opened.recipe)
    intervals = int(grid.intervals)
    firsts = np.unique(np.linspace(0, intervals - 1, STARTS).round().astype(int))
    times = np.asarray(grid.times)[firsts].astype(np.float64)
    found = [
        recovery(latents, labels, grid.begun(int(first)), seed=seed)
        for first in subject.track(firsts, "times", len(firsts))
    ]
    return Recoveries(
        opened.generator.source,
        times,
        intervals - firsts,
        seen.images[chosen],
        subject.pixels(seen.raw[chosen]),
        found,
        guess_error(times) if flow.path == STRAIGHT and flow.normalize else None,
    )


def _recovery_page(made: Recoveries, whole: float) -> Page:
    times, error = made.times, made.error
    start = "time of the start (0: noise)"
    curves = [
        ("recovered by the generator", times, error.mean(axis=(1, 2)), error.mean(axis=2).std(axis=1)),
        ("the noisy latents themselves", times, made.noisy, None),
    ]
    if made.guess is not None:
        curves.append(("least of any guess, for Gaussian latents", times, made.guess, None))
    pictures = [
        ("recovered, decoded", times, made.psnr, None),
        ("its own latents, decoded", times, np.full(len(times), whole), None),
    ]
    panels = (
        Lines("Error to the image's own latents", start, "of their variance", curves),
        Lines("PSNR to the image", start, "dB", pictures),
    )
    some = _spread(len(made.images), SHOWN)
    rows = [("image", made.images[some]), ("its latents, decoded", made.rebuilt[some])]
    for time, one in reversed(list(zip(times, made.found, strict=True))):
        rows.append(("from pure noise" if time == 0 else f"from time {time:.2f}", one.images[some]))
    says = (
        f"From latents under noise, at a time between noise (0) and data (1), the generator goes on unguided. "
        f"{len(made.images)} images, {made.source}."
    )
    return lambda path: image_page(rows, path, title="Noise recovery", says=says, panels=panels, tile=64)


# 2. Guidance


@dataclass(frozen=True)
class Sweep:
    """Figures of samples by the time from which on they are guided, and by scale; the same of real images."""

    source: str
    scales: Sequence[float]
    starts: Sequence[float]
    names: Sequence[str]
    """The class of each column of the picture."""
    distances: Float[np.ndarray, "starts scales"]
    right: Float[np.ndarray, "starts scales"]
    real_distance: float
    real_right: float
    real_images: int
    known: int
    samples: int
    features: str
    shown: Sequence[UInt8[np.ndarray, "columns height width 3"]]
    """Of each scale, guided from the first start on."""


def guidance_sweep(
    subject: Subject,
    seen: Seen,
    seed: int,
    *,
    scales: Sequence[float],
    starts: Sequence[float],
    samples: int,
) -> Finding:
    """Figure 14: distance to real images, and samples that a classifier recognises, by the scale of guidance and the
    time from which on it acts."""
    made = _sweep(subject, seen, seed, scales, starts, samples)
    best = divmod(int(made.distances.argmin()), len(scales))
    start, scale = starts[best[0]], scales[best[1]]
    name = f"fd@{made.features}"
    numbers = {
        "generator": made.source,
        "samples": made.samples,
        "reference_images": made.known,
        "scales": scales,
        "starts": starts,
        name: made.distances,
        f"{name}_of_real_images": made.real_distance,
        "real_images": made.real_images,
        "recognised_percent": made.right,
        "recognised_percent_of_real_images": made.real_right,
        "best": {"start": start, "scale": scale},
        "seed": seed,
    }
    summary = (
        f"{name} is least, {made.distances[best]:.2f}, at a scale of {scale:g} from time {start:g} on (real images: "
        f"{made.real_distance:.2f})"
    )
    if recognised := bool(np.isfinite(made.right[best])):
        summary += f"; {made.right[best]:.0f} % of those samples are recognised"
    remark = (
        f"distances of {made.samples} samples are biased upwards: compare settings, and the {made.real_images} real "
        "images, not other figures"
    )
    unknown = () if recognised else ("the images have no labels, by which samples could be recognised",)
    return Finding(numbers, summary, _sweep_page(made), (remark, *unknown))


def _sweep(
    subject: Subject, seen: Seen, seed: int, scales: Sequence[float], starts: Sequence[float], samples: int
) -> Sweep:
    opened = subject.require_generator("guidance-sweep")
    recipe = opened.recipe
    if recipe.classes < 2 or not recipe.class_dropout:
        raise ValueError(
            f"guidance-sweep: {recipe.name} has {recipe.classes} classes and drops {recipe.class_dropout:g} of their "
            "labels, and guidance needs both: give another --generator."
        )
    if seen.classes and len(seen.classes) != recipe.classes:
        raise ValueError(
            f"{recipe.name} draws {recipe.classes} classes and --data has {len(seen.classes)}: give its own."
        )
    labels = class_major(list(range(recipe.classes)), max(samples, recipe.classes))
    network = open_feature_networks(None, None)[:1]
    extractor = Extractor(network, subject.mesh, global_batch_size=subject.batch)

    def features(images: UInt8[np.ndarray, "images height width 3"]) -> Float[np.ndarray, "images dim"]:
        pool = extractor.gather("images", [images])[network[0].name].pool
        assert pool is not None
        return pool

    real, order = features(as_bytes(seen.images)), np.random.default_rng(seed).permutation(seen.count)
    apart = min(len(labels), seen.count // 2)
    held, known = order[:apart], order[apart:]
    truth = _labels(seen, recipe.classes)
    classifier = _classifier(real[known], truth[known])
    some = _spread(len(labels), SHOWN)
    distances, right = (np.full((len(starts), len(scales)), np.nan) for _ in range(2))
    shown: dict[float, UInt8[np.ndarray, "columns height width 3"]] = {}
    ways = [(row, column) for row in range(len(starts)) for column in range(len(scales))]
    for row, column in subject.track(ways, "settings", len(ways)):
        scale = scales[column]
        if scale == 1.0 and row:  # unguided, wherever guidance would begin
            distances[row, column], right[row, column] = distances[0, column], right[0, column]
            continue
        images = _drawn(opened, labels, scale, starts[row], seed)
        shown.setdefault(scale, images[some])
        pool = features(images)
        distances[row, column] = fid_of_few(pool, real[known])
        right[row, column] = _right(classifier, pool, labels)
    return Sweep(
        opened.generator.source,
        scales,
        starts,
        [recipe.class_names[label] if recipe.class_names else f"class {label}" for label in labels[some]],
        distances,
        right,
        fid_of_few(real[held], real[known]),
        _right(classifier, real[held], truth[held]),
        len(held),
        len(known),
        len(labels),
        network[0].name,
        [shown[scale] for scale in scales],
    )


def _drawn(
    opened: OpenSampler, labels: Int[np.ndarray, " samples"], scale: float, start: float, seed: int
) -> UInt8[np.ndarray, "samples height width 3"]:
    interval = None if scale == 1.0 else Interval(start, 1.0)
    params = SamplerParams(seed, sampling_grid(opened.recipe), scale=scale, interval=interval)
    drawn = [batch.images for batch in opened.sampler.draw(labels, params) if batch.images is not None]
    return to_bytes(np.concatenate(drawn), "nearest")


def _sweep_page(made: Sweep) -> Page:
    places = np.asarray(made.scales, np.float64)

    def lines(
        values: Float[np.ndarray, "starts scales"], real: float
    ) -> list[tuple[str, np.ndarray, np.ndarray, None]]:
        ways = [
            (f"guided from time {start:g} on", places, row, None)
            for start, row in zip(made.starts, values, strict=True)
        ]
        return [*ways, (f"{made.real_images} real images", places, np.full(len(places), real), None)]

    scale = "scale of guidance"
    panels = (
        Lines(
            f"Fréchet distance (features: {made.features})",
            scale,
            "less is nearer to real images",
            lines(made.distances, made.real_distance),
        ),
        Lines("Recognised as their class", scale, "% of the samples", lines(made.right, made.real_right)),
    )
    rows = [
        ("scale 1 (unguided)" if one == 1.0 else f"scale {one:g}", images)
        for one, images in zip(made.scales, made.shown, strict=True)
    ]
    says = (
        f"{made.samples} samples of each setting, of the same noise, against {made.known} real images. Shown: guided "
        f"from time {made.starts[0]:g} on. {made.source}."
    )
    return lambda path: image_page(
        rows, path, title="Guidance", says=says, heads=made.names, panels=panels, tile=64
    )


def _labels(seen: Seen, classes: int) -> Int[np.ndarray, " images"]:
    """Those of a generator of so many classes; none (-1) of images that have others."""
    known = None if len(seen.classes) != classes else seen.labels
    return np.full(seen.count, -1, np.int32) if known is None else known


def _spread(count: int, shown: int) -> Int[np.ndarray, " shown"]:
    return np.unique(np.linspace(0, count - 1, min(count, shown)).round().astype(int))


def _classifier(
    features: Float[np.ndarray, "images dim"], labels: Int[np.ndarray, " images"]
) -> RidgeClassifier | None:
    """That of the labelled images; None if they are of fewer than two classes."""
    known = labels >= 0
    return None if len(np.unique(labels[known])) < 2 else fit_ridge(features[known], labels[known])


def _right(
    classifier: RidgeClassifier | None,
    features: Float[np.ndarray, "images dim"],
    labels: Int[np.ndarray, " images"],
) -> float:
    """Of the labelled images, the percentage that is given its label; NaN without labels."""
    asked = labels >= 0
    if classifier is None or not asked.any():
        return float("nan")
    return 100.0 * float(np.mean(classifier(features[asked]) == labels[asked]))
