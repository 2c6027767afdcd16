"""What `evaluate.py reconstruct` measures of a tokenizer of images of any size: as for others, and by resolution."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jax.sharding import Mesh

from laminate.analysis.gallery import pair_gallery
from laminate.cli.evaluate_flags import Reconstruct
from laminate.data.records import Records
from laminate.evals.results import number
from laminate.parallel.hosts import is_first
from laminate.recipes.latent import LoadedTokenizer
from laminate.runs.any_size_reconstructions import rebuild_any_size, still_view
from laminate.runs.devices import compute_dtype
from laminate.runs.evaluation_result import Outcome
from laminate.runs.exit_codes import say
from laminate.runs.feature_networks import open_feature_networks
from laminate.runs.load_decoder import DecoderChoice
from laminate.runs.measured_sets import measured_pairs
from laminate.runs.waiting import waiting
from laminate.tokenizers.vitok import Vitok

Figures = Mapping[str, Sequence[float] | np.ndarray]
_DISTANCES = ("fid", "fd")


def has_sizes(loaded: LoadedTokenizer) -> bool:
    """Whether images are measured at their own sizes: those of a tokenizer of patches in any number."""
    return isinstance(loaded.model, Vitok)


def require_one_size(flags: Reconstruct) -> None:
    """Raises ValueError for what only a tokenizer of images of any size can be asked."""
    if flags.longest is not None:
        raise ValueError("--longest is for tokenizers of images of any size, such as those of vitok.py.")


def evaluate_any_size(
    flags: Reconstruct,
    mesh: Mesh,
    place: str,
    loaded: LoadedTokenizer,
    decoder: DecoderChoice,
    records: Records,
) -> Outcome:
    """Figures of held-out images at their own sizes, distances of the sets, and both again by resolution, which end in
    `/HEIGHTxWIDTH`: images of at most that size, and larger than the next smaller one.

    Raises ValueError for what is for images of one size alone.
    """
    _require_own(flags, decoder)
    networks = open_feature_networks(flags.inception, flags.dino, flags.clip, any_size=True)
    view, said = still_view(loaded.recipe, flags.longest)
    say(f"{len(records)} held-out images of {flags.data} through {place}: {said}", primary=is_first())
    found = rebuild_any_size(
        loaded,
        records,
        networks,
        view,
        mesh=mesh,
        dtype=compute_dtype(flags.precision),
        global_batch_size=flags.device_batch_size * mesh.devices.size,
        max_bad_images=flags.max_bad_images,
    )
    how: dict[str, Any] = {"rounding": "none", "seed": flags.seed, "data": flags.data, "during": waiting}
    results = measured_pairs(found.figures, networks, found.pictures, found.originals, view=said, **how)
    for one in found.resolutions:
        sets = one.of(found.pictures), one.of(found.originals)
        where = f"{said}; of at most {one.name} pixels"
        mine = measured_pairs(one.figures, networks, *sets, view=where, only=_DISTANCES, **how)
        results += [dataclasses.replace(result, name=f"{result.name}/{one.name}") for result in mine]
    counts = {one.name: one.count for one in found.resolutions}
    each = {name: [number(float(value)) for value in values] for name, values in found.figures.items()}
    return Outcome(
        results,
        {
            "tokenizer": place,
            "weights": loaded.identity.sha256,
            "decoder": decoder.said,
            "data": flags.data,
            "resolutions": counts,
        },
        lambda path: pair_gallery(found.shown, path),
        place,
        {"images": each},
    )


def _require_own(flags: Reconstruct, decoder: DecoderChoice) -> None:
    if decoder.decoder is not None:
        raise ValueError(f"{decoder.said} makes images of one size: add --decoder none.")
    for flag, given in (("--lpips", flags.lpips is not None), ("--rounding", flags.rounding != "none")):
        if given:
            raise ValueError(f"{flag} is for images of one size, and these have many: leave it out.")
