"""What features are judged by: k nearest neighbours, and logistic regression to its minimum."""

import numpy as np

from laminate.evals.knn import knn_accuracy, knn_predictions, knn_votes, token_direction, unit
from laminate.evals.linear_probe import linear_probe

from ..options import Options
from ..reader import Golden
from .adm import ABOUT_THE_FILE


def neighbours(golden: Golden) -> dict[str, np.ndarray]:
    options = Options("config", golden.config)
    classes, counts = options.take("classes"), options.take("k")
    temperature = float(options.take("temperature"))
    options.ignore(*ABOUT_THE_FILE)
    options.none_left()
    sides = ("train", "test")
    features = {"dino": [unit(golden.input(f"dino/{side}_features")) for side in sides]}
    features["flatdino"] = [token_direction(golden.input(f"flatdino/{side}_tokens")) for side in sides]
    produced: dict[str, np.ndarray | float] = {
        f"flatdino/{side}_features": each for side, each in zip(sides, features["flatdino"], strict=True)
    }
    for tag, (known, seen) in features.items():
        labels, wanted = (golden.input(f"{tag}/{side}_labels") for side in sides)
        for k in counts:
            votes = knn_votes(seen, known, labels, classes=classes, k=k, temperature=temperature)
            predictions = knn_predictions(votes, k)
            accuracy = knn_accuracy(predictions, wanted)
            produced |= {
                f"{tag}/k{k}/votes": votes,
                f"{tag}/k{k}/predictions": predictions,
                f"{tag}/k{k}/top1": accuracy.top1,
                f"{tag}/k{k}/top5": accuracy.top5,
            }
    return {name: np.asarray(value) for name, value in produced.items()}


def probe(golden: Golden) -> dict[str, np.ndarray]:
    options = Options("config", golden.config)
    classes, runs = options.take("classes"), options.take("runs")
    options.ignore(*ABOUT_THE_FILE)
    options.none_left()
    (known, seen), (labels, wanted) = (
        [golden.input(f"{side}_{what}") for side in ("train", "test")] for what in ("features", "labels")
    )
    produced: dict[str, np.ndarray | float] = {}
    for tag, values in runs.items():
        run = Options(f"runs.{tag}", values)
        strength, intercept = float(run.take("C")), run.take("intercept", True)
        run.none_left()
        found = linear_probe(known, labels, classes=classes, strength=strength, intercept=intercept)
        log_p = found.log_probabilities(seen)
        predictions = log_p.argmax(axis=1).astype(np.int32)
        told = found.log_probabilities(known).argmax(axis=1)
        produced |= {
            f"{tag}/coefficients": found.coefficients,
            f"{tag}/intercept": found.intercept,
            f"{tag}/objective": found.objective,
            f"{tag}/probabilities": np.exp(log_p),
            f"{tag}/predictions": predictions,
            f"{tag}/test_cross_entropy": -log_p[np.arange(len(wanted)), wanted].mean(),
            f"{tag}/test_accuracy": (predictions == wanted).mean(),
            f"{tag}/train_accuracy": (told == labels).mean(),
        }
    return {name: np.asarray(value) for name, value in produced.items() if name in golden.outputs}
