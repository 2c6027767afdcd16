"""What `evaluate.py compare` takes where no set is named: images that a generator drew, and held-out ones."""

import os
from contextlib import nullcontext

from etils import epath
from jax.sharding import Mesh

from laminate.analysis.sample_files import SampleArchive, class_major, to_bytes
from laminate.cli.drawing_flags import Drawing
from laminate.cli.evaluate_flags import Compare
from laminate.data.sources import open_splits
from laminate.data.sources.embedded import DEFAULT
from laminate.parallel.hosts import barrier, is_first, of_first
from laminate.runs.asked_subjects import samples_of
from laminate.runs.data_place import find_data
from laminate.runs.evaluation_result import folder_of
from laminate.runs.exit_codes import say
from laminate.runs.open_sampler import open_sampler, sampler_params
from laminate.storage.writing import make_folder

FILE = "samples.npz"


def drawn_and_held_out(place: str, flags: Compare, mesh: Mesh) -> tuple[str, str]:
    """The samples that `sample.py --npz` left in the generator's run at `place`, else ones that are drawn now, and the
    held-out images of its data, as `image_sets.open_image_set` names them.

    All hosts come here. Raises ValueError or OSError for what cannot be drawn.
    """
    noted, file = find_data(place), epath.Path(place) / "drawn" / FILE
    data = DEFAULT if noted is None else noted.source
    if of_first("drawn samples", str(file.exists())) == "False":
        held_out = len(open_splits(data, options=flags.reading)["validation"])
        file = _drawn(place, held_out, flags, mesh)
    say(f"comparing {file}, drawn by {place}, with the held-out images of {data}", primary=is_first())
    return os.fspath(file), f"{data}@validation"


def _drawn(place: str, held_out: int, flags: Compare, mesh: Mesh) -> epath.Path:
    way, file = Drawing(), folder_of(flags, place, "compare") / FILE
    opened = open_sampler(
        place, way, mesh=mesh, precision=flags.precision, device_batch_size=flags.device_batch_size
    )
    classes = opened.recipe.classes
    labels = class_major(list(range(classes)) or [-1], samples_of(held_out, classes))
    say(f"drawing {len(labels)} images of {place}: {opened.said}", primary=is_first())
    if is_first():
        make_folder(file.parent)
    with SampleArchive(file, labels) if is_first() else nullcontext() as archive:
        for batch in opened.sampler.draw(labels, sampler_params(opened.recipe, way, seed=flags.seed)):
            if archive is not None and batch.images is not None:
                archive.add(to_bytes(batch.images, "nearest"))
    barrier("samples are drawn")
    return file
