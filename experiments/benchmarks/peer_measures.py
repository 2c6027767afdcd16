"""The measures that `bench.py measures` sets beside ours, by the libraries that have them, run by the interpreter of
`--peer-python`.

Inputs are NumPy files in the folder that the specification names, read when they are first needed; what a piece of
work makes goes there too.
"""

from functools import cache, partial
from importlib.metadata import version
from pathlib import Path

from peer_side import require, serve

PACKAGES = {
    "numpy": "numpy",
    "scipy": "scipy",
    "torch": "torch",
    "torch_fidelity": "torch-fidelity",
    "torchmetrics": "torchmetrics",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
}
require(PACKAGES)

import numpy as np
import torch
from scipy.linalg import sqrtm
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from sklearn.decomposition import PCA
from sklearn.feature_selection import mutual_info_regression
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from sklearn.preprocessing import StandardScaler
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    structural_similarity_index_measure,
)
from torchmetrics.functional.image import (
    peak_signal_noise_ratio as torch_psnr,
)
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.inception import InceptionScore
from torchmetrics.image.kid import poly_mmd


class Given(torch.nn.Module):
    """In place of Inception: what goes in are features already."""

    def __init__(self, width):
        super().__init__()
        self.num_features = width

    def forward(self, features):
        return features


def fidelity_pieces(spec, load, tensor):
    statistics = lambda name: fid_features_to_statistics(tensor(name))
    distance = lambda a, b: list(fid_statistics_to_metric(a, b, False).values())
    fid = lambda end: distance(statistics(f"drawn{end}"), statistics(f"real{end}"))
    known = lambda name: {"mu": load(f"mean_{name}"), "sigma": load(f"covariance_{name}")}

    wide = cache(lambda name: tensor(name).double())

    def kid(read, **options):
        options |= {"verbose": False, "rng_seed": spec["seed"]}
        return list(kid_features_to_metric(read("drawn"), read("real"), **options).values())

    def near():
        found = prc_features_to_metric(
            tensor("drawn"), tensor("real"), prc_neighborhood=spec["near"], verbose=False
        )
        return [found["precision"], found["recall"]]

    subsets = {"kid_subsets": spec["subsets"], "kid_subset_size": spec["subset"]}
    gaussian = {"kid_kernel": "rbf", "kid_kernel_rbf_sigma": spec["sigma"]}
    whole = {"kid_subsets": 1, "kid_subset_size": spec["features"]}
    return {
        "fid": lambda: fid(""),
        "fid-many": lambda: fid("_many"),
        "fid-moments": lambda: distance(known("drawn"), known("real")),
        "kid": lambda: kid(tensor, **subsets),
        "kid-gaussian": lambda: kid(wide, **gaussian, **whole)[:1],
        "inception-score": lambda: list(
            isc_features_to_metric(tensor("logits"), spec["splits"], shuffle=False).values()
        ),
        "precision-recall": near,
    }


def torchmetrics_pieces(spec, load, tensor):
    @cache
    def double(name):
        return tensor(name).double()  # the result has the precision of the features

    @cache
    def channels_first(name):
        return tensor(name).permute(0, 3, 1, 2).contiguous()

    @cache
    def order():
        """What the metric will shuffle into the order of the file."""
        torch.manual_seed(0)
        return tensor("logits")[torch.argsort(torch.randperm(len(tensor("logits"))))]

    def fid(end):
        metric = FrechetInceptionDistance(feature=Given(tensor(f"real{end}").shape[1]))
        metric.update(double(f"real{end}"), real=True)
        metric.update(double(f"drawn{end}"), real=False)
        return [metric.compute().item()]

    def kid():
        rows = zip(tensor("rows_drawn"), tensor("rows_real"), strict=True)
        found = torch.stack([poly_mmd(tensor("drawn")[a], tensor("real")[b]) for a, b in rows])
        return [found.mean().item(), found.std(unbiased=False).item()]

    def score():
        metric = InceptionScore(feature=Given(tensor("logits").shape[1]), splits=spec["splits"])
        metric.update(order())
        torch.manual_seed(0)
        mean, deviation = metric.compute()
        return [mean.item(), deviation.item() * ((spec["splits"] - 1) / spec["splits"]) ** 0.5]

    def of_images(measure, **options):
        pair = (channels_first("images"), channels_first("originals"))
        return measure(*pair, data_range=1.0, **options).numpy()

    one_each = {"reduction": "none"}
    multiscale = partial(of_images, multiscale_structural_similarity_index_measure, normalize="relu")
    return {
        "fid": lambda: fid(""),
        "fid-many": lambda: fid("_many"),
        "kid": kid,
        "inception-score": score,
        "psnr": lambda: of_images(torch_psnr, dim=(1, 2, 3), **one_each),
        "ssim": lambda: of_images(structural_similarity_index_measure, sigma=1.5, **one_each),
        "ms-ssim": lambda: multiscale(betas=tuple(spec["betas"]), **one_each),
    }


