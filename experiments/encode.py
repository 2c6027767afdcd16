"""Features of a frozen network, or latents of a tokenizer, computed once and written as records that --data reads.

    python experiments/encode.py features --data ~/photos --teacher dinov2-b
    python experiments/vae.py --data features                        trains on them: the teacher is not run again
    python experiments/encode.py latents --what latents --tokenizer runs/NAME

Interrupted, the same command goes on. Several hosts (--coordinator, or a TPU slice) share the work.
"""

from laminate.cli.encode_flags import encode_command

if __name__ == "__main__":  # before the imports below, which --help need not wait for
    COMMAND = encode_command(__doc__)

import dataclasses

import jax
import jax.numpy as jnp

from laminate.parallel.cluster import find_place
from laminate.parallel.hosts import is_first, start
from laminate.parallel.mesh import local_mesh, parse_mesh
from laminate.parallel.sharding import place
from laminate.pretrained.features import features_of
from laminate.recipes import modules as build
from laminate.runs.devices import compute_dtype
from laminate.runs.precompute import encode, open_images, summary
from laminate.runs.exit_codes import say, training_errors, user_errors
from laminate.recipes.serialization import teacher_of, teacher_tree
from laminate.recipes.network import find_teacher
from laminate.runs.pretrained import load_pretrained
from laminate.train.export import content_hash

# 1. What is written of one view: features, or the normalised latents without sampling


def make_function(flags, dtype, stored):
    def features(_, teacher, example):
        found = features_of(teacher, example, layer=flags.layer, dtype=dtype)
        array = found.final if flags.layer is None else jnp.stack(found)
        return {"array": array.astype(stored)}

    def latents(tokenizer, teacher, example):
        found = features_of(teacher, example, dtype=dtype).final
        return {"array": tokenizer.encode(found.astype(dtype)).astype(stored)}

    return features if flags.what == "features" else latents


# 2. Networks: the teacher, and the tokenizer that was trained on it


def find_networks(flags):
    """The tokenizer (None for features) and the recipe of the teacher."""
    named = {"image_size": flags.teacher_image_size, "dtype": flags.teacher_dtype}
    if flags.tokenizer is None:
        return None, find_teacher(flags.teacher or "dinov2-b", **named)
    loaded = load_pretrained(flags.tokenizer)
    teacher = loaded.recipe.teacher
    if flags.teacher is not None:
        teacher = dataclasses.replace(find_teacher(flags.teacher, **named), weights=teacher.weights)
    return loaded, teacher


def main(flags):
    with training_errors("encode.py"), user_errors("encode.py"):
        start(find_place(flags.coordinator, flags.hosts, flags.host))
        mesh = local_mesh(parse_mesh(flags.mesh))
        dtype = compute_dtype(flags.precision)
        loaded, teacher = find_networks(flags)
        # 3. Images, or features of them that were written before
        images = open_images(flags, flags.image_size or teacher.crop_size)
        arrays = images.records["train"].manifest.arrays
        teacher = build.identified(teacher) if arrays is None else teacher_of(arrays.made_by["teacher"])
        made_by = {"teacher": teacher_tree(teacher), "layer": flags.layer}
        if loaded is not None:
            build.require_teacher(loaded.recipe, teacher)
            made_by["tokenizer"] = content_hash(loaded.model)
        frozen = build.teacher(teacher) if arrays is None else None
        tokenizer = None if loaded is None else place(jax.device_get(loaded.model), mesh)
        # 4. Records: shards of every host, statistics, manifest
        stored = dtype.name if flags.dtype == "auto" else flags.dtype
        written = encode(
            flags,
            images,
            make_function(flags, dtype, jnp.dtype(stored)),
            tokenizer,
            place(frozen, mesh),
            mesh=mesh,
            dtype=dtype,
            stored=stored,
            made_by=made_by,
        )
        say(summary(written, flags.out), primary=is_first())


if __name__ == "__main__":
    main(COMMAND)
