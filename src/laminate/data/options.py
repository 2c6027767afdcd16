"""How a source is to be read, where it does not say so itself: one value for every command that opens data."""

from dataclasses import dataclass

MAX_PIXELS = 2**26
"""The most pixels that an image may have unless told otherwise: 8192 x 8192, 192 MiB when decoded.

While it is decoded, a format other than JPEG takes up to 12 bytes for each pixel, 768 MiB at this limit: what it stores
(up to 4), as RGB (3), the result (3), and buffers.
"""

PIXEL_CEILING = 2**28
"""The most pixels that can be allowed, of which no decoder here is asked for more: 768 MiB when decoded."""

MAX_BAD_IMAGES = 16
"""How many images may be unreadable, and are left out, before a command stops."""


@dataclass(frozen=True)
class SourceOptions:
    """What decides between two readings of a source; without them, what could be read in two ways is refused.

    Raises:
      ValueError: two of them contradict each other, or a limit is out of range.
    """

    split_folders: bool = False
    """Folders (or archives) named train, val, ... are splits, and what lies beside them is left out."""
    classes: bool = False
    """Folders named train, val, ... are classes like the others, and loose images beside class folders are left
    out."""
    unlabelled: bool = False
    """Take every image and no label."""
    image_key: str | None = None
    """The column, feature or file ending (of tar samples) that holds the images. Default: the usual names."""
    label_key: str | None = None
    """The column, feature or file ending that holds the labels. Default: the usual names."""
    max_pixels: int | None = None
    """Images with more pixels count as unreadable, before they are decoded. Default: 67108864, or what the data were
    prepared with."""

    min_size: int | None = None
    """Images with fewer pixels along their shorter side are left out, and counted. Their headers are read when the data
    are opened; `python -m laminate.data prepare` with it does so once and for all."""

    def __post_init__(self) -> None:
        if self.min_size is not None and self.min_size < 1:
            raise ValueError(f"--min-size must be at least 1, got {self.min_size}")
        if self.split_folders and self.classes:
            raise ValueError(
                "--split-folders and --classes are the two readings of one folder: give one of them"
            )
        if self.unlabelled and self.label_key is not None:
            raise ValueError(
                f"--unlabelled takes no labels, and --label-key {self.label_key} names some: give one of them"
            )
        if self.max_pixels is not None and not 1 <= self.max_pixels <= PIXEL_CEILING:
            raise ValueError(f"--max-pixels must lie between 1 and {PIXEL_CEILING}, got {self.max_pixels}")


AS_IT_SAYS = SourceOptions()
"""Nothing is decided: the source must be clear by itself."""
