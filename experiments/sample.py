"""Images from a trained generator: a grid, single files, what evaluators read, and how good they are.

    python experiments/sample.py                                      ten of each class, from what generator.py left
    python experiments/sample.py --check                              do they look like their class, are they copies?
    python experiments/sample.py --classes cat rocket --per-class 50 --scale 1 --steps 100 --solver heun --png
    python experiments/sample.py --total 50000 --npz                  class-balanced, for evaluators
    python experiments/sample.py --interpolate spherical              from a class to the next, a row of six
    python experiments/sample.py --decoder runs/embedded-decoder      decoded by what decoder.py left

Image i of a seed is the same in any batch, on any mesh.
"""

from laminate.cli.command import flags_command
from laminate.cli.sample_flags import PER_CLASS, SampleFlags, chosen_classes

if __name__ == "__main__":  # before the imports below, which --help need not wait for
    FLAGS = flags_command(__doc__, SampleFlags)

import contextlib
import time
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from etils import epath

from laminate.analysis.figures import sample_grid
from laminate.analysis.interpolation import (
    back_and_forth,
    interpolate,
    side_by_side,
    travellers,
    write_webp,
)
from laminate.analysis.sample_check import check_json, check_rows
from laminate.analysis.sample_files import SampleArchive, class_major, file_name, to_bytes, write_png
from laminate.analysis.sample_reference import MOST_IMAGES, sample_reference
from laminate.analysis.sampling import NotFiniteError
from laminate.data.evaluation import evaluation_batches
from laminate.data.host_slice import HostShare
from laminate.data.records import spread
from laminate.data.sources import open_splits
from laminate.parallel.feeding import feed, parts_of_host
from laminate.parallel.hosts import is_first
from laminate.parallel.mesh import build_mesh
from laminate.recipes.generator.family import GENERATOR
from laminate.recipes.modules import embedded_network
from laminate.recipes.run_names import run_name
from laminate.runs.data_place import find_data, said_data_of
from laminate.runs.devices import open_devices
from laminate.runs.exit_codes import FAILED, say, training_errors, user_errors
from laminate.runs.experiment import trained_first
from laminate.runs.find_checkpoint import run_of
from laminate.runs.open_sampler import open_sampler, sampler_params, way_text
from laminate.runs.transforms import still_view
from laminate.storage.writing import make_folder, write_atomically, write_bytes
from laminate.train.progress import Progress, RunHeader

LOOKED_AT = 400  # images of the grid
STEPS_SHOWN = 9  # of a way, in the picture that stands still


# 1. What is drawn


def make_labels(flags, recipe):
    every = flags.total is not None
    classes = chosen_classes(flags.classes, recipe.class_names, recipe.classes, every=every)
    each = PER_CLASS if flags.per_class is None else flags.per_class
    return class_major(classes, each * len(classes) if flags.total is None else flags.total)


# 2. Drawing, and the files


