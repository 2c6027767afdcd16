"""How good a tokenizer or a generator is, in one file of figures that say how they were measured, and one picture.

    python experiments/evaluate.py reconstruct        what the tokenizer that vae.py left gives back of held-out images
    python experiments/evaluate.py reconstruct --against flux sd RUN
                                                      several tokenizers on the same images: a table, a row for each
    python experiments/evaluate.py generate           images of the generator beside training images and held-out ones
    python experiments/evaluate.py compare            what the generator drew, against held-out images
    python experiments/evaluate.py compare A B        two folders, sets of records, files of samples, or moments
    python experiments/evaluate.py probe              classes by latents, and by the features that they compress
    python experiments/evaluate.py protocols          every protocol by name
    python experiments/evaluate.py show A B           results side by side, and where they were measured otherwise

Without a network the one in the package measures, and names say so: fd@embedded is no FID. --inception, --dino and
--clip add others.
"""

from laminate.cli.command import flags_command
from laminate.cli.evaluate_flags import Compare, Evaluation, Generate, Probe, Protocols, Reconstruct, Show

if __name__ == "__main__":  # before the imports below, which --help need not wait for
    FLAGS = flags_command(__doc__, Evaluation)

import dataclasses

import numpy as np
from etils import epath

from laminate.analysis.evaluation_figures import probe_page, quality_page, sets_page
from laminate.analysis.sample_files import class_major, to_bytes
from laminate.data.augment import Squash
from laminate.data.sources import open_splits
from laminate.evals.protocols import AS_GIVEN, TRAINING
from laminate.evals.results import number
from laminate.evals.set_measures import as_reference
from laminate.parallel.hosts import is_first
from laminate.parallel.mesh import build_mesh
from laminate.recipes.flatdino.family import VAE
from laminate.recipes.generator.family import GENERATOR
from laminate.runs.against import against
from laminate.runs.any_size_evaluation import evaluate_any_size, has_sizes, require_one_size
from laminate.runs.asked_subjects import samples_of
from laminate.runs.comparison import open_entrants
from laminate.runs.data_place import said_data_of
from laminate.runs.devices import compute_dtype, open_devices
from laminate.runs.drawn_samples import drawn_and_held_out
from laminate.runs.evaluation_result import Outcome, conclude, folder_of, show_protocols, show_results
from laminate.runs.exit_codes import say, training_errors, user_errors
from laminate.runs.experiment import trained_first
from laminate.runs.feature_networks import open_feature_networks, open_lpips
from laminate.runs.feature_sets import Extractor
from laminate.runs.image_sets import VIEWS, open_image_set, require_alike, size_of_file
from laminate.runs.kept_samples import KeptSamples
from laminate.runs.load_tokenizer import load_tokenizer
from laminate.runs.measured_reconstructions import OWN, rebuild
from laminate.runs.measured_sets import measured, measured_pairs
from laminate.runs.open_sampler import open_sampler, sampler_params, way_text
from laminate.runs.probing import Probes, probe_results, require_told, tell
from laminate.runs.seen_sets import see, see_set
from laminate.runs.waiting import waiting

SIZE = 64  # of images of a source, where nothing else says


# 1. Networks that measure, and what their figures depend on


def open_extractor(flags, mesh):
    networks = open_feature_networks(flags.inception, flags.dino, flags.clip)
    return Extractor(networks, mesh, global_batch_size=flags.device_batch_size * mesh.devices.size)


# 2. Reconstructions of held-out images, beside those of the teacher's own decoder


