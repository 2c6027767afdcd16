"""Our measures beside those of the libraries that people use, of the same inputs, both sides timed in turn.

`ratio` is our time over theirs, the median of the turns, with the least and the largest; below 1 we are ahead.
`cpu_ratio` is that of the seconds that all threads worked: on one core (`taskset -c 0`), where none waits for another
by turning, a busy machine hardly changes it. `difference` is the largest one of any two numbers of both results over
the largest number of theirs. Features, logits and images are given, in the arrays that each library works on: what
networks and copies take is no part of it.

`fid` is of sets with fewer features than numbers, whose covariances are singular, `fid-many` of a quarter of the
numbers, `fid-moments` of known means and covariances of full rank. The polynomial `kid` is of the subsets that
torch-fidelity draws, the Gaussian one of the whole sets, on both sides in float64. `ssim-cropped` is scikit-image's
with Gaussian weights, `ssim-uniform` its default, `ssim` and `ms-ssim` are torchmetrics'. `knn` votes with
`exp(cosine / temperature)`, which scikit-learn takes as weights; `linear-probe` compares the minima by their
log-probabilities, not the ways there; `ridge` is scikit-learn's of standardised features with the weights of balanced
classes; `principal-components` are compared by what is left of the features, which has no signs;
`information` is the estimator of Kraskov et al. of two numbers, which
scikit-learn has of no more.

No counterpart, so that they are not here: MIND, CMMD, CKA, iFID, the sharpness of images, TwoNN and Levina-Bickel,
total correlation, sFID (the `fid-many` of other features), and LPIPS, which is a network. Silhouettes have none here.
"""

import dataclasses
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.peer import Peer, in_turn, ratio
from laminate.analysis.baseline import principal_components
from laminate.analysis.information import ksg_information
from laminate.evals.fid import FeatureMoments, fid_of_few, frechet_distance
from laminate.evals.inception_score import inception_score
from laminate.evals.kid import draw_subsets, kid, kid_of_subsets
from laminate.evals.knn import knn_votes, unit
from laminate.evals.linear_probe import linear_probe
from laminate.evals.neighbours import nearest
from laminate.evals.precision_recall import precision_recall
from laminate.evals.psnr import psnr
from laminate.evals.ridge import fit_ridge
from laminate.losses.structural import CROPPED, MS_SSIM_BETAS, UNIFORM, ms_ssim, ssim

PACKAGES = ("torch", "torch-fidelity", "torchmetrics", "scikit-image", "scikit-learn", "scipy")
BESIDE = {
    "fid": ("torch-fidelity", "torchmetrics"),
    "fid-many": ("torch-fidelity", "torchmetrics"),
    "fid-moments": ("torch-fidelity", "scipy"),
    "kid": ("torch-fidelity", "torchmetrics"),
    "kid-gaussian": ("torch-fidelity",),
    "inception-score": ("torch-fidelity", "torchmetrics"),
    "precision-recall": ("torch-fidelity",),
    "psnr": ("scikit-image", "torchmetrics"),
    "ssim": ("torchmetrics",),
    "ssim-cropped": ("scikit-image",),
    "ssim-uniform": ("scikit-image",),
    "ms-ssim": ("torchmetrics",),
    "neighbours": ("scikit-learn",),
    "knn": ("scikit-learn",),
    "linear-probe": ("scikit-learn",),
    "ridge": ("scikit-learn",),
    "principal-components": ("scikit-learn",),
    "information": ("scikit-learn",),
}
CLASSES, LOGITS, POINTS = 10, 1008, 5000

Arrays = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Spec:
    """What both sides are told: sizes, and options of the measures."""

    folder: str
    threads: int
    features: int
    dim: int
    subset: int
    betas: tuple[float, ...]
    subsets: int = 5
    seed: int = 2020
    sigma: float = 20.0
    splits: int = 10
    near: int = 3
    neighbours: int = 20
    temperature: float = 0.07
    classes: int = CLASSES
    strength: float = 0.1
    accuracy: float = 1e-6
    penalty: float = 0.01
    components: int = 64


