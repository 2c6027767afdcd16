"""One look at a folder: every file in it is of a kind that can be taken, or is left out for a stated reason."""

import os
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from laminate.data.left_out import LeftOutCount, is_text

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff")
"""Of files that are taken for images; what they hold decides how they are decoded."""

OTHER_IMAGES = frozenset(
    ".heic .heif .avif .jxl .jp2 .j2k .psd .svg .ico .tga .ppm .pgm .pbm .pnm .exr .hdr .eps .pcx .dds .raw .dng .cr2 "
    ".cr3 .nef .arw .orf .rw2 .dcm .jxr .wdp .qoi".split()
)
"""Of images in formats that are not read."""

CONTAINERS = {".tar": "tar", ".parquet": "parquet", ".arrow": "arrow", ".tgz": "packed"}
_PACKED = (".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst", ".zip", ".7z", ".rar")
COMPONENTS = frozenset(
    "mask masks seg segm segmentation semantic instance instances panoptic depth normal normals edge edges alpha matte "
    "label labels annotation annotations thumb thumbnail".split()
)
"""The middle of ``key.mask.png`` beside ``key.jpg``: another picture of one sample, and no image to train on."""

ANOTHER_PICTURE = "another picture of a sample (KEY.mask.png beside KEY.jpg)"
"""Why such a one is left out."""

_APPLE = ("__MACOSX", "@eaDir")


class File(NamedTuple):
    """A file below the root, with forward slashes, and its size in bytes."""

    path: str
    size: int


@dataclass
class Survey:
    """The files of a folder by kind, sorted; the others as counts. `locked` are folders that may not be read."""

    images: list[File] = field(default_factory=list)
    containers: dict[str, list[str]] = field(default_factory=dict)
    left_out: LeftOutCount = field(default_factory=LeftOutCount)
    locked: list[str] = field(default_factory=list)

    def of(self, kind: str) -> list[str]:
        return self.containers.get(kind, [])


def kind_of(name: str) -> str | None:
    """``image``, a kind of container, or None."""
    lower = name.lower()
    if lower.endswith(IMAGE_SUFFIXES):
        return "image"
    if lower.endswith(_PACKED):
        return "packed"
    if ".array_record" in lower or ".tfrecord" in lower:
        return "array_record" if ".array_record" in lower else "tfrecord"
    return CONTAINERS.get(PurePosixPath(lower).suffix)


def why_hidden(path: str) -> str | None:
    """Why a path is passed over by its name alone, or None."""
    parts = path.split("/")
    if parts[-1].startswith("._") or any(part in _APPLE for part in parts):
        return "file of the system (AppleDouble and the like)"
    if any(part.startswith(".") for part in parts):
        return "hidden"
    return None if is_text(path) else "its name is not UTF-8"


def why_no_image(name: str) -> str:
    """Why a file that is none of the known kinds is left out."""
    suffix = PurePosixPath(name.lower()).suffix
    if suffix in OTHER_IMAGES:
        return f"image in a format that is not read ({suffix})"
    return f"no image ({suffix})" if suffix else "no image (no suffix)"


def survey(root: Path) -> Survey:
    """Every file below `root`. Links are followed, but for those that lead back to a folder that they lie in."""
    found = Survey()
    pending: list[tuple[Path, str, tuple[tuple[int, int], ...]]] = [(root, "", ())]
    while pending:
        folder, below, above = pending.pop()
        try:
            status = folder.stat()
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:
            if not below:
                raise
            found.locked.append(below.rstrip("/"))
            continue
        identity = (status.st_dev, status.st_ino)
        if identity in above:
            found.left_out.add("link that leads back to its own folder", below.rstrip("/"))
            continue
        for entry in entries:
            path = below + entry.name
            if _is_folder(entry):
                pending.append((Path(entry.path), path + "/", (*above, identity)))
            else:
                _sort_in(found, entry, path)
    found.images.sort()
    for paths in found.containers.values():
        paths.sort()
    _drop_components(found)
    return found


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _sort_in(found: Survey, entry: os.DirEntry[str], path: str) -> None:
    hidden = why_hidden(path)
    kind = kind_of(entry.name)
    if hidden is not None:
        found.left_out.add(hidden, path)
        return
    try:
        regular = entry.is_file()
        size = entry.stat().st_size if regular else 0
    except OSError:
        regular, size = False, 0
    if not regular:
        found.left_out.add("link that leads nowhere" if entry.is_symlink() else "no regular file", path)
    elif kind == "image":
        found.images.append(File(path, size))
    elif kind is not None:
        found.containers.setdefault(kind, []).append(path)
    else:
        found.left_out.add(why_no_image(path), path)


def component_of(path: str, known: set[str]) -> bool:
    """Whether ``key.mask.png`` lies beside the picture ``key.*``, one of the `known` paths without their suffix."""
    stem = path.rpartition(".")[0]
    key, dot, middle = stem.rpartition(".")
    return bool(dot) and middle.lower() in COMPONENTS and key in known


def _drop_components(found: Survey) -> None:
    stems = {file.path.rpartition(".")[0] for file in found.images}
    kept: list[File] = []
    for file in found.images:
        if component_of(file.path, stems):
            found.left_out.add(ANOTHER_PICTURE, file.path)
        else:
            kept.append(file)
    found.images = kept
