"""What is analysed: a tokenizer on a mesh, the images that it has seen, and what it made of them."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, UInt8

from laminate.data.evaluation import evaluation_batches
from laminate.data.host_slice import HostShare
from laminate.data.records import Records
from laminate.nn import resize
from laminate.parallel.feeding import feed, parts_of_host
from laminate.parallel.sharding import place
from laminate.pretrained.features import features_of
from laminate.pretrained.patches import IMAGENET_MEAN, IMAGENET_STD
from laminate.recipes.latent import LoadedTokenizer
from laminate.recipes.modules import image_tokenizer, teacher
from laminate.runs.load_decoder import DecoderChoice, require_images
from laminate.runs.open_sampler import OpenSampler
from laminate.train.step import joined, make_map, map_batches

T = TypeVar("T")


@dataclass(frozen=True)
class Seen:
    """Images in [0, 1], their latents as the bottleneck gives them and normalised, the teacher's features, and their
    labels (-1: none), which are those of `classes`."""

    images: Float[np.ndarray, "images height width 3"]
    raw: Float[np.ndarray, "images tokens dim"]
    latents: Float[np.ndarray, "images tokens dim"]
    features: Float[np.ndarray, "images patches channels"] | None
    labels: Int[np.ndarray, " images"] | None = None
    classes: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class Finding:
    """An answer: numbers for the JSON, a line that says what they mean, what draws the picture, further files."""

    numbers: dict[str, Any]
    summary: str
    draw: Callable[[epath.Path], None]
    remarks: tuple[str, ...] = ()
    files: dict[str, Callable[[epath.Path], None]] = field(
        default_factory=dict[str, Callable[[epath.Path], None]]
    )


class Subject:
    """A tokenizer with its teacher and what makes images of its latents, compiled once.

    `batch` images are computed at a time over the mesh. `generator` draws such latents, if there is one. Raises
    ValueError if nothing makes images of the latents.
    """

    generator: OpenSampler | None = None

    def __init__(
        self,
        loaded: LoadedTokenizer,
        decoder: DecoderChoice,
        *,
        mesh: Mesh,
        dtype: jnp.dtype,
        batch: int,
        generator: OpenSampler | None = None,
    ):
        self.loaded, self.generator = loaded, generator
        tokenizer = image_tokenizer(loaded, like=loaded.latent)
        way = decoder.of(tokenizer)
        require_images(way, loaded)
        config = loaded.latent.teacher
        self.mesh, self.dtype, self.batch = mesh, dtype, batch
        networks = {"tokenizer": tokenizer, "teacher": None if config is None else teacher(config)}
        self._encoding = place(networks, mesh)
        self._decoding = place({"way": way, "tokenizer": tokenizer}, mesh)
        self._decode: dict[str, Callable[..., dict[str, Array]]] = {}

    @property
    def name(self) -> str:
        return self.loaded.source

    def require_generator(self, what: str) -> OpenSampler:
        """What draws such latents. Raises ValueError if there is nothing."""
        if self.generator is None:
            raise ValueError(f"{what} asks a generator on the latents of {self.name}: give --generator.")
        return self.generator

    def track(self, steps: Iterable[T], what: str, count: int) -> Iterable[T]:
        """`steps` as they are; whoever has a progress bar puts another function here."""
        del what, count
        return steps

    @property
    def networks(self) -> dict[str, Any]:
        """The `tokenizer` and its `teacher` (None without one), on the mesh."""
        return self._encoding

    @property
    def grid(self) -> int:
        """Patches along a side; 0 without a teacher."""
        config = self.loaded.latent.teacher
        return 0 if config is None else config.grid

    def pixel_patches(
        self, images: Float[np.ndarray, "images height width 3"]
    ) -> Float[np.ndarray, "patches numbers"]:
        """The pixels of each patch that the teacher sees, in its size and normalised as for DINO. Raises ValueError
        without a teacher."""
        config = self.loaded.latent.teacher
        if config is None:
            raise ValueError("This tokenizer has no teacher, whose patches could be looked at.")
        side, patch = config.image_size, config.patch_size
        sized = lambda image: resize(image, (side, side), config.resampling)
        rows: list[np.ndarray] = []
        for start in range(0, len(images), self.batch):
            some = images[start : start + self.batch]
            if some.shape[1:3] != (side, side):
                some = np.asarray(jax.vmap(sized)(jnp.asarray(some, jnp.float32)))
            whole = (some - np.asarray(IMAGENET_MEAN)) / np.asarray(IMAGENET_STD)
            grid = whole.reshape(len(some), self.grid, patch, self.grid, patch, 3).swapaxes(2, 3)
            rows.append(grid.reshape(-1, 3 * patch**2).astype(np.float32))
        return np.concatenate(rows)

    def look(self, records: Records, count: int, *, max_bad_images: int) -> Seen:
        """The first images of a split. Raises ValueError for none."""
        apply = make_map(self._see, (), self._encoding, mesh=self.mesh, compute_dtype=self.dtype)
        batches = evaluation_batches(
            records,
            global_batch_size=self.batch,
            augment=self.loaded.recipe.augment.still().transform(),
            share=HostShare(*parts_of_host(self.mesh)),
            max_bad_images=max_bad_images,
        )
        some = islice(feed(batches, self.mesh), -(-count // self.batch))
        found = joined(map_batches(apply, (), self._encoding, some))
        kept = {name: rows[:count] for name, rows in found.items()}
        classes = records.manifest.classes
        return Seen(kept["image"], kept["raw"], kept["latents"], kept.get("features"), kept["label"], classes)

    def pixels(self, raw: Float[np.ndarray, "rows tokens dim"]) -> Float[np.ndarray, "rows h w 3"]:
        """Images in [0, 1] of raw latents."""
        return self._decoded("pixels", raw, lambda frozen, z: frozen["way"](z, dtype=self.dtype))

    def features(self, raw: Float[np.ndarray, "rows tokens dim"]) -> Float[np.ndarray, "rows patches width"]:
        """The teacher's features that raw latents stand for. Raises ValueError for a tokenizer of images."""
        return self._decoded(
            "features", raw, lambda frozen, z: frozen["tokenizer"].features(z, dtype=self.dtype)
        )

    def denormalised(
        self, latents: Float[np.ndarray, "rows tokens dim"]
    ) -> Float[np.ndarray, "rows tokens dim"]:
        """Raw latents that normalised ones stand for."""
        found = self._encoding["tokenizer"].normalization
        if found is None:
            return latents
        mean, std = (np.asarray(each.value) for each in (found.mean, found.std))
        return latents * std + mean

    def _see(self, model: Any, frozen: dict[str, Any], example: dict[str, Array]) -> dict[str, Array]:
        tokenizer, dtype = frozen["tokenizer"], self.dtype
        raw = tokenizer.encode_raw(example, dtype=dtype)[0].astype(jnp.float32)
        normal = tokenizer.normalization
        found = {
            "image": tokenizer.original(example),
            "raw": raw,
            "latents": raw if normal is None else normal(raw),
            "label": example["label"],
        }
        if frozen["teacher"] is not None:
            found["features"] = features_of(frozen["teacher"], example, dtype=dtype).final.astype(jnp.float32)
        return found

    def _decoded(
        self, name: str, raw: Float[np.ndarray, "rows tokens dim"], decode: Callable[[Any, Array], Array]
    ) -> np.ndarray:
        def one(model: Any, frozen: Any, example: dict[str, Array]) -> dict[str, Array]:
            return {"found": decode(frozen, example["latents"]).astype(jnp.float32)}

        if name not in self._decode:
            self._decode[name] = make_map(one, (), self._decoding, mesh=self.mesh, compute_dtype=self.dtype)
        batches = feed(self._rows(raw.astype(np.float32)), self.mesh)
        return joined(map_batches(self._decode[name], (), self._decoding, batches))["found"]

    def _rows(self, raw: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
        places = HostShare(*parts_of_host(self.mesh)).places(self.batch)
        for start in range(0, len(raw), self.batch):
            rows = start + places
            yield {"latents": raw[np.minimum(rows, len(raw) - 1)], "valid": rows < len(raw)}


def as_bytes(images: Float[np.ndarray, "*lead height width 3"]) -> UInt8[np.ndarray, "*lead height width 3"]:
    """Images in [0, 1] as uint8."""
    return np.round(np.clip(images, 0.0, 1.0) * 255.0).astype(np.uint8)


def decibels(
    images: Float[np.ndarray, "*lead height width 3"], originals: Float[np.ndarray, "*lead height width 3"]
) -> Float[np.ndarray, "*lead"]:
    """PSNR of each image."""
    error = np.square(np.clip(images, 0.0, 1.0) - originals).mean(axis=(-3, -2, -1))
    return -10.0 * np.log10(np.maximum(error, 1e-10))
