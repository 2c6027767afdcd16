"""What lies in a tar file: images by their offsets, texts of labels, links followed; and which images are samples."""

import contextlib
import os
import posixpath
import tarfile
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from laminate.data.left_out import LeftOutCount, shown
from laminate.data.options import SourceOptions
from laminate.data.records import RecordFileError
from laminate.data.sources.survey import ANOTHER_PICTURE, COMPONENTS, IMAGE_SUFFIXES, why_hidden, why_no_image

_MAX_LABEL_BYTES = 1024
_CHUNK = 2**20
LABEL_ENDING = "cls"


class Member(NamedTuple):
    """An image inside a tar file: the file's number, the name, where its bytes lie, and what its ``.cls``
    says.
    """

    file: int
    name: str
    offset: int
    size: int
    label: str | None


@dataclass
class TarContents:
    """Images and labels (by key) of one tar file; `sidecars` are the keys of its other members."""

    images: list[Member] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    sidecars: set[str] = field(default_factory=set)
    left_out: LeftOutCount = field(default_factory=LeftOutCount)


def _safe_name(name: str, path: Path) -> str:
    """A member's name without a leading ``./``. Raises RecordFileError for one that leaves its folder."""
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts:
        raise RecordFileError(
            f"{path} has the member {name!r}, which leaves its folder: refused, do not trust this file"
        )
    return "/".join(parts)


def _archives(path: Path, file: IO[bytes]) -> Iterator[tarfile.TarFile]:
    """The archives that a file consists of, one after the other: ``cat a.tar b.tar`` is two."""
    start: int | None = 0
    while start is not None:
        file.seek(start)
        with tarfile.open(fileobj=file, mode="r:") as archive:
            yield archive
            end = archive.offset
        file.seek(end)
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise RecordFileError(f"{path} is truncated: it has no end-of-archive mark; copy it again")
        start = _next_content(file)


def _next_content(file: IO[bytes]) -> int | None:
    """The block of the first byte from here on that is not zero; None at the end of the file."""
    while True:
        at, chunk = file.tell(), file.read(_CHUNK)
        if not chunk:
            return None
        rest = chunk.lstrip(b"\0")
        if rest:
            return (at + len(chunk) - len(rest)) // tarfile.BLOCKSIZE * tarfile.BLOCKSIZE


@contextlib.contextmanager
def _whole_archive(path: Path) -> Generator[None]:
    """Whatever a damaged archive raises, a hostile one of thousands of headers before a member too, names the file."""
    try:
        yield
    except RecordFileError:
        raise
    except (tarfile.TarError, RecursionError, OverflowError, ValueError) as error:
        raise RecordFileError(
            f"{path} is no whole, uncompressed tar file ({error}): copy it again, or unpack a .tar.gz "
            "to .tar first"
        ) from error
    except OSError as error:
        raise RecordFileError(f"{path} cannot be read: {error.strerror}") from error


def scan(number: int, path: Path, options: SourceOptions) -> TarContents:
    """The content of file `number`. Reads every member's header once, and the texts of the labels.

    Raises:
      RecordFileError: the file is truncated, compressed, no tar file, or hostile.
    """
    found = TarContents()
    regular: dict[str, tuple[int, int]] = {}
    links: list[tuple[str, str]] = []
    with _whole_archive(path), path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        for archive in _archives(path, file):
            for info in archive:
                name = _safe_name(info.name, path)
                if info.islnk():
                    links.append((name, posixpath.normpath(info.linkname)))
                elif info.issym():
                    links.append(
                        (
                            name,
                            posixpath.normpath(f"{posixpath.dirname(name)}/{info.linkname}").lstrip("/"),
                        )
                    )
                elif info.isreg() and info.sparse is None:
                    if info.offset_data + info.size > size:
                        raise RecordFileError(
                            f"{path} is truncated: its member {shown(name)} ends behind it; copy it again"
                        )
                    regular[name] = (info.offset_data, info.size)
                    _sort_in(found, number, name, archive, info, options)
                elif not info.isdir():
                    found.left_out.add("no regular file", name)
    _follow(found, number, links, regular, options)
    return found


def _ending(name: str, ending: str) -> str | None:
    """The key of a sample's member with that ending, or None."""
    tail = f".{ending.lower()}"
    return name[: -len(tail)] if name.lower().endswith(tail) else None


def _is_image(name: str, options: SourceOptions) -> bool:
    if options.image_key is not None:
        return _ending(name, options.image_key) is not None
    return name.lower().endswith(IMAGE_SUFFIXES)


