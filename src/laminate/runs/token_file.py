"""Tokens of images in a file: what was encoded, and by which tokenizer, so that they become pictures again."""

import io
import json
import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from etils import epath

from laminate.recipes.latent import TokenizerId
from laminate.runs.any_size_tokenizer import SizedTokens
from laminate.runs.pretrained_tokenizer import PretrainedTokenizer
from laminate.storage.strict_json import Field, parse_json, read_json
from laminate.storage.writing import write_atomically, write_bytes

Format = Literal["npz", "json"]
MAX_BYTES = 2**32
"""The most that a file of tokens may hold when it is unpacked."""


@dataclass(frozen=True)
class TokenFile:
    """Tokens `[images, ...]` by the names of their images, and the tokenizer that they are of: what it is, and where it
    lay.

    Of images of different sizes the tokens of all stand one after the other, `[tokens, channels]`, and `sizes`
    `[images, 4]` are rows and columns of tokens, height and width in pixels.
    """

    tokens: np.ndarray
    names: tuple[str, ...]
    tokenizer: TokenizerId
    place: str
    sizes: np.ndarray | None = None

    def each(self) -> list[Any]:
        """The tokens of every image, as its tokenizer takes them."""
        if self.sizes is None:
            return list(self.tokens)
        ends = np.cumsum(self.sizes[:, 0] * self.sizes[:, 1])[:-1]
        return [
            SizedTokens(some.reshape(rows, columns, -1), (height, width))
            for some, (rows, columns, height, width) in zip(
                np.split(self.tokens, ends), self.sizes.tolist(), strict=True
            )
        ]

    def require_tokenizer(self, given: PretrainedTokenizer) -> None:
        """Raises ValueError unless the tokens are those of the tokenizer that is given."""
        if given.identity.sha256 != self.tokenizer.sha256:
            raise ValueError(
                f"These are tokens of {self.tokenizer}, and {given.source} is {given.identity}: in it they mean "
                "something else. Give that one by --tokenizer."
            )


def token_file(tokens: Sequence[Any], names: tuple[str, ...], tokenizer: PretrainedTokenizer) -> TokenFile:
    """What is to be written of the tokens of each image."""
    there = os.path.expanduser(tokenizer.source)
    place = os.path.realpath(there) if os.path.exists(there) else tokenizer.source
    if not isinstance(tokens[0], SizedTokens):
        return TokenFile(np.stack([np.asarray(one) for one in tokens]), names, tokenizer.identity, place)
    sizes = np.array([(*one.shape[:2], *one.size) for one in tokens], np.int32)
    joined = np.concatenate([np.asarray(one).reshape(-1, one.shape[-1]) for one in tokens])
    return TokenFile(joined, names, tokenizer.identity, place, sizes)


def write_tokens(made: TokenFile, folder: epath.Path, form: Format) -> epath.Path:
    """Write `tokens.npz` or, of whole numbers, `tokens.json`; its path.

    The npz has the arrays `tokens` `[images, ...]`, `names` `[images]` and `tokenizer` (JSON), and `sizes` where images
    have different ones. The JSON has `tokenizer`
    and `images`, a list of objects with `name` and `tokens`. Raises UnwritableError.
    """
    path = folder / f"tokens.{form}"
    said = {"name": made.tokenizer.name, "sha256": made.tokenizer.sha256, "place": made.place}
    if form == "json":
        images = [
            {"name": name, "tokens": row.tolist()} for name, row in zip(made.names, made.tokens, strict=True)
        ]
        lines = ",\n  ".join(json.dumps(image) for image in images)
        write_atomically(path, f'{{"tokenizer": {json.dumps(said)},\n "images": [\n  {lines}\n]}}\n')
        return path
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {} if made.sizes is None else {"sizes": made.sizes}
    arrays |= {"tokens": made.tokens, "names": np.array(made.names), "tokenizer": np.array(json.dumps(said))}
    np.savez(buffer, **arrays)
    write_bytes(path, buffer.getvalue())
    return path


def read_tokens(path: Path) -> TokenFile:
    """What `write_tokens` wrote. Raises ValueError for anything else, FileNotFoundError if it is not there."""
    if not path.is_file():
        raise FileNotFoundError(f"There is no file of tokens {path}.")
    return _read_json(path) if path.suffix.lower() == ".json" else _read_npz(path)


def _read_json(path: Path) -> TokenFile:
    tree = read_json(path)
    images = tree["images"].items()
    rows = [[_numbers(one) for one in image["tokens"].items()] for image in images]
    if len({len(row) for row in rows}) != 1 or len({np.shape(one) for row in rows for one in row}) > 1:
        raise ValueError(
            f"{path} is no file of tokens: its images need equally many tokens each, and one image."
        )
    names = tuple(image["name"].text() for image in images)
    return TokenFile(_int64(rows, path), names, *_tokenizer(tree["tokenizer"]))


def _numbers(token: Field) -> int | list[int]:
    """A token: a whole number, or one for each of several codebooks."""
    return [one.integer() for one in token.items()] if isinstance(token.value, list) else token.integer()


def _int64(rows: list[list[int | list[int]]], path: Path) -> np.ndarray:
    try:
        return np.array(rows, np.int64)
    except OverflowError as error:
        raise ValueError(f"{path} is no file of tokens: a token is larger than any codebook.") from error


def _read_npz(path: Path) -> TokenFile:
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > MAX_BYTES:
            raise ValueError(f"it would grow to {size} bytes, of which {MAX_BYTES} are read")
        with np.load(path, allow_pickle=False) as held:
            arrays: dict[str, Any] = {name: held[name] for name in ("tokens", "names", "tokenizer")}
            sizes = held["sizes"] if "sizes" in held else None
    except (zipfile.BadZipFile, ValueError, KeyError, EOFError) as error:
        raise ValueError(
            f"{path} is no file of tokens that roundtrip.py wrote: {' '.join(f'{error}'.split())[:200]}"
        ) from error
    tokens, names = arrays["tokens"], arrays["names"]
    counted = len(tokens) if sizes is None else _images(sizes, tokens)
    if names.ndim != 1 or names.dtype.kind != "U" or tokens.ndim not in (2, 3) or counted != len(names):
        raise ValueError(
            f"{path} is no file of tokens: tokens {list(tokens.shape)} and names {list(names.shape)} do not fit."
        )
    said = Field(parse_json(str(arrays["tokenizer"]), f"{path}"), f"{path}", "tokenizer")
    return TokenFile(tokens, tuple(names.tolist()), *_tokenizer(said), sizes)


def _images(sizes: np.ndarray, tokens: np.ndarray) -> int:
    """How many images these are the sizes of; -1 if the tokens are not theirs."""
    if sizes.ndim != 2 or sizes.shape[1] != 4 or sizes.dtype.kind != "i" or not sizes.size or sizes.min() < 1:
        return -1
    counts = sizes[:, 0].astype(np.int64) * sizes[:, 1]
    return len(sizes) if tokens.ndim == 2 and int(counts.sum()) == len(tokens) else -1


def _tokenizer(said: Field) -> tuple[TokenizerId, str]:
    return TokenizerId(said["name"].text(), said["sha256"].text()), said["place"].text()
