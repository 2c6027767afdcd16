"""What `--evaluate` measures in a training: held-out images given back, of one size or any, and drawn images."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from laminate.analysis.image_quality import CONVENTIONS, quality
from laminate.analysis.sample_files import class_major, to_bytes
from laminate.analysis.sampling import Sampler, SamplerParams
from laminate.data.augment import Squash
from laminate.evals.protocols import TRAINING
from laminate.evals.set_measures import Measured, SetFeatures, as_reference
from laminate.parallel.sharding import place
from laminate.pretrained.features import features_of, unit_image
from laminate.runs.any_size_reconstructions import RebuiltAnySize, make_any_size_rebuild
from laminate.runs.asked_figures import AskedFigures, Way
from laminate.runs.feature_sets import Extractor
from laminate.runs.image_sets import ImageSet
from laminate.runs.measured_reconstructions import Picture, Rebuilt, make_rebuild
from laminate.runs.measured_sets import measured, measured_pairs
from laminate.runs.setup import Run
from laminate.train.state import TrainState
from laminate.types import Image

UntilStopped = Callable[[Iterable[Any]], Iterator[Any]]
LEAST_SAMPLES = 256


def asked_pictures(run: Run, picture: Picture, frozen: Any) -> tuple[AskedFigures, ...]:
    """Of held-out images and what `picture(model, frozen, example)` makes of them; `frozen` lies on the mesh.

    Raises ValueError for a figure that images of this size have not.
    """
    if not run.asked.figures:
        return ()
    side = run.recipe.augment.image_size
    image = jax.ShapeDtypeStruct((side, side, 3), jnp.float32)
    _require_there(run, {*jax.eval_shape(quality, image, image), "lpips"}, f"images of {side} x {side}")
    return (AskedFigures(figures=run.asked, measure=_Pictures(run, picture, frozen)),)


def asked_features(run: Run) -> tuple[AskedFigures, ...]:
    """Of held-out images and what the tokenizer that is trained makes of the features of `run.frozen`, as the decoder
    of features in `run.beside` shows it.

    Raises ValueError if there is none, and as `asked_pictures`.
    """
    if run.asked.figures and run.beside is None:
        raise ValueError(
            f"--evaluate {run.asked.figures[0].name}: the features of {run.recipe.teacher.name} are no pixels: give "
            "--pixel-decoder, the decoder of a published autoencoder on this teacher."
        )
    picture = partial(_shown, dtype=run.dtype)
    return asked_pictures(run, picture, (run.frozen, place(run.beside, run.mesh)))


def _shown(
    tokenizer: Any, frozen: tuple[Any, Any], example: dict[str, Array], *, dtype: jnp.dtype
) -> tuple[Image, Image]:
    teacher, decoder = frozen
    features = features_of(teacher, example, dtype=dtype).final
    raw = tokenizer.encode_raw(features.astype(dtype))[0]
    rebuilt = tokenizer.decode_raw(raw, dtype=dtype).final
    return decoder.pixels(rebuilt.astype(jnp.float32)), unit_image(example["image"])


def asked_any_size(run: Run) -> tuple[AskedFigures, ...]:
    """Of held-out images at their own sizes. Raises ValueError for a figure that such images have not."""
    if not run.asked.figures:
        return ()
    _require_there(run, {"psnr", "ssim", "ssim-vitok"}, "images of any size")
    return (AskedFigures(figures=run.asked, measure=_PicturesOfAnySize(run)),)


def asked_samples(run: Run, sampler: Sampler, params: SamplerParams) -> tuple[AskedFigures, ...]:
    """Of images that `sampler` draws, against the training images."""
    if not run.asked.figures:
        return ()
    return (AskedFigures(figures=run.asked, measure=_Drawn(run, sampler, params)),)


def _require_there(run: Run, there: set[str], what: str) -> None:
    for one in run.asked.figures:
        if one.measure in CONVENTIONS and one.measure not in there:
            raise ValueError(
                f"--evaluate {one.name}: {what} have none; they have {', '.join(sorted(there - {'lpips'}))}."
            )


class _Pictures:
    def __init__(self, run: Run, picture: Picture, frozen: Any):
        self._run, self._picture, self._frozen = run, picture, frozen
        self._rebuild: dict[str, Callable[[Any, Iterable[Any]], Rebuilt]] = {}

    def __call__(self, state: TrainState, way: Way, until_stopped: UntilStopped) -> list[Measured]:
        run, rounding = self._run, way.rounding or "none"
        if rounding not in self._rebuild:
            self._rebuild[rounding] = make_rebuild(
                self._picture,
                state.averaged,
                self._frozen,
                run.asked.networks,
                lpips=run.asked.lpips,
                rounding=rounding,
                mesh=run.mesh,
                dtype=run.dtype,
                shows=False,
            )
        batches = until_stopped(run.evaluation_batches(run.validation))
        found = self._rebuild[rounding](state.averaged, batches)
        view = run.recipe.augment.still().text
        return measured_pairs(
            found.figures,
            run.asked.networks,
            found.pictures,
            found.originals,
            view=view,
            rounding=rounding,
            seed=run.flags.seed,
            data=run.validation.manifest.source,
            only=way.kinds,
        )


class _PicturesOfAnySize:
    def __init__(self, run: Run):
        self._run = run
        self._rebuild: Callable[[Any, Iterable[Any]], RebuiltAnySize] | None = None

    def __call__(self, state: TrainState, way: Way, until_stopped: UntilStopped) -> list[Measured]:
        run, networks = self._run, self._run.asked.networks
        if self._rebuild is None:
            self._rebuild = make_any_size_rebuild(
                state.averaged,
                run.recipe.patch,
                networks,
                mesh=run.mesh,
                dtype=run.dtype,
                global_batch_size=run.recipe.global_batch_size,
            )
        found = self._rebuild(state.averaged, until_stopped(run.evaluation_batches(run.validation)))
        view = run.recipe.augment.still().text
        return measured_pairs(
            found.figures,
            networks,
            found.pictures,
            found.originals,
            view=view,
            rounding="none",
            seed=run.flags.seed,
            data=run.validation.manifest.source,
            only=way.kinds,
        )


class _Drawn:
    def __init__(self, run: Run, sampler: Sampler, params: SamplerParams):
        self._run, self._sampler, self._params = run, sampler, params
        batch = run.recipe.global_batch_size
        self._extractor = Extractor(run.asked.networks, run.mesh, global_batch_size=batch)
        self._reference: Mapping[str, SetFeatures] = {}

    def __call__(self, state: TrainState, way: Way, until_stopped: UntilStopped) -> Sequence[Measured]:
        run, rounding = self._run, way.rounding
        classes = run.recipe.classes
        total = way.samples or samples_of(len(run.validation), classes)
        labels = class_major(list(range(classes)) or [-1], total)
        sides: set[int] = set()
        draw = partial(self._sampler.draw, labels, self._params, network=state.averaged)

        def images() -> Iterator[np.ndarray]:
            for batch in until_stopped(draw()):
                sides.add(batch.images.shape[1])
                yield to_bytes(batch.images, "down" if rounding == "down" else "nearest")

        samples = self._extractor.gather("samples", images())
        view = Squash(sides.pop())
        if not self._reference:
            said = f"{run.training.manifest.source}@{run.training.manifest.split}"
            seen = ImageSet(
                said,
                view.description,
                records=(run.training,),
                augment=view,
                max_bad_images=run.flags.max_bad_images,
            )
            found = self._extractor.gather(said, until_stopped(seen.images()))
            self._reference = as_reference(found, TRAINING, run.training.manifest.source)
        return measured(
            run.asked.networks,
            samples,
            self._reference,
            view=view.description,
            rounding=rounding or "nearest",
            seed=run.flags.seed,
            order="sorted by class",
            only=way.kinds,
        )


def samples_of(held_out: int, classes: int) -> int:
    """How many images are drawn where nobody says: as many as there are held-out ones, and enough for all classes."""
    return max(held_out, classes, LEAST_SAMPLES)
