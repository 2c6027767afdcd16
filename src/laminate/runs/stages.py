"""Runs of one folder that follow each other: where it lies, and what the last of them leaves for all."""

from etils import epath

from laminate.data.sources import open_splits
from laminate.data.sources.embedded import DEFAULT
from laminate.parallel.hosts import is_first
from laminate.recipes.flags import RunFlags
from laminate.recipes.run_names import data_label, run_name
from laminate.runs.data_place import FILE as DATA_FILE
from laminate.storage.writing import make_folder, write_bytes
from laminate.train.export import FOLDERS

_SHARED = (DATA_FILE, "report.html")


def chain_folder(flags: RunFlags, name: str) -> str:
    """The folder of all stages: `--run-dir`, else `runs/NAME`, with the name of the data if a flag names some.

    Raises ValueError or OSError for data that cannot be read.
    """
    if flags.run_dir is not None:
        return flags.run_dir
    label = ""
    if flags.data is not None:
        opened = open_splits(flags.data, options=flags.reading)
        label = data_label(flags.data, opened["train"].manifest.fingerprint, usual=DEFAULT)
    return f"runs/{run_name(name + flags.suffix, label)}"


def share_last(run: str | None, folder: str) -> None:
    """Copy what the last run exported, its report and where its data lie into `folder`, which is then found as a run.

    Raises UnwritableError if it cannot be written.
    """
    if run is None or not is_first():
        return
    source, target = epath.Path(run), epath.Path(folder)
    names = [name for name in _SHARED if (source / name).exists()]
    for part in FOLDERS:
        if (source / part).is_dir():
            make_folder(target / part)
            # The one that names the hash of the others comes last, as where they are exported.
            files = sorted(
                (file.name for file in (source / part).iterdir()), key=lambda one: one.endswith(".json")
            )
            names += [f"{part}/{file}" for file in files]
    for name in names:
        write_bytes(target / name, (source / name).read_bytes())
