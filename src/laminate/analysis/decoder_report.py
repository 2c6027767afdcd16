"""What an image decoder leaves in its run folder: weights, pictures beside the tokenizer's own, and the report."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jax.sharding import Mesh
from jaxtyping import Array, Float

from laminate.analysis.baseline import MOST_IMAGES, MOST_NUMBERS, baselines
from laminate.analysis.curves import Panel, finite_values, loss_curves, read_metrics
from laminate.analysis.decoder_input import DecoderInput
from laminate.analysis.decoding import decoding_measures, summarise_decoding
from laminate.analysis.figures import sample_grid
from laminate.analysis.report import REPORT_FILE, Batches, Picture, RunReport, Table
from laminate.evals.fid import FeatureMoments, fid, fid_features
from laminate.models.inception import InceptionV3
from laminate.parallel.feeding import whole
from laminate.parallel.hosts import is_first
from laminate.parallel.sharding import place
from laminate.storage.writing import write_bytes
from laminate.tokenizers.features import TeacherFeatures
from laminate.tokenizers.frozen_networks import FrozenNetworks
from laminate.train.export import DECODER
from laminate.train.state import TrainState
from laminate.train.step import joined, make_map, map_batches

SHOWN = 8
FID_FEATURES = 2048
PANELS = (
    Panel("Pixel loss", (("train/recon_loss", "training"), ("val/l1", "validation, L1"))),
    Panel("Perceptual loss", (("train/perceptual_loss", "training"), ("val/perceptual", "validation"))),
    Panel("PSNR of held-out images (dB)", (("val/psnr", "validation"),), log=False),
    Panel("High frequencies, of the originals'", (("val/sharpness", "validation"),), log=False),
)
ADVERSARY_PANELS = (
    Panel("Mean logits", (("train/logits_real", "real"), ("train/logits_fake", "decoded")), log=False),
    Panel(
        "Balance of the decoder's gradients",
        (("train/adversarial_weight", "weight of the adversary"),),
        log=False,
    ),
    Panel("Loss of the discriminator", (("train/discriminator_loss", "training"),), log=False),
    Panel(
        "Norm of the gradient",
        (("train/grad_norm", "decoder"), ("train/discriminator_grad_norm", "discriminator")),
        log=False,
    ),
)


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
    folder = run.folder
    plain = frozen.tokenizer.shows_images and not isinstance(frozen.tokenizer, TeacherFeatures)
    decode = make_map(
        lambda decoder, frozen, example: _pictures(decoder, frozen, example, inputs, plain=plain),
        decoder,
        frozen,
        mesh=run.mesh,
        compute_dtype=run.dtype,
    )
    seen = lambda batches: _shuffled(joined(map_batches(decode, decoder, frozen, batches)))
    images = seen(run.visualised())
    trained_on = seen(run.known(len(images["original"])))
    known = _known(run, inputs, images["original"][0].size)
    weights = whole(decoder)
    if not is_first():
        return folder / REPORT_FILE
    figures = {
        name: _figures(images["original"], images[name])
        for name in ("tokenizer", "decoder")
        if name in images
    }
    records = read_metrics(folder / "metrics.jsonl")
    looked = [record for record in records if "val/psnr" in record and record["step"] <= run.step]
    last = looked[-1] if looked else {}
    measured = {name: last[name] for name in last if name.startswith("val/") and finite_values([last], name)}
    run.save(folder / DECODER, jax.device_put(weights, may_alias=False), measured)
    _draw(images, folder / "reconstructions.png")
    _draw(trained_on, folder / "training.png")
    drawn = [
        Picture("reconstructions.png", "Held-out images", _caption(plain)),
        Picture("training.png", "Training images", "The same of images that it was trained on."),
    ]
    for name, panels, about in (
        ("curves.png", PANELS, "Dots are validations."),
        ("adversary.png", ADVERSARY_PANELS, "What is 0 did not act yet."),
    ):
        if any(series in record for panel in panels for series, _ in panel.series for record in records):
            loss_curves(records, folder / name, panels=panels)
            drawn.append(Picture(name, "Training" if name == "curves.png" else "The adversary", about))
    return run.page(
        headlines=_headlines(measured, figures.get("tokenizer"), figures["decoder"]),
        tables=(_beside(figures, images, trained_on, known, decoder.patch),),
        pictures=tuple(drawn),
        files=(
            (f"{DECODER}/model.safetensors", f"the averaged weights of step {run.step}"),
            (f"{DECODER}/README.md", "what to say when the folder is shared"),
            ("metrics.jsonl", "every logged number"),
            ("recipe.json", "the full recipe, from which the run can be started again"),
        ),
    )


def _pictures(
    decoder: Any, frozen: FrozenNetworks, example: dict[str, Array], inputs: DecoderInput, *, plain: bool
) -> dict[str, Array]:
    latents = inputs.clean(frozen, example)
    decoded = decoder(latents.astype(inputs.dtype))
    pictures = {
        "latents": latents,
        "original": inputs.target(example),
        "decoder": jnp.clip(decoded, 0.0, 1.0),
    }
    if plain:
        pictures["tokenizer"] = frozen.tokenizer.image(latents, dtype=inputs.dtype)
    return pictures


def _shuffled(found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    order = np.random.default_rng(0).permutation(len(found["original"]))
    return {name: pictures[order] for name, pictures in found.items()}


def _known(run: RunReport, inputs: DecoderInput, pixels: int) -> np.ndarray:
    """Training images as the decoder is to make them, as many as principal components are fitted on."""
    apply = make_map(lambda _, frozen, example: {"original": inputs.target(example)}, (), None, mesh=run.mesh)
    fitted = min(MOST_IMAGES, max(2, MOST_NUMBERS // pixels))
    return joined(map_batches(apply, (), None, run.known(fitted)))["original"]


def _draw(images: dict[str, np.ndarray], path: epath.Path) -> None:
    """A row of originals, one of the tokenizer's own pictures, if it makes some, and one of the decoder's."""
    rows = [name for name in ("original", "tokenizer", "decoder") if name in images]
    few = [images[name][:SHOWN] for name in rows]
    write_bytes(path, sample_grid(np.concatenate(few), columns=len(few[0]), rows=rows, tile=112))


def _beside(
    figures: dict[str, dict[str, float]],
    images: dict[str, np.ndarray],
    trained_on: dict[str, np.ndarray],
    known: np.ndarray,
    patch: int,
) -> Table:
    """The decoder beside the tokenizer's own pictures and principal components of as many numbers."""
    numbers = images["latents"][0].size
    rows = [("held-out images", figures["decoder"])]
    if "tokenizer" in figures:
        rows.append(("held-out images, by the tokenizer itself", figures["tokenizer"]))
    rows.append(("images that it was trained on", _figures(trained_on["original"], trained_on["decoder"])))
    original = images["original"]
    if numbers < original[0].size:
        for one in baselines(_patches(known, patch), _patches(original, patch), numbers):
            rebuilt = _images(one.rebuilt, original.shape, patch)
            rows.append((f"held-out images, {one.said}", _figures(original, rebuilt)))
    return Table(
        "Beside a baseline",
        f"{len(original)} images each. Principal components, of pixels, are not quantised, and take as many numbers as "
        f"the decoder reads, {numbers:,}, or as many as the images that they are fitted on allow. Detail is the "
        "energy in high frequencies, as a share of the originals'.",
        ("PSNR", "SSIM", "detail"),
        tuple(
            (said, f"{of['val/psnr']:.1f} dB", f"{of['val/ssim']:.3f}", f"{of['val/sharpness']:.0%}")
            for said, of in rows
        ),
    )