def reconstruct(flags, mesh):
    if flags.against:
        return against(flags, mesh, open_feature_networks(flags.inception, flags.dino, flags.clip))
    place = trained_first(flags.tokenizer, VAE, flags, beside=__file__, what="tokenizer")
    flags = said_data_of(flags, place, primary=is_first())
    (entrant,), _ = open_entrants((place,), flags.image_size, flags.decoder, stored=flags.stored)
    loaded, decoder = entrant.loaded, entrant.decoder
    records = open_splits(flags.data, options=flags.reading)["validation"]
    if has_sizes(loaded):
        return evaluate_any_size(flags, mesh, place, loaded, decoder, records)
    require_one_size(flags)
    networks = open_feature_networks(flags.inception, flags.dino, flags.clip)
    say(
        f"{len(records)} held-out images of {flags.data} through {place}, decoded by {decoder.said}",
        primary=is_first(),
    )
    found = rebuild(
        loaded,
        decoder,
        records,
        networks,
        lpips=open_lpips(flags.lpips),
        rounding=flags.rounding,
        mesh=mesh,
        dtype=compute_dtype(flags.precision),
        global_batch_size=flags.device_batch_size * mesh.devices.size,
        max_bad_images=flags.max_bad_images,
    )
    view = loaded.recipe.augment.still().text
    how = {
        "view": view,
        "rounding": flags.rounding,
        "seed": flags.seed,
        "data": flags.data,
        "during": waiting,
    }
    results = measured_pairs(found.figures, networks, found.pictures, found.originals, **how)
    if found.own:
        own = measured_pairs(found.own, networks, found.own_pictures, found.originals, **how)
        results += [dataclasses.replace(one, name=f"{one.name}/{OWN}") for one in own]
    keys, decibels = list(records.keys()), found.figures["psnr"]
    shown = decibels[: len(found.shown[0])]
    title = f"What {place} gives back of held-out images"
    says = (
        f"The best, the median and the worst of {len(shown):,} images of {flags.data} by PSNR, on average "
        f"{decibels.mean():.1f} dB. Decoded by {decoder.said}."
    )
    each = {name: [number(float(value)) for value in values] for name, values in found.figures.items()}
    return Outcome(
        results,
        {
            "tokenizer": place,
            "weights": loaded.identity.sha256,
            "stored": flags.stored,
            "decoder": decoder.said,
            "data": flags.data,
        },
        lambda path: quality_page(*found.shown, shown, path, title=title, says=says),
        place,
        {"images": {"keys": keys if len(keys) == len(each["psnr"]) else [], **each}},
    )


# 3. Images of a generator, drawn here or given, against training images; held-out images beside


def drawn_images(sampler, labels, params, stored):
    def draw(first):
        for batch in sampler.draw(labels[first:], params, first=first):
            yield to_bytes(batch.images, "nearest")

    return stored.images(draw)


def generate(flags, mesh):
    place = flags.generator or f"runs/{GENERATOR.names.default}"
    if flags.samples is None:
        place = trained_first(
            flags.generator, GENERATOR, flags, beside=__file__, what="generator", unfinished_will_do=True
        )
    flags = said_data_of(flags, place, primary=is_first())
    splits = open_splits(flags.data, options=flags.reading)
    extractor, stored = open_extractor(flags, mesh), None
    if flags.samples is None:
        opened = open_sampler(
            place,
            flags,
            mesh=mesh,
            precision=flags.precision,
            device_batch_size=flags.device_batch_size,
        )
        params = sampler_params(opened.recipe, flags, seed=flags.seed)
        total = flags.total or samples_of(len(splits["validation"]), opened.recipe.classes)
        labels = class_major(list(range(opened.recipe.classes)) or [-1], total)
        means = f"{way_text(opened.recipe, flags, params)}; {opened.said}"
        say(f"drawing {total} images of {place}: {means}", primary=is_first())
        stored = KeptSamples(folder_of(flags, place, "generate") / "drawn", labels)
        drawn = drawn_images(opened.sampler, labels, params, stored)
        samples, order = see(extractor, f"samples of {place}", drawn, total), "sorted by class"
    else:
        given = open_set(flags, flags.samples, Squash(SIZE))
        require_alike(given, open_set(flags, f"{flags.data}@train", Squash((given.size or (SIZE,))[0])))
        order, means = AS_GIVEN, f"given in {flags.samples}"
        samples = see(extractor, given.said, given.images(), given.count)
    side = samples.shown.shape[1]
    sets = {split: open_set(flags, f"{flags.data}@{split}", Squash(side)) for split in splits}
    real = {split: see(extractor, one.said, one.images(), one.count) for split, one in sets.items()}
    against, view = as_reference(real["train"].features, TRAINING, flags.data), Squash(side).description
    if flags.reference is not None:
        held = open_set(flags, flags.reference, None)
        against, view = as_reference(see_set(extractor, held).features, held.role, held.data), held.view
    results = measured(
        extractor.networks,
        samples.features,
        against,
        view=view,
        rounding="nearest" if flags.samples is None else "",
        seed=flags.seed,
        real=real["validation"].features,
        order=order,
        during=waiting,
    )
    name = extractor.networks[0].name
    named = {"samples": samples, "held-out images": real["validation"], "training images": real["train"]}
    shown = [(title, one.shown, one.features[name].pool) for title, one in named.items()]
    return Outcome(
        results,
        {"generator": place, "samples": means, "data": flags.data, "against": against[name].said},
        lambda path: sets_page(shown, rows(results), path, title=f"Samples of {place}", heads=HEADS),
        place if flags.samples is None else None,
        after=None if stored is None else stored.clear,
    )