def draw(sampler, labels, params, out, recipe, flags):
    """The first images and latents; all of them on the way to their files."""
    images, latents, kept = [], [], len(labels) if flags.check else LOOKED_AT
    batches = -(-len(labels) // sampler.global_batch_size)
    progress = Progress(batches, global_batch_size=sampler.global_batch_size, primary=is_first())
    with contextlib.ExitStack() as stack:
        stack.enter_context(progress)
        archive = None
        if flags.npz and is_first():
            archive = stack.enter_context(SampleArchive(out / "samples.npz", labels))
        began = time.perf_counter()
        for number, batch in enumerate(sampler.draw(labels, params), 1):
            pixels = to_bytes(batch.images, flags.rounding)
            progress.at(number)
            if number == batches or number % max(1, batches // 10) == 0:
                progress.log(number, {}, seconds=time.perf_counter() - began)
                began = time.perf_counter()
            if sum(map(len, images)) < kept:
                images.append(pixels)
                latents.append(batch.latents)
            if archive is not None:
                archive.add(pixels)
            if flags.png and is_first():
                for index, image in zip(batch.numbers, pixels, strict=True):
                    write_png(image, out / file_name(int(labels[index]), int(index), recipe.class_names))
    return np.concatenate(images)[:kept], np.concatenate(latents)[:kept]


def class_name(recipe, label):
    return "" if label < 0 else recipe.class_names[label] if recipe.class_names else str(label)


def write_grid(images, labels, recipe, out):
    """A row for each class; longer rows are cut off."""
    shown = labels[: len(images)]
    found, counts = np.unique(shown, return_counts=True)
    columns = int(min(counts.max(), 10 if len(found) > 1 else 20))
    rows, names = [], []
    for label in dict.fromkeys(shown.tolist()):
        mine = images[shown == label][: columns * (1 if len(found) > 1 else 20)]
        for start in range(0, len(mine), columns):
            row = mine[start : start + columns]
            rows.append(np.concatenate([row, np.full((columns - len(row), *row.shape[1:]), 255, np.uint8)]))
            names.append(class_name(recipe, label))
    write_bytes(out / "grid.png", sample_grid(np.concatenate(rows), columns=columns, rows=names))


def write_interpolation(sampler, latents, labels, recipe, out, flags):
    """From an image of one class to one of the next: a picture with a row for each way, and one row that moves."""
    chosen = travellers(labels[: len(latents)])
    ways = [interpolate(a, b, flags.frames, flags.interpolate) for a, b in pairwise(latents[chosen])]
    frames = to_bytes(sampler.decode(np.concatenate(ways)), flags.rounding)
    frames = frames.reshape(len(ways), flags.frames, *frames.shape[1:])
    if is_first():
        shown = np.unique(np.linspace(0, flags.frames - 1, STEPS_SHOWN).round().astype(int))
        names = [class_name(recipe, label) for label in labels[chosen]]
        rows = [f"{a} to {b}" if a else "" for a, b in pairwise(names)]
        still = sample_grid(np.concatenate(frames[:, shown]), columns=len(shown), rows=rows)
        write_bytes(out / "interpolation.png", still)
        moving = [side_by_side(frames[:, step]) for step in back_and_forth(flags.frames)]
        write_webp(moving, out / "interpolation.webp")


# 3. Evaluation: a classifier fitted on the training images, before there is a sample; how near those are; the FD


def open_checked(flags, source, recipe):
    """The splits that `--check` compares with: of the data of the generator's run unless others are named."""
    flags = said_data_of(flags, source, primary=is_first())
    splits = open_splits(flags.data, options=flags.reading)
    manifest = splits["train"].manifest
    if manifest.arrays is not None:
        raise ValueError(f"--check: --data {flags.data} holds {manifest.arrays.field}: give the images.")
    if recipe.classes and recipe.classes != len(manifest.classes):
        raise ValueError(
            f"--check: {recipe.name} draws {recipe.classes} classes and --data {flags.data} has "
            f"{len(manifest.classes)}: give the data that it was trained on."
        )
    return splits


def make_reference(flags, recipe, splits, sampler, frozen):
    """What the samples are compared with, as the embedded network sees it."""

    def batches(split):
        records = spread(splits[split], MOST_IMAGES)
        read = evaluation_batches(
            records,
            global_batch_size=sampler.global_batch_size,
            augment=still_view(recipe, records),
            share=HostShare(*parts_of_host(sampler.mesh)),
            max_bad_images=flags.max_bad_images,
        )
        return feed(read, sampler.mesh)

    known, real = (partial(batches, split) for split in ("train", "validation"))
    return sample_reference(embedded_network(), frozen, known, real, flow=sampler.flow, mesh=sampler.mesh)


def report_check(reference, images, labels, recipe, out):
    found = reference(images, labels)
    title = f"Check of {len(images)} samples by features of the embedded network"
    RunHeader(title, check_rows(found, recipe.class_names)).show(primary=is_first())
    if is_first():
        write_atomically(out / "check.json", check_json(found, recipe.class_names))


def main(flags):
    with user_errors("sample.py"):
        source = trained_first(
            flags.generator, GENERATOR, flags, beside=__file__, what="generator", unfinished_will_do=True
        )
        shape, devices = open_devices(flags)
        opened = open_sampler(
            source,
            flags,
            mesh=build_mesh(shape),
            precision=flags.precision,
            device_batch_size=flags.device_batch_size,
            encodes=flags.check,
            size=flags.size,
        )
        sampler, recipe = opened.sampler, opened.recipe
        labels, params = make_labels(flags, recipe), sampler_params(recipe, flags, seed=flags.seed)
        if flags.interpolate is not None and len(labels) < 2:
            raise ValueError("--interpolate leads from one image to another: draw more than one.")
        splits = open_checked(flags, source, recipe) if flags.check else None
        out = epath.Path(flags.out or default_folder(source))
        make_folder(out)
    trained_on = find_data(source)
    name = recipe.name if trained_on is None else run_name(recipe.name, trained_on.label)
    say(
        f"{len(labels)} images of {name}: {way_text(recipe, flags, params)}; {opened.said}; "
        f"mesh {shape} (data x fsdp), {devices}",
        primary=is_first(),
    )
    with training_errors("sample.py"):
        reference = make_reference(flags, recipe, splits, sampler, opened.frozen) if flags.check else None
        try:
            images, latents = draw(sampler, labels, params, out, recipe, flags)
        except NotFiniteError as error:
            say(f"sample.py: {error}", primary=is_first())
            raise SystemExit(FAILED) from error
        if flags.interpolate is not None:
            write_interpolation(sampler, latents[:LOOKED_AT], labels, recipe, out, flags)
        if is_first():
            write_grid(images[:LOOKED_AT], labels, recipe, out)
        if reference is not None:
            report_check(reference, images, labels, recipe, out)
        say(f"samples: {out} ({', '.join(sorted(p.name for p in out.iterdir()))})", primary=is_first())


def default_folder(source):
    run = Path(run_of(source)[0]).expanduser()
    return run / "drawn" if run.is_dir() else Path("drawn")


if __name__ == "__main__":
    main(FLAGS)
