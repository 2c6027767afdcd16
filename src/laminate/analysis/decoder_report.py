"""What an image decoder leaves in its run folder: weights, pictures beside the tokenizer's own, and the report."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp
from etils import epath
from jax.sharding import Mesh
from jaxtyping import Array

from laminate.analysis.decoder_input import DecoderInput
from laminate.analysis.picture_report import (
    LATENTS,
    ORIGINAL,
    Measured,
    quality_headlines,
    write_picture_report,
)
from laminate.analysis.report import Batches, RunReport
from laminate.evals.fid import FeatureMoments, fid, fid_features
from laminate.models.inception import InceptionV3
from laminate.parallel.sharding import place
from laminate.tokenizers.features import TeacherFeatures
from laminate.tokenizers.frozen_networks import FrozenNetworks
from laminate.train.export import DECODER
from laminate.train.state import TrainState
from laminate.train.step import make_map, map_batches

FID_FEATURES = 2048


class ReconstructionFid:
    """The Fréchet inception distance of held-out images and of what a decoder makes of them, at every validation.

    Called with a training state, by all hosts. The images' own moments are gathered once.
    """

    def __init__(
        self,
        inputs: DecoderInput,
        frozen: FrozenNetworks,
        inception: InceptionV3,
        batches: Batches,
        *,
        mesh: Mesh,
    ):
        self._inputs, self._batches, self._mesh = inputs, batches, mesh
        self._frozen = (frozen, place(inception, mesh))
        self._apply: Callable[..., dict[str, Array]] | None = None
        self._originals: FeatureMoments | None = None

    def __call__(self, state: TrainState) -> dict[str, float]:
        if self._apply is None:
            self._apply = make_map(
                self._features,
                state.averaged,
                self._frozen,
                mesh=self._mesh,
                compute_dtype=self._inputs.dtype,
            )
        decoded, originals = FeatureMoments(FID_FEATURES), self._originals or FeatureMoments(FID_FEATURES)
        for found in map_batches(self._apply, state.averaged, self._frozen, self._batches()):
            decoded.update(found["decoded"])
            if self._originals is None:
                originals.update(found["original"])
        self._originals = originals
        return {"val/rfid": fid(originals, decoded)}

    def _features(
        self, decoder: Any, frozen: tuple[FrozenNetworks, InceptionV3], example: dict[str, Array]
    ) -> dict[str, Array]:
        networks, inception = frozen
        image = decoder(self._inputs.clean(networks, example).astype(self._inputs.dtype))
        pair = {"decoded": jnp.clip(image, 0.0, 1.0), "original": self._inputs.target(example)}
        return {name: fid_features(inception, picture) for name, picture in pair.items()}


def write_decoder_report(
    run: RunReport, decoder: Any, /, *, frozen: FrozenNetworks, inputs: DecoderInput
) -> epath.Path:
    """Save the weights, compare held-out images with both reconstructions, write report.html; its path.

    The plain reconstruction is the tokenizer's own, where it makes images. All hosts measure, the first one writes.
    """
    plain = frozen.tokenizer.shows_images and not isinstance(frozen.tokenizer, TeacherFeatures)
    return write_picture_report(
        run,
        decoder,
        frozen,
        partial(_pictures, inputs, plain),
        saved=DECODER,
        rows=(ORIGINAL, "tokenizer", "decoder"),
        caption=_caption(plain),
        headlines=_headlines,
        patch=decoder.patch,
    )


def _pictures(
    inputs: DecoderInput, plain: bool, decoder: Any, frozen: FrozenNetworks, example: dict[str, Array]
) -> dict[str, Array]:
    latents = inputs.latents(frozen, example)
    decoded = decoder(inputs.read(frozen, latents).astype(inputs.dtype))
    pictures = {
        LATENTS: latents,
        ORIGINAL: inputs.target(example),
        "decoder": jnp.clip(decoded, 0.0, 1.0),
    }
    if plain:
        pictures["tokenizer"] = frozen.tokenizer.image(latents, dtype=inputs.dtype)
    return pictures


def _headlines(measured: Measured, figures: dict[str, Measured]) -> tuple[tuple[str, str], ...]:
    rows, plain, decoded = quality_headlines(measured), figures.get("tokenizer"), figures["decoder"]
    if plain is not None:
        psnr, sharpness = decoded["val/psnr"] - plain["val/psnr"], plain["val/sharpness"]
        rows.append((f"{psnr:+.1f} dB", f"beside the tokenizer's own images, which have {sharpness:.0%}"))
    if "val/rfid" in measured:
        rows.append((f"{measured['val/rfid']:.2f}", "rFID"))
    return tuple(rows)


def _caption(plain: bool) -> str:
    middle = "the tokenizer's own reconstruction, " if plain else ""
    return f"From above: the image, {middle}what the decoder makes of the same latents."
