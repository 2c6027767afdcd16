"""What the modules of several families are made of: frozen networks, the layers of a transformer, and what draws."""

import dataclasses
import json
from functools import lru_cache, partial
from typing import Any, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from laminate.flow import (
    EULER,
    HEUN,
    RK4,
    EulerProject,
    ExpMap,
    Solver,
    Sphere,
    TimeGrid,
    UniPc,
    time_grid,
    unipc_grid,
)
from laminate.models.vit import Trunk
from laminate.nn import LayerNorm, Mlp, RMSNorm, SwiGlu
from laminate.nn.mlp import gelu_exact
from laminate.pretrained import hub
from laminate.pretrained.patches import Patches
from laminate.pretrained.published import READERS
from laminate.pretrained.rae import read_decoder
from laminate.pretrained.teachers import (
    ShowingTeacher,
    VitTeacher,
    load_teacher,
    teacher_identity,
    teacher_shapes,
)
from laminate.pretrained.tensors import weights_hash
from laminate.recipes.families import family_of, family_of_teachers, from_tree, tokenizer_like
from laminate.recipes.latent import LatentSpec, LoadedTokenizer
from laminate.recipes.network import (
    PLAIN,
    Compute,
    TeacherConfig,
    VitConfig,
    find_teacher,
    own_teacher,
)
from laminate.recipes.solvers import SolverName, UniPcConfig
from laminate.tokenizers.base import ImageTokenizer
from laminate.tokenizers.features import FeatureDecoder
from laminate.tokenizers.rae import RaePixels
from laminate.train.export import fill, widened


def model_shapes(recipe: Any, compute: Compute = PLAIN) -> Any:
    """The model of `recipe` without its numbers; nothing is allocated."""
    return eqx.filter_eval_shape(family_of(recipe).modules().build, recipe, compute, key=jax.random.key(0))


def teacher(config: TeacherConfig, *, affine: bool = False, weights: bool = True) -> Patches | VitTeacher:
    """The frozen network of `config`, its weights in NumPy arrays for `parallel.sharding.place`; without `weights`,
    their shapes, for which a known name needs no file. Only if `affine` the final norm of a published one keeps its
    scale and bias.

    Raises ValueError for weights that are damaged, of another network, or others than the recipe was made with, and
    OSError if they are not there.
    """
    if config.name == "patches":
        return Patches(config.image_size, config.patch_size)
    if family_of_teachers(config.family) is not None:
        return trained_teacher(config, weights=weights)
    dtype, size, resampling = jnp.dtype(config.dtype), config.image_size, config.resampling
    if not weights:
        return teacher_shapes(config.name, image_size=size, resampling=resampling, affine=affine, dtype=dtype)
    found = load_teacher(
        config.name, image_size=size, resampling=resampling, affine=affine, dtype=dtype, on_host=True
    )
    if (found.tokens, found.dim) != (config.patches, config.dim):
        raise ValueError(
            f"The teacher {config.name!r} gives {found.tokens} features of {found.dim} numbers, and the recipe was "
            f"made for {config.patches} of {config.dim}: give it the weights that it was made for."
        )
    return found


def trained_teacher(config: TeacherConfig, *, weights: bool = True) -> ShowingTeacher:
    """A network that was trained and saved here; its shapes need its recipe too. Raises as `teacher`.

    The same file is opened once, however many ask for it.
    """
    stated = hub.config_of(hub.locate(config.name)) or {}
    family = family_of_teachers(config.family)
    if family is None or not family.owns(from_tree(stated.get("recipe"))):
        raise ValueError(
            f"{config.name} holds no {config.family} any more, and the recipe was made with one."
        )
    return _opened(dataclasses.replace(config, weights=""), weights, json.dumps(stated, sort_keys=True))


@lru_cache(maxsize=2)
def _opened(config: TeacherConfig, weights: bool, stated: str) -> ShowingTeacher:
    """`stated` is what its config says, its recipe and the hash of its file among that."""
    shapes = model_shapes(from_tree(json.loads(stated)["recipe"]))
    found = fill(shapes, widened(hub.load(config.name).weights), config.name) if weights else shapes
    return jax.tree.map(lambda leaf: _as_stored(leaf, jnp.dtype(config.dtype)), found)


def _as_stored(leaf: Any, dtype: jnp.dtype) -> Any:
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return jax.ShapeDtypeStruct(leaf.shape, dtype)
    return leaf.astype(dtype)


def embedded_network(*, weights: bool = True) -> ShowingTeacher:
    """The frozen network in the package, its weights in NumPy arrays, or their shapes."""
    return trained_teacher(find_teacher(hub.EMBEDDED), weights=weights)


def identified(stated: TeacherConfig) -> TeacherConfig:
    """A teacher with the hash of its weights. Raises ValueError if it states another one already."""
    if stated.name == "patches":
        return stated
    found = network_identity(stated.name)
    require_same_weights(f"teacher {stated.name!r}", stated.weights, found)
    return dataclasses.replace(stated, weights=found)


def network_identity(source: str) -> str:
    """The hash of all that decides what the frozen network at `source` computes; of one that was trained here, that of
    its weights, or of the network that it has its frozen encoder from."""
    own = own_teacher(source)
    if own is None:
        return teacher_identity(source)
    return own.weights or weights_hash(hub.load(own.name).weights)


def require_same_weights(what: str, stated: str, found: str) -> None:
    """Raises ValueError if a recipe states another hash of the weights of `what` than that which was found."""
    if stated not in ("", found):
        raise ValueError(
            f"The weights of the {what} have changed: their hash is {found[:12]}, and the recipe was made with "
            f"{stated[:12]}. Bring the old ones back, or start from the name of the experiment."
        )


