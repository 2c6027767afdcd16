"""The files beside the records that `tensorflow_datasets` wants, written by it and without TensorFlow."""

from pathlib import Path

from laminate.data.prepared import Prepared
from laminate.data.schema import tfds_features

VERSION = "1.0.0"


def one_line(name: str) -> str:
    """`name` as TFDS keeps it, which writes the classes line by line and drops blank lines and blanks at the ends.

    What is no printable character is written as in a Python text: a line break in a name would shift all labels after.
    """
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)
    inner = text.strip()
    if inner and inner == text:
        return text
    start = len(text) - len(text.lstrip())
    return "\\x20" * start + inner + "\\x20" * (len(text) - start - len(inner) if inner else 0) or "\\x00"


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
        features=tfds_features(tuple(one_line(name) for name in prepared.classes)),
        split_infos=infos,
        version=VERSION,
        filename_template=template,
        check_data=False,  # the check needs TensorFlow
        description="\n".join(f"{split}: {one_line(source)}" for split, source in prepared.sources.items()),
        license=prepared.licence or None,
    )
