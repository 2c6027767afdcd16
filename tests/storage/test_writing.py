"""A place that cannot be written is said in one way, whoever writes."""

import errno
import os

import numpy as np
import pytest
import safetensors.numpy
from safetensors import SafetensorError

from laminate.storage.writing import UnwritableError, open_new, open_own, writing

ROOM = "Make room, and the same command goes on"


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), ROOM),
        (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), ROOM),
        (OSError(errno.EFBIG, os.strerror(errno.EFBIG)), ROOM),
        (SafetensorError("I/O error: No space left on device (os error 28)"), ROOM),
        (OSError(errno.EROFS, os.strerror(errno.EROFS)), "make the folder writable"),
        (OSError(errno.EIO, os.strerror(errno.EIO)), "Input/output error"),
        (OSError(errno.ELOOP, os.strerror(errno.ELOOP)), "a link is in its place"),
        (OSError("bucket is gone\nsecond line"), "bucket is gone second line"),
    ],
)
def test_every_cause_becomes_one_line_that_names_the_place(error, says):
    with pytest.raises(UnwritableError, match=says) as caught, writing("/runs/a/metrics.jsonl"):
        raise error
    assert str(caught.value).startswith("/runs/a/metrics.jsonl cannot be written: ")
    assert "\n" not in str(caught.value) and caught.value.__cause__ is error


def test_the_innermost_place_is_named_and_other_faults_pass():
    with pytest.raises(UnwritableError, match=r"^inner cannot"), writing("outer"), writing("inner"):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(ZeroDivisionError), writing("outer"):
        raise ZeroDivisionError


def test_what_safetensors_raises_where_it_cannot_write_is_mapped(tmp_path):
    with (
        pytest.raises(UnwritableError, match=r"no/x.safetensors cannot be written"),
        writing(tmp_path / "no/x.safetensors"),
    ):
        safetensors.numpy.save_file({"a": np.zeros(3)}, tmp_path / "no/x.safetensors")


@pytest.mark.parametrize("kind", ["file", "link", "dangling link"])
def test_new_files_take_the_place_of_links_and_own_files_refuse_them(tmp_path, kind):
    (tmp_path / "victim").write_text("precious")
    place = tmp_path / "lock"
    if kind == "file":
        place.write_text("old")
        os.close(open_own(place))
        assert place.read_text() == "old"
    else:
        place.symlink_to("victim" if kind == "link" else "nowhere")
        with pytest.raises(OSError, match="symbolic links"):
            open_own(place)
    with os.fdopen(open_new(place), "w") as file:
        file.write("new")
    assert place.read_text() == "new" and not place.is_symlink()
    assert (tmp_path / "victim").read_text() == "precious" and not (tmp_path / "nowhere").exists()
