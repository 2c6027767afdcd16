"""Features of a frozen network, or latents of a tokenizer, computed once and written as records that --data reads.

    python experiments/encode.py features --data ~/photos --teacher dinov2-b
    python experiments/vae.py --data features                        trains on them: the teacher is not run again
    python experiments/encode.py latents --what latents --tokenizer runs/NAME

Interrupted, the same command goes on. Several hosts (--coordinator, or a TPU slice) share the work.
"""

from laminate.cli.command import flags_command
from laminate.cli.encode_flags import EncodeFlags

if __name__ == "__main__":  # before the imports below, which --help need not wait for
    FLAGS = flags_command(__doc__, EncodeFlags)

import jax.numpy as jnp

from laminate.parallel.cluster import find_place
from laminate.parallel.hosts import is_first, start
from laminate.parallel.mesh import local_mesh, parse_mesh
from laminate.parallel.sharding import place
from laminate.pretrained.features import features_of
from laminate.runs.data_place import said_data_of
from laminate.runs.devices import compute_dtype
from laminate.runs.encoding_networks import open_networks
from laminate.runs.exit_codes import say, training_errors, user_errors
from laminate.runs.precompute import encode, open_images, summary

# 1. What is written of one view: features, or the normalised latents without sampling


def make_function(flags, dtype, stored):
    def features(_, teacher, example):
        found = features_of(teacher.teacher, example, layer=flags.layer, dtype=dtype)
        array = found.final if flags.layer is None else jnp.stack(found)
        return {"array": array.astype(stored)}

    def latents(_, tokenizer, example):
        return {"array": tokenizer.encode(example, dtype=dtype).astype(stored)}

    return features if flags.what == "features" else latents


def main(flags):
    with training_errors("encode.py"), user_errors("encode.py"):
        start(find_place(flags.coordinator, flags.hosts, flags.host))
        mesh = local_mesh(parse_mesh(flags.mesh))
        dtype = compute_dtype(flags.precision)
        flags = said_data_of(flags, flags.tokenizer, primary=is_first())
        # 2. Images, or features of them that were written before, and the networks that read them
        networks = open_networks(flags)
        images = open_images(flags, flags.image_size or networks.image_size)
        frozen, made_by = networks.reading(images.records["train"], layer=flags.layer)
        # 3. Records: shards of every host, statistics, manifest
        stored = dtype.name if flags.dtype == "auto" else flags.dtype
        written = encode(
            flags,
            images,
            make_function(flags, dtype, jnp.dtype(stored)),
            place(frozen, mesh),
            mesh=mesh,
            dtype=dtype,
            stored=stored,
            made_by=made_by,
        )
        say(summary(written, flags.out), primary=is_first())


if __name__ == "__main__":
    main(FLAGS)