HEADS = ("measure", "samples", "held-out images")


def rows(results):
    return [
        (one.name, f"{one.value:.4g}", "" if one.floor is None else f"{one.floor:.4g}") for one in results
    ]


# 4. Two sets


def open_set(flags, text, view, most=None):
    return open_image_set(
        text, view=view, reading=flags.reading, max_bad_images=flags.max_bad_images, most=most
    )


def compare(flags, mesh):
    place, texts = None, (flags.first, flags.second)
    if flags.first is None:
        place = trained_first(
            None, GENERATOR, flags, beside=__file__, what="generator", unfinished_will_do=True
        )
        texts = drawn_and_held_out(place, flags, mesh)
    size = flags.image_size or next((s[0] for s in map(size_of_file, texts) if s is not None), SIZE)
    view = VIEWS[flags.view](size)
    first, second = (open_set(flags, text, view, flags.total) for text in texts)
    require_alike(first, second)
    extractor = open_extractor(flags, mesh)
    samples, held = (see_set(extractor, one) for one in (first, second))
    reference = as_reference(held.features, second.role, second.data)
    said = first.view if first.view == second.view else f"{first.view}; {second.view}"
    how = {"view": said, "rounding": "", "seed": flags.seed, "order": AS_GIVEN, "during": waiting}
    results = measured(extractor.networks, samples.features, reference, **how)
    name = extractor.networks[0].name
    shown = [
        (one.said, seen.shown, seen.features[name].pool)
        for one, seen in ((first, samples), (second, held))
        if one.has_images
    ]
    title = f"{first.said} against {second.said}"
    heads = ("measure", "value", "")
    picture = None
    if shown:
        picture = lambda path: sets_page(shown, rows(results), path, title=title, heads=heads)
    return Outcome(results, {"first": texts[0], "second": texts[1], "view": said}, picture, place)


# 5. Classes by latents and by features


def probe(flags, mesh):
    place = trained_first(flags.tokenizer, VAE, flags, beside=__file__, what="tokenizer")
    flags = said_data_of(flags, place, primary=is_first())
    splits = open_splits(flags.data, options=flags.reading)
    names = splits["train"].manifest.classes
    if (classes := len(names)) < 2:
        raise ValueError(
            f"--data {flags.data} has {classes} classes, and two are what can be told apart: give images in folders of "
            "their classes, or other sources with labels."
        )
    loaded = load_tokenizer(place)
    batch = flags.device_batch_size * mesh.devices.size
    probes = Probes(loaded, mesh=mesh, dtype=compute_dtype(flags.precision), global_batch_size=batch)
    view = loaded.recipe.augment.still()
    known, seen = (
        probes.known(splits[split], view.transform(), max_bad_images=flags.max_bad_images)
        for split in ("train", "validation")
    )
    require_told(known, classes, flags.data)
    told = {
        kind: tell(
            known, seen, kind, classes=classes, neighbours=flags.neighbours, temperature=flags.temperature
        )
        for kind in known.mean
    }
    results = probe_results(told, known, seen, view.text, flags.temperature, data=flags.data, classes=names)
    columns = [*(f"k-NN, {k}" for k in flags.neighbours), "linear probe"]
    bars = [
        (f"{kind} ({one.dim})", [*(found.top1 for found in one.knn.values()), one.linear])
        for kind, one in told.items()
    ]
    title = f"Classes of held-out images by features of {place}"
    chance = 100.0 * float(np.bincount(seen.labels, minlength=classes).max() / len(seen.labels))
    return Outcome(
        results,
        {"tokenizer": place, "weights": loaded.identity.sha256, "data": flags.data, "classes": classes},
        lambda path: probe_page(bars, columns, path, title=title, chance=chance),
        place,
    )


RUN = {Reconstruct: reconstruct, Generate: generate, Compare: compare, Probe: probe}


def main(flags):
    if isinstance(flags, Protocols):
        with user_errors("evaluate.py"):
            show_protocols(flags.names)
        return
    if isinstance(flags, Show):
        with user_errors("evaluate.py"):
            show_results([epath.Path(file) for file in flags.files])
        return
    with training_errors("evaluate.py"), user_errors("evaluate.py"):
        shape, _ = open_devices(flags)
        what = type(flags).__name__.lower()
        conclude(what, flags, RUN[type(flags)](flags, build_mesh(shape)))


if __name__ == "__main__":
    main(FLAGS)