def _sort_in(
    found: TarContents,
    number: int,
    name: str,
    archive: tarfile.TarFile,
    info: tarfile.TarInfo,
    options: SourceOptions,
) -> None:
    hidden = why_hidden(name)
    key = _ending(name, options.label_key or LABEL_ENDING)
    if hidden is not None:
        found.left_out.add(hidden, name)
    elif key is not None and not options.unlabelled and info.size <= _MAX_LABEL_BYTES:
        content = archive.extractfile(info)
        found.texts[key] = content.read().decode("utf-8", "replace").strip() if content else ""
        found.left_out.add(f"read as labels (.{options.label_key or LABEL_ENDING})", name)
    elif _is_image(name, options):
        found.images.append(Member(number, name, info.offset_data, info.size, None))
    else:
        image = name.lower().endswith(IMAGE_SUFFIXES)
        found.left_out.add(ANOTHER_PICTURE if image else why_no_image(name), name)
        if not image:
            found.sidecars.add(name.rpartition(".")[0])


def _follow(
    found: TarContents,
    number: int,
    links: list[tuple[str, str]],
    regular: dict[str, tuple[int, int]],
    options: SourceOptions,
) -> None:
    """Hard and symbolic links to members of the same file are those members under another name."""
    pending = links
    while pending:  # a link may lead to a link that is resolved in the same round, or in the one before
        left: list[tuple[str, str]] = []
        for name, target in pending:
            if target not in regular:
                left.append((name, target))
                continue
            regular[name] = regular[target]
            hidden = why_hidden(name)
            if hidden is None and _is_image(name, options):
                found.images.append(Member(number, name, *regular[target], None))
            else:
                found.left_out.add(hidden or why_no_image(name), name)
        if len(left) == len(pending):
            for name, _ in left:
                found.left_out.add("link that leads nowhere in the archive", name)
            return
        pending = left


def _prefixes(stem: str) -> Iterator[str]:
    """The shorter keys that a name with dots may belong to, the longest first."""
    folder, slash, base = stem.rpartition("/")
    while "." in base:
        base = base.rpartition(".")[0]
        yield f"{folder}{slash}{base}"


def _stem(name: str, options: SourceOptions) -> str:
    key = None if options.image_key is None else _ending(name, options.image_key)
    return name.rpartition(".")[0] if key is None else key


def samples(path: Path, found: TarContents, options: SourceOptions) -> list[Member]:
    """The images to train on, one of each sample, with the text of its label where the file has labels.

    The key of an image is its name up to the last dot, if something else has that name, and else up to an earlier dot:
    ``v1.3.jpg`` belongs to ``v1.3.cls``, and ``key.mask.png`` to ``key.cls``.

    Raises:
      RecordFileError: an image without a label among labelled ones, or several pictures of one sample, none of which
        has the key's own name.
    """
    return _labelled(path, found, options) if found.texts else _unlabelled(found, options)


def _unlabelled(found: TarContents, options: SourceOptions) -> list[Member]:
    stems = {_stem(member.name, options) for member in found.images}
    kept: list[Member] = []
    for member in found.images:
        stem = _stem(member.name, options)
        named = stem.rpartition(".")[2].lower() in COMPONENTS
        others = [key for key in _prefixes(stem) if (key in stems and (named or key in found.sidecars))]
        beside = [key for key in _prefixes(stem) if named and key in found.sidecars]
        if stem not in found.sidecars and (others or beside):
            found.left_out.add(ANOTHER_PICTURE, member.name)
        else:
            kept.append(member)
    return kept


def _labelled(path: Path, found: TarContents, options: SourceOptions) -> list[Member]:
    by_key: dict[str, list[Member]] = {}
    for member in found.images:
        stem = _stem(member.name, options)
        key = next((key for key in (stem, *_prefixes(stem)) if key in found.texts), None)
        if key is None:
            wanted = f"{stem}.{options.label_key or LABEL_ENDING}"
            raise RecordFileError(
                f"{path} has labels (.cls), but none for {shown(member.name)}: add {shown(wanted)}, or remove all "
                "(--unlabelled takes the images without labels)"
            )
        by_key.setdefault(key, []).append(member)
    kept: list[Member] = []
    for key, members in by_key.items():
        chosen = _main_picture(path, key, members, options)
        kept.append(chosen._replace(label=found.texts[key]))
        for member in members:
            if member is not chosen:
                found.left_out.add(ANOTHER_PICTURE, member.name)
    return kept


def _main_picture(path: Path, key: str, members: list[Member], options: SourceOptions) -> Member:
    """The picture of a sample that has the sample's own name, or the only one that is no mask or the like."""
    own = [member for member in members if _stem(member.name, options) == key]
    plain = [
        member
        for member in members
        if _stem(member.name, options).rpartition(".")[2].lower() not in COMPONENTS
    ]
    for candidates in (own, members, plain):
        if len(candidates) == 1:
            return candidates[0]
    endings = ", ".join(sorted(member.name[len(key) + 1 :] for member in members))
    raise RecordFileError(
        f"{path} has several pictures of the sample {shown(key)} ({endings}): say which is the image with --image-key, "
        "such as --image-key jpg"
    )
