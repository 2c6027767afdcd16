"""What is gathered of two sets of images on a mesh, on any number of hosts: moments of features, and their distance.

    features.py MESH FILE

Every host has all of it, and writes its own `FILE-HOST.npz`.
"""

import sys

import numpy as np

from laminate.data.augment import Squash
from laminate.data.options import SourceOptions
from laminate.evals.fid import FeatureMoments, fid, fid_of_few
from laminate.parallel.cluster import find_place
from laminate.parallel.hosts import host_index, start
from laminate.parallel.mesh import build_mesh, parse_mesh, prepare_devices
from laminate.runs.feature_networks import open_feature_networks
from laminate.runs.feature_sets import Extractor
from laminate.runs.image_sets import open_image_set

DEVICE_BATCH = 8
IMAGES = 70  # the last batch is full on no mesh


def gathered(mesh: str) -> dict[str, np.ndarray]:
    """Features of both sets, their moments as they streamed in, and the distance of both, from moments and from all."""
    shape, _ = prepare_devices(parse_mesh(mesh))
    networks = open_feature_networks(None, None)
    extractor = Extractor(networks, build_mesh(shape), global_batch_size=DEVICE_BATCH * shape.devices)
    found: dict[str, np.ndarray] = {}
    pools, streams = [], []
    for split in ("train", "validation"):
        images = open_image_set(
            f"embedded@{split}", view=Squash(64), reading=SourceOptions(), max_bad_images=0, most=IMAGES
        )
        parts = [part[networks[0].name]["pool"] for part in extractor.features(images.images())]
        stream = FeatureMoments(parts[0].shape[1])
        for part in parts:
            stream.update(part)
        pools.append(np.concatenate(parts))
        streams.append(stream)
        found |= {f"{split} features": pools[-1], f"{split} mean": stream.mean}
        found[f"{split} covariance"] = stream.covariance
    return found | {"fid": np.asarray(fid(*streams)), "fid of few": np.asarray(fid_of_few(*pools))}


def main() -> None:
    start(find_place(required=True))
    np.savez(f"{sys.argv[2]}-{host_index()}.npz", allow_pickle=False, **gathered(sys.argv[1]))


if __name__ == "__main__":
    main()