def measure(
    *,
    peer_python: str,
    features: tuple[int, int],
    images: int,
    image_size: tuple[int, int],
    turns: int,
    only: tuple[str, ...],
) -> Iterator[dict[str, object]]:
    """A line for each measure and library. Raises ValueError for unknown measures or sizes that they cannot have."""
    wanted = only or tuple(BESIDE)
    if unknown := [name for name in wanted if name not in BESIDE]:
        raise ValueError(f"--only {unknown[0]}: choose from {', '.join(BESIDE)}.")
    count, dim = features
    if count < 100 or count % 10 or dim < 256 or min(image_size) < 176 or images < 1 or turns < 1:
        raise ValueError(
            "bench.py measures needs --features of at least 100 and a multiple of 10, with 256 numbers, an "
            f"--image-size of at least 176, which MS-SSIM asks for, --images and --turns; got {features}, "
            f"{image_size}, {images} and {turns}."
        )
    with TemporaryDirectory() as folder:
        threads, subset = len(os.sched_getaffinity(0)), min(1000, count // 2)
        spec = Spec(folder, threads, count, dim, subset, MS_SSIM_BETAS)
        peer = Peer(peer_python, "peer_measures.py", dataclasses.asdict(spec), PACKAGES)
        try:
            inputs = draw(spec, images, image_size)
            for name, array in inputs.items():
                np.save(Path(folder, f"{name}.npy"), array)
            ours = of_sets(spec, inputs) | of_images(inputs) | of_classes(spec, inputs)
            yield from compared(peer, {name: ours[name] for name in wanted}, folder, turns)
        finally:
            peer.close()


def compared(
    peer: Peer, work: dict[str, Callable[[], object]], folder: str, turns: int
) -> Iterator[dict[str, object]]:
    others = {name: tuple(f"{name}@{library}" for library in BESIDE[name]) for name in work}
    differences: dict[str, float] = {}
    for name, call in work.items():  # programs are compiled, and arenas grow
        mine = np.asarray(call(), np.float64)
        for other in others[name]:
            peer.seconds(other)
            theirs = np.load(Path(folder, f"{other}.npy"), allow_pickle=False)
            if theirs.shape != mine.shape:
                raise ValueError(f"{other} has the shape {theirs.shape}, and ours {mine.shape}.")
            differences[other] = float(np.abs(mine - theirs).max() / np.abs(theirs).max())
    ours, seconds = in_turn(work, others, peer, turns)
    for name in work:
        for other, library in zip(others[name], BESIDE[name], strict=True):
            said = f"{library} {peer.facts['versions'][library]}"
            about = ratio(ours.passed[name], seconds.passed[other], said)
            worked = ratio(ours.worked[name], seconds.worked[other], said)["ratio"]
            yield {
                "measure": name,
                **about,
                "cpu_ratio": worked,
                "difference": float(f"{differences[other]:.2g}"),
            }


def draw(spec: Spec, images: int, image_size: tuple[int, int]) -> Arrays:
    """Features of ten classes whose variances fall, as those of networks do, and images beside noisy ones."""
    rng = np.random.default_rng(0)
    normal = lambda *shape: rng.standard_normal(shape, np.float32)
    count, dim = max(spec.features, 2 * spec.dim), spec.dim
    falling = np.float32(1.0) / np.arange(1, dim + 1, dtype=np.float32)
    mixed = falling[:, None] * normal(dim, dim)
    labels = rng.permutation(np.arange(count) % CLASSES)
    real = (normal(count, dim) + 2.0 * normal(CLASSES, dim)[labels]) @ mixed
    drawn = 1.1 * (normal(count, dim) + 2.0 * normal(CLASSES, dim)[labels]) @ mixed + 0.01
    first, second = FeatureMoments.of(drawn), FeatureMoments.of(real)
    real, drawn, labels = real[: spec.features], drawn[: spec.features], labels[: spec.features]
    many = [np.ascontiguousarray(each[:, : dim // 4]) for each in (real, drawn)]
    known = many[0][:, : dim // 16].astype(np.float64)
    rows = draw_subsets(spec.features, spec.features, subsets=spec.subsets, size=spec.subset, seed=spec.seed)
    originals = rng.random((images, *image_size, 3), np.float32).cumsum(axis=1) % 1.0
    noisy = np.clip(originals + 0.1 * normal(*originals.shape), 0.0, 1.0)
    x, y = rng.standard_normal((2, POINTS))
    return {
        "real": real,
        "drawn": drawn,
        "real_many": many[0],
        "drawn_many": many[1],
        "mean_real": second.mean,
        "mean_drawn": first.mean,
        "covariance_real": second.covariance,
        "covariance_drawn": first.covariance,
        "rows_drawn": rows[0],
        "rows_real": rows[1],
        "logits": 3.0 * normal(spec.features, LOGITS),
        "labels": labels,
        "share": len(labels) / (CLASSES * np.bincount(labels)[labels]),
        "known": (known - known.mean(axis=0)) / known.std(axis=0),
        "originals": originals,
        "images": noisy,
        "x": x / x.std(),
        "y": (x + y) / (x + y).std(),
    }


def of_sets(spec: Spec, inputs: Arrays) -> dict[str, Callable[[], object]]:
    drawn, real, subsets = inputs["drawn"], inputs["real"], (inputs["rows_drawn"], inputs["rows_real"])
    moments = [inputs[f"{kind}_{name}"] for name in ("drawn", "real") for kind in ("mean", "covariance")]
    x, y = inputs["x"][:, None], inputs["y"][:, None]
    return {
        "fid": lambda: [fid_of_few(drawn, real)],
        "fid-many": lambda: [fid_of_few(inputs["drawn_many"], inputs["real_many"])],
        "fid-moments": lambda: [frechet_distance(*moments)],
        "kid": lambda: kid_of_subsets(drawn, real, *subsets),
        "kid-gaussian": lambda: [kid(drawn, real, kernel="gaussian", sigma=spec.sigma)],
        "inception-score": lambda: inception_score(inputs["logits"], splits=spec.splits),
        "precision-recall": lambda: precision_recall(drawn, real, k=spec.near),
        "information": lambda: [ksg_information(x, y, k=spec.near)],
    }


def of_images(inputs: Arrays) -> dict[str, Callable[[], object]]:
    pair = (jnp.asarray(inputs["images"]), jnp.asarray(inputs["originals"]))
    programs = {
        "psnr": psnr,
        "ssim": ssim,
        "ssim-cropped": lambda x, y: ssim(x, y, convention=CROPPED),
        "ssim-uniform": lambda x, y: ssim(x, y, convention=UNIFORM),
        "ms-ssim": ms_ssim,
    }
    # One image after another stays in the cache; of all at once the temporaries are new memory in every call.
    one_by_one = lambda program: jax.jit(lambda *pair: jax.lax.map(lambda both: program(*both), pair))
    compiled = {name: one_by_one(program) for name, program in programs.items()}
    return {name: lambda each=each: np.asarray(each(*pair)) for name, each in compiled.items()}


def of_classes(spec: Spec, inputs: Arrays) -> dict[str, Callable[[], object]]:
    drawn, real, labels = inputs["drawn"], inputs["real"], inputs["labels"].astype(np.int32)
    wide = real.astype(np.float64)

    def knn() -> np.ndarray:
        votes = knn_votes(
            unit(drawn), unit(real), labels, classes=CLASSES, k=spec.neighbours, temperature=spec.temperature
        )
        return votes / votes.sum(axis=1, keepdims=True)

    def probe() -> np.ndarray:
        known = inputs["known"]
        rule = linear_probe(known, labels, classes=CLASSES, strength=spec.strength, accuracy=spec.accuracy)
        return rule.log_probabilities(known)

    def ridge() -> np.ndarray:
        rule = fit_ridge(wide, labels, penalty=spec.penalty)
        return ((wide - rule.mean) / rule.deviation) @ rule.weight

    def components() -> np.ndarray:
        rows = inputs["real_many"]
        return principal_components(rows, spec.components).rebuilt(rows)

    return {
        "neighbours": lambda: np.sqrt(nearest(drawn, real, spec.neighbours).values),
        "knn": knn,
        "linear-probe": probe,
        "ridge": ridge,
        "principal-components": components,
    }
