"""The files beside the records that `tensorflow_datasets` wants, written by it and without TensorFlow."""

from pathlib import Path

from laminate.data.prepared import Prepared
from laminate.data.schema import tfds_features

VERSION = "1.0.0"


def write_tfds_metadata(folder: Path, prepared: Prepared) -> None:
    """Write ``dataset_info.json``, ``features.json`` and the class names, so that TFDS reads `folder`."""
    import tensorflow_datasets as tfds  # 1.5 s to import, and only writers need it

    template = tfds.core.ShardedFileTemplate(
        data_dir=tfds.core.Path(folder), dataset_name=prepared.name, filetype_suffix="array_record"
    )
    infos = [
        tfds.core.SplitInfo(
            name=split,
            shard_lengths=[shard.count for shard in prepared.shards_of(split)],
            num_bytes=sum(shard.size for shard in prepared.shards_of(split)),
            filename_template=template.replace(split=split),
        )
        for split in prepared.sources
    ]
    tfds.folder_dataset.write_metadata(
        data_dir=folder,
        features=tfds_features(prepared.classes),
        split_infos=infos,
        version=VERSION,
        filename_template=template,
        check_data=False,  # the check needs TensorFlow
        description="\n".join(f"{split}: {source}" for split, source in prepared.sources.items()),
        license=prepared.licence or None,
    )
