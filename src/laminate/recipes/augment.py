"""What training sees of an image: one of several views, each with all that it needs."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

from laminate.recipes.checks import above, at_least, one_of, within
from laminate.recipes.serialization import ABSENT

if TYPE_CHECKING:
    from laminate.data.augment import Augment

# `laminate.data.augment` is imported where a view is made: its decoders take longer than all of `--help`.


CropKernel = Literal["area", "linear"]


_UNSAID = {ABSENT: True}
"""Of `oriented`: recipes that do not say were written before there was a choice, and few images have to be turned."""


def _stored(oriented: bool) -> str:
    return "" if oriented else ", pixels as stored"


@dataclass(frozen=True)
class RandomResizedCropConfig:
    """A random crop of the image, resized to a square, and a flip (FlatDINO)."""

    image_size: int = 256
    """Side of the square that the crop is resized to, in pixels."""
    crop_area: tuple[float, float] = (0.3, 1.0)
    """Smallest and largest share of the image's area that a crop covers."""
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Smallest and largest width / height of a crop."""
    flip_rate: float = 0.5
    """Chance of a horizontal flip."""
    kernel: CropKernel = field(default="area", metadata={ABSENT: "linear"})
    """How the crop is resized: by areas, as validation shrinks its images (the released code), or between the four
    nearest pixels, which is faster and aliases what it shrinks."""
    oriented: bool = field(default=True, metadata=_UNSAID)
    """Turn the image as its EXIF orientation says; the pipelines of ADM, RAE, LightningDiT and FlatDINO do not."""
    view: Literal["crop"] = field(default="crop", init=False)
    """Says which of the views this is."""

    def __post_init__(self) -> None:
        at_least("augment.image_size", self.image_size, 1)
        smallest, largest = self.crop_area
        above("augment.crop_area[0]", smallest, 0.0)
        one_of("augment.kernel", self.kernel, get_args(CropKernel))
        within("augment.crop_area[1]", largest, smallest, 1.0)
        narrow, wide = self.crop_ratio
        above("augment.crop_ratio[0]", narrow, 0.0)
        at_least("augment.crop_ratio[1]", wide, narrow)
        within("augment.flip_rate", self.flip_rate, 0.0, 1.0)

    @property
    def text(self) -> str:
        least, most = self.crop_area
        size = f"{self.image_size}² ({self.kernel})"
        return f"{least:g} to {most:g} of the area to {size}, flip {self.flip_rate:g}{_stored(self.oriented)}"

    def transform(self) -> "Augment":
        from laminate.data.augment import RandomResizedCrop

        return RandomResizedCrop(
            self.image_size,
            self.crop_area,
            self.crop_ratio,
            self.flip_rate,
            self.kernel,
            self.oriented,
        )

    def still(self) -> "SquashConfig":
        return SquashConfig(self.image_size, oriented=self.oriented)


@dataclass(frozen=True)
class SquashConfig:
    """The whole image as a square, as validation sees it: nothing is random."""

    image_size: int = 256
    """Side of the square, in pixels."""
    oriented: bool = field(default=True, metadata=_UNSAID)
    """Turn the image as its EXIF orientation says; the pipelines of ADM, RAE, LightningDiT and FlatDINO do not."""
    view: Literal["squash"] = field(default="squash", init=False)
    """Says which of the views this is."""

    WITHOUT_EFFECT: ClassVar[tuple[str, ...]] = ("crop_area", "crop_ratio", "flip_rate")
    """What stood beside this view in recipes when all views had one class; it is read and dropped."""

    def __post_init__(self) -> None:
        at_least("augment.image_size", self.image_size, 1)

    @property
    def text(self) -> str:
        return f"squashed to {self.image_size}²{_stored(self.oriented)}"

    def transform(self) -> "Augment":
        from laminate.data.augment import Squash

        return Squash(self.image_size, oriented=self.oriented)

    def still(self) -> "SquashConfig":
        return self


@dataclass(frozen=True)
class _WindowConfig:
    """The image resized to more than is asked for, and a random square window of that."""

    image_size: int = 256
    """Side of the window, in pixels."""
    resize_ratio: float = 1.5
    """What the image is resized to, in sides of the window, rounded down to pixels: 384 to 256 where it was
    published."""
    flip_rate: float = 0.0
    """Chance of a horizontal flip."""
    oriented: bool = field(default=True, metadata=_UNSAID)
    """Turn the image as its EXIF orientation says; the pipelines of ADM, RAE, LightningDiT and FlatDINO do not."""

    def __post_init__(self) -> None:
        at_least("augment.image_size", self.image_size, 1)
        at_least("augment.resize_ratio", self.resize_ratio, 1.0)
        within("augment.flip_rate", self.flip_rate, 0.0, 1.0)

    @property
    def resized(self) -> int:
        return int(self.resize_ratio * self.image_size)

    @property
    def _window_text(self) -> str:
        return f"a random {self.image_size}² of it, flip {self.flip_rate:g}{_stored(self.oriented)}"

    def still(self) -> "CenterCropConfig":
        return CenterCropConfig(self.image_size, oriented=self.oriented)


@dataclass(frozen=True)
class SquashCropConfig(_WindowConfig):
    """The image squashed to a larger square, and a random window of that (FlatDINO's image decoder)."""

    view: Literal["squash-crop"] = field(default="squash-crop", init=False)
    """Says which of the views this is."""

    @property
    def text(self) -> str:
        return f"squashed to {self.resized}², {self._window_text}"

    def transform(self) -> "Augment":
        from laminate.data.augment import SquashCrop

        return SquashCrop(self.image_size, self.resized, flip_rate=self.flip_rate, oriented=self.oriented)


@dataclass(frozen=True)
class ResizeCropConfig(_WindowConfig):
    """The image resized by its short side, and a random square window of that (RAE's image decoder)."""

    view: Literal["resize-crop"] = field(default="resize-crop", init=False)
    """Says which of the views this is."""

    @property
    def text(self) -> str:
        return f"short side to {self.resized}, {self._window_text}"

    def transform(self) -> "Augment":
        from laminate.data.augment import ResizeCrop

        return ResizeCrop(self.image_size, self.resized, flip_rate=self.flip_rate, oriented=self.oriented)


@dataclass(frozen=True)
class CenterCropConfig:
    """The centre crop of ADM, and a flip: what generators in pixel and latent space are compared on."""

    image_size: int = 256
    """Side of the square, in pixels."""
    flip_rate: float = 0.0
    """Chance of a horizontal flip."""
    oriented: bool = field(default=True, metadata=_UNSAID)
    """Turn the image as its EXIF orientation says; the pipelines of ADM, RAE, LightningDiT and FlatDINO do not."""
    view: Literal["center-crop"] = field(default="center-crop", init=False)
    """Says which of the views this is."""

    def __post_init__(self) -> None:
        at_least("augment.image_size", self.image_size, 1)
        within("augment.flip_rate", self.flip_rate, 0.0, 1.0)

    @property
    def text(self) -> str:
        view = f"short side to {self.image_size}, the middle of it, flip {self.flip_rate:g}"
        return view + _stored(self.oriented)

    def transform(self) -> "Augment":
        from laminate.data.augment import CenterCrop

        return CenterCrop(self.image_size, self.flip_rate, self.oriented)

    def still(self) -> "CenterCropConfig":
        return CenterCropConfig(self.image_size, oriented=self.oriented)


@dataclass(frozen=True)
class FramedConfig:
    """A random crop, whole and in the middle of a white frame, whose shape is another one from batch to batch: for
    generators of images of any size."""

    image_size: int = 256
    """Side of the square, and the shorter one of other shapes, in pixels."""
    ratios: tuple[float, ...] = (1.0, 1.5, 2 / 3)
    """Width / height of the shapes, the square first; their longer side is a whole number of quarters of the shorter
    one. Every batch draws one of them."""
    crop_area: tuple[float, float] = (0.85, 1.0)
    """Smallest and largest share of the image's area that a crop covers."""
    crop_ratio: tuple[float, float] = (0.9, 1.11)
    """Smallest and largest width / height of a crop."""
    oriented: bool = True
    """Turn the image as its EXIF orientation says."""
    view: Literal["framed"] = field(default="framed", init=False)
    """Says which of the views this is."""

    def __post_init__(self) -> None:
        at_least("augment.image_size", self.image_size, 4)
        if not self.ratios or self.ratios[0] != 1.0:
            raise ValueError(f"augment.ratios begin with the square, 1; got {self.ratios}.")
        for ratio in self.ratios:
            within("augment.ratios", ratio, 0.125, 8.0)
        smallest, largest = self.crop_area
        above("augment.crop_area[0]", smallest, 0.0)
        within("augment.crop_area[1]", largest, smallest, 1.0)
        narrow, wide = self.crop_ratio
        above("augment.crop_ratio[0]", narrow, 0.0)
        at_least("augment.crop_ratio[1]", wide, narrow)

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Height and width of the shapes."""
        return tuple(self._size(ratio) for ratio in self.ratios)

    def _size(self, ratio: float) -> tuple[int, int]:
        short, quarter = self.image_size, self.image_size / 4
        long = round(round(max(ratio, 1 / ratio) * 4) * quarter)
        return (short, long) if ratio > 1 else (long, short)

    @property
    def text(self) -> str:
        least, most = self.crop_area
        sizes = ", ".join(f"{height}x{width}" for height, width in self.sizes)
        return f"{least:g} to {most:g} of the area, framed in white: {sizes}{_stored(self.oriented)}"

    def transform(self) -> "Augment":
        from laminate.data.framed import Framed, FramedInTurn

        if len(self.sizes) == 1:
            return Framed(self.sizes[0], self.crop_area, self.crop_ratio, self.oriented)
        return FramedInTurn(self.sizes, self.crop_area, self.crop_ratio, self.oriented)

    def still(self) -> "FramedConfig":
        return FramedConfig(
            self.image_size, (1.0,), crop_area=(1.0, 1.0), crop_ratio=self.crop_ratio, oriented=self.oriented
        )


ViewConfig = RandomResizedCropConfig | SquashConfig | SquashCropConfig | ResizeCropConfig | CenterCropConfig
"""Any view of squares. Each has `image_size`, `text` (one line that says what it does), `transform()` (what does it)
and `still()`, the view of validation that belongs to it: nothing in that is random."""