def _patches(
    images: Float[np.ndarray, "images height width 3"], patch: int
) -> Float[np.ndarray, "images patches numbers"]:
    count, height, width, _ = images.shape
    cut = images.reshape(count, height // patch, patch, width // patch, patch, 3)
    return cut.transpose(0, 1, 3, 2, 4, 5).reshape(count, -1, 3 * patch**2)


def _images(
    patches: Float[np.ndarray, "images patches numbers"], shape: tuple[int, ...], patch: int
) -> Float[np.ndarray, "images height width 3"]:
    """What `_patches` cut, put together."""
    count, height, width, _ = shape
    cut = patches.reshape(count, height // patch, width // patch, patch, patch, 3)
    return cut.transpose(0, 1, 3, 2, 4, 5).reshape(shape)


def _figures(originals: np.ndarray, pictures: np.ndarray) -> dict[str, float]:
    """`val/psnr`, `val/sharpness` and so on of pictures against their originals."""
    each = jax.jit(jax.vmap(lambda a, b: decoding_measures(a, b, perceptual={})))(originals, pictures)
    sums = {name: float(np.sum(np.asarray(value, np.float64))) for name, value in each.items()}
    return summarise_decoding({**sums, "count": len(originals)})


def _headlines(
    measured: dict[str, float], plain: dict[str, float] | None, decoded: dict[str, float]
) -> tuple[tuple[str, str], ...]:
    rows: list[tuple[str, str]] = []
    if "val/psnr" in measured:
        rows.append((f"{measured['val/psnr']:.1f} dB", "mean PSNR of held-out images"))
    if "val/sharpness" in measured:
        rows.append((f"{measured['val/sharpness']:.0%}", "of the originals' energy in high frequencies"))
    if plain is not None:
        psnr, sharpness = decoded["val/psnr"] - plain["val/psnr"], plain["val/sharpness"]
        rows.append((f"{psnr:+.1f} dB", f"beside the tokenizer's own images, which have {sharpness:.0%}"))
    if "val/rfid" in measured:
        rows.append((f"{measured['val/rfid']:.2f}", "rFID"))
    return tuple(rows)


def _caption(plain: bool) -> str:
    middle = "the tokenizer's own reconstruction, " if plain else ""
    return f"From above: the image, {middle}what the decoder makes of the same latents."
