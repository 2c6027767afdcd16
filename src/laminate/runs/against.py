"""`evaluate.py reconstruct --against`: several tokenizers on the same images, as one result."""

from typing import Any

from jax.sharding import Mesh

from laminate.analysis.comparison_figure import comparison_page
from laminate.cli.evaluate_flags import Reconstruct
from laminate.data.sources import open_splits
from laminate.data.sources.embedded import DEFAULT
from laminate.parallel.hosts import is_first
from laminate.runs.comparison import (
    compare_tokenizers,
    comparison_table,
    labelled,
    open_entrants,
    plain,
)
from laminate.runs.data_place import find_data, said_data_of
from laminate.runs.devices import compute_dtype
from laminate.runs.evaluation_result import Outcome
from laminate.runs.exit_codes import say
from laminate.runs.feature_networks import FeatureNetwork, open_lpips
from laminate.runs.measured_sets import measured_pairs
from laminate.runs.waiting import waiting


def against(flags: Reconstruct, mesh: Mesh, networks: list[FeatureNetwork]) -> Outcome:
    """The tokenizers that the flags name, measured by these networks.

    The data are those that the first of them was trained on that says so. Raises ValueError or OSError for what
    cannot be compared.
    """
    places = (*(() if flags.tokenizer is None else (flags.tokenizer,)), *flags.against)
    noted = next((place for place in places if find_data(place) is not None), None)
    flags = said_data_of(flags, noted, primary=is_first())
    entrants, view = open_entrants(places, flags.image_size, flags.decoder, stored=flags.stored)
    data = flags.data or DEFAULT
    records = open_splits(data, options=flags.reading)["validation"]
    names = ", ".join(one.label for one in entrants)
    say(f"{len(records)} held-out images of {data}, {view.text}, through {names}", primary=is_first())
    compared = compare_tokenizers(
        entrants,
        records,
        networks,
        view=view,
        lpips=open_lpips(flags.lpips),
        rounding=flags.rounding,
        mesh=mesh,
        dtype=compute_dtype(flags.precision),
        global_batch_size=flags.device_batch_size * mesh.devices.size,
        max_bad_images=flags.max_bad_images,
    )
    how: dict[str, Any] = {
        "view": view.text,
        "rounding": flags.rounding,
        "seed": flags.seed,
        "data": data,
        "during": waiting,
    }
    found = [
        (
            one,
            measured_pairs(one.rebuilt.figures, networks, one.rebuilt.pictures, one.rebuilt.originals, **how),
        )
        for one in compared
    ]
    pictures = [
        (one.entrant.label, f"{one.rebuilt.figures['psnr'].mean():.1f} dB", one.rebuilt.shown[1])
        for one in compared
    ]
    return Outcome(
        labelled(found),
        {"tokenizers": list(places), "stored": flags.stored, "data": data, "view": view.text},
        lambda path: comparison_page(compared[0].rebuilt.shown[0], pictures, path),
        None,
        {"tokenizers": plain(found)},
        comparison_table(found),
    )