def same_teacher(wanted: TeacherConfig, given: TeacherConfig) -> bool:
    """Whether features of `given` are those of `wanted`: the same sizes and, as far as both state them, weights.

    The name and the number format in memory may differ.
    """
    if "" not in (wanted.weights, given.weights) and wanted.weights != given.weights:
        return False
    sizes = (dataclasses.replace(one, name="", dtype="float32", weights="") for one in (wanted, given))
    return next(sizes) == next(sizes)


def feature_decoder(teacher: TeacherConfig, decoder: str | None) -> FeatureDecoder | None:
    """What shows the features of `teacher` as pixels: themselves, or the `decoder` of a published autoencoder.

    Its weights are NumPy arrays. None if there is nothing. Raises as `pixel_decoder`.
    """
    if decoder is not None:
        return pixel_decoder(decoder, teacher)
    if teacher.name == "patches":
        return Patches(teacher.image_size, teacher.patch_size)
    return RaePixels(trained_teacher(teacher).decoder) if teacher.shows_images else None


def pixel_decoder(source: str, teacher: TeacherConfig, *, flag: str = "--pixel-decoder") -> RaePixels:
    """The decoder of a published autoencoder, to look at the features of `teacher`; weights in NumPy arrays.

    Raises ValueError, naming the `flag`, if it takes other features, or cannot be read, and OSError if it is not there.
    """
    if teacher.family not in READERS:
        raise ValueError(f"{flag}: the features of `{teacher.name}` are pixels already, leave it out.")
    family = READERS[teacher.family]
    decoder = read_decoder(*hub.load(source), mean=family.mean, std=family.std, on_host=True)
    if decoder.vit.in_dim != teacher.dim:
        raise ValueError(
            f"{flag} {source} takes features of {decoder.vit.in_dim} numbers, and {teacher.name} gives "
            f"{teacher.dim}: use one that was trained on this teacher."
        )
    return RaePixels(decoder)


_MLPS = {"swiglu": SwiGlu, "gelu": Mlp, "gelu-exact": partial(Mlp, activation=gelu_exact)}


def trunk(vit: VitConfig, compute: Compute = PLAIN) -> Trunk:
    """The layers of `vit`, computed so."""
    return Trunk(
        dim=vit.dim,
        depth=vit.depth,
        heads=vit.heads,
        hidden=vit.hidden,
        mlp=_MLPS[vit.mlp],
        norm=LayerNorm if vit.norm == "layer" else RMSNorm,
        norm_eps=vit.norm_eps,
        qk_norm=vit.qk_norm,
        attention_bias=vit.bias,
        mlp_bias=vit.bias,
        drop_path_rate=vit.drop_path_rate,
        kernel=compute.kernel,
        remat=compute.remat_of(vit.depth),
    )


def image_tokenizer(
    loaded: LoadedTokenizer | None, *, like: LatentSpec, encodes: bool = True, weights: bool = True
) -> ImageTokenizer:
    """A loaded tokenizer with the frozen networks before it, their weights in NumPy arrays.

    Without one, that of a recipe with latents `like` these, in shapes: for a plan. One that `encodes` nothing has no
    network that only encoding needs.
    """
    recipe = tokenizer_like(like) if loaded is None else loaded.recipe
    made = family_of(recipe).modules()
    model = model_shapes(recipe) if loaded is None else loaded.model
    return made.tokenizer(recipe, model, encodes=encodes, weights=weights and loaded is not None)


def require_statistics(tokenizer: LoadedTokenizer) -> None:
    """Raises ValueError if the mean and variance of the latents are needed and were never measured."""
    if not tokenizer.latent.normalised:
        return
    statistics = tokenizer.model.normalization
    if not np.any(np.asarray(statistics.mean.value)) and np.all(np.asarray(statistics.std.value) == 1.0):
        raise ValueError(
            f"The tokenizer {tokenizer.source} has no statistics of its latents (mean 0 and deviation 1 everywhere), "
            "and a generator needs them: they are measured when its training ends; run "
            f"{family_of(tokenizer.recipe).script} to its end."
        )


@runtime_checkable
class Drawn(Protocol):
    """What a recipe says of how it is drawn from."""

    @property
    def steps(self) -> int: ...
    @property
    def unipc(self) -> UniPcConfig: ...
    @property
    def radius(self) -> float | None: ...
    @property
    def resolved_solver(self) -> SolverName: ...
    @property
    def resolved_time_shift(self) -> float: ...


def solver(recipe: Drawn, name: SolverName | None = None, unipc: UniPcConfig | None = None) -> Solver:
    """What takes the steps along the path of `recipe`: its own solver and settings, unless told otherwise."""
    name = recipe.resolved_solver if name is None else name
    if name == "unipc":
        settings = recipe.unipc if unipc is None else unipc
        return UniPc(
            settings.order,
            settings.kind,
            settings.predicts,
            settings.lower_order_final,
            settings.uncorrected,
        )
    if recipe.radius is not None:
        path = Sphere(recipe.radius)
        return ExpMap(path) if name == "expmap" else EulerProject(path)
    return {"euler": EULER, "heun": HEUN, "rk4": RK4}[name]


def sampling_grid(
    recipe: Drawn,
    name: SolverName | None = None,
    *,
    steps: int | None = None,
    time_shift: float | None = None,
) -> TimeGrid:
    """The times at which a solver stops: that of UniPC has a grid of its own, which begins a little above noise."""
    steps = recipe.steps if steps is None else steps
    time_shift = recipe.resolved_time_shift if time_shift is None else time_shift
    if (recipe.resolved_solver if name is None else name) == "unipc":
        return unipc_grid(steps, shift=time_shift)
    return time_grid(steps, time_shift=time_shift)