def scikit_image_pieces(spec, load, tensor):
    gaussian = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}

    def of_images(measure, **options):
        pairs = zip(load("originals"), load("images"), strict=True)
        return [measure(a, b, data_range=1.0, **options) for a, b in pairs]

    ssim = partial(of_images, structural_similarity, channel_axis=-1)
    return {
        "psnr": lambda: of_images(peak_signal_noise_ratio),
        "ssim-cropped": lambda: ssim(**gaussian),
        "ssim-uniform": ssim,
    }


def scikit_learn_pieces(spec, load, tensor):
    @cache
    def double(name):
        return load(name).astype(np.float64)

    def knn():
        weights = lambda distance: np.exp((1.0 - distance) / spec["temperature"])
        rule = KNeighborsClassifier(spec["neighbours"], metric="cosine", weights=weights)
        return rule.fit(double("real"), load("labels")).predict_proba(double("drawn"))

    def probe():
        accuracy = spec["accuracy"] / (spec["strength"] * len(load("known")))
        rule = LogisticRegression(C=spec["strength"], tol=accuracy, max_iter=100_000)
        return rule.fit(load("known"), load("labels")).predict_log_proba(load("known"))

    def ridge():
        x, labels, share = double("real"), load("labels"), load("share")
        scaler = StandardScaler().fit(x, sample_weight=share)
        seen = scaler.transform(x) / np.sqrt(x.shape[1])
        target = (labels[:, None] == np.arange(spec["classes"])) - 1.0 / spec["classes"]
        rule = Ridge(spec["penalty"], fit_intercept=False).fit(seen, target, sample_weight=share)
        return rule.predict(seen)

    def components():
        rows = load("real_many")
        rule = PCA(spec["components"], svd_solver="covariance_eigh")
        return rule.inverse_transform(rule.fit_transform(rows))

    near = lambda: NearestNeighbors(n_neighbors=spec["neighbours"]).fit(load("real"))
    information = lambda x, y: mutual_info_regression(x[:, None], y, n_neighbors=spec["near"], random_state=0)
    return {
        "neighbours": lambda: near().kneighbors(load("drawn"))[0],
        "knn": knn,
        "linear-probe": probe,
        "ridge": ridge,
        "principal-components": components,
        "information": lambda: information(load("x"), load("y")),
    }


def scipy_pieces(spec, load, tensor):
    def distance():
        a, b, c, d = (load(f"{kind}_{name}") for kind in ("mean", "covariance") for name in ("drawn", "real"))
        root = sqrtm(c @ d)
        return [np.square(a - b).sum() + np.trace(c) + np.trace(d) - 2.0 * np.trace(root.real)]

    return {"fid-moments": distance}


LIBRARIES = {
    "torch-fidelity": fidelity_pieces,
    "torchmetrics": torchmetrics_pieces,
    "scikit-image": scikit_image_pieces,
    "scikit-learn": scikit_learn_pieces,
    "scipy": scipy_pieces,
}


def pieces(spec):
    """`MEASURE@LIBRARY` for each that there is, and the versions of the libraries."""
    torch.set_num_threads(spec["threads"])
    load = cache(lambda name: np.load(Path(spec["folder"], f"{name}.npy"), allow_pickle=False))
    tensor = cache(lambda name: torch.from_numpy(load(name)))
    work = {
        f"{measure}@{library}": call
        for library, made in LIBRARIES.items()
        for measure, call in made(spec, load, tensor).items()
    }

    def keep(name, made):
        np.save(Path(spec["folder"], f"{name}.npy"), np.asarray(made, np.float64))

    facts = {"versions": {name: version(name) for name in PACKAGES.values()}, "pieces": list(work)}
    return work, facts, keep


if __name__ == "__main__":
    serve(pieces)
