"""What ViTok's training sees of an image: its patches, as many as there is room for."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from laminate.recipes.checks import above, at_least, within

if TYPE_CHECKING:
    from laminate.data.augment import Augment

# `laminate.data.patch_views` is imported where a view is made: its decoders take longer than all of `--help`.


@dataclass(frozen=True)
class TokenBudgetConfig:
    """An image of any size as patches; one of more patches than there is room for is made smaller."""

    image_size: int = 256
    """Side of the square whose patches are the largest budget where `budgets` names none, and of random crops, in
    pixels."""
    patch: int = 16
    """Side of a patch, in pixels."""
    budgets: tuple[int, ...] = ()
    """Patches that the images of a batch have room for, rising; every batch draws one of them, and one program is
    compiled for each. None: as many as the square of `image_size` has."""
    crop_rate: float = 0.25
    """Chance that an image is cropped at random to a square of `image_size`; others are seen whole."""
    crop_area: tuple[float, float] = (0.8, 1.0)
    """Smallest and largest share of the image's area that such a crop covers."""
    crop_ratio: tuple[float, float] = (0.75, 1.333)
    """Smallest and largest width / height of such a crop, before it is made a square."""
    flip_rate: float = 0.5
    """Chance of a horizontal flip."""
    oriented: bool = True
    """Turn the image as its EXIF orientation says."""

    def __post_init__(self) -> None:
        at_least("augment.image_size", self.image_size, 1)
        at_least("augment.patch", self.patch, 1)
        for name in ("crop_rate", "flip_rate"):
            within(f"augment.{name}", getattr(self, name), 0.0, 1.0)
        smallest, largest = self.crop_area
        above("augment.crop_area[0]", smallest, 0.0)
        within("augment.crop_area[1]", largest, smallest, 1.0)
        narrow, wide = self.crop_ratio
        above("augment.crop_ratio[0]", narrow, 0.0)
        at_least("augment.crop_ratio[1]", wide, narrow)
        if any(a >= b for a, b in zip((0, *self.budgets), self.budgets, strict=False)):
            raise ValueError(
                f"augment.budgets must rise and be at least 1, as 64,128,256; got {self.budgets}."
            )

    @property
    def rooms(self) -> tuple[int, ...]:
        """The budgets, in patches."""
        return self.budgets or ((-(-self.image_size // self.patch)) ** 2,)

    @property
    def tokens(self) -> int:
        """The largest budget."""
        return self.rooms[-1]

    @property
    def text(self) -> str:
        crop = "whole" if not self.crop_rate else f"{self.crop_rate:g} of them cropped to {self.image_size}²"
        sizes = " or ".join(map(str, self.rooms))
        flip = f", flip {self.flip_rate:g}" if self.flip_rate else ""
        stored = "" if self.oriented else ", pixels as stored"
        return f"{crop}, in at most {sizes} patches of {self.patch}²{flip}{stored}"

    def transform(self) -> "Augment":
        from laminate.data.patch_views import BudgetView, PatchView
        from laminate.data.patches import Buckets
        from laminate.data.views import Choice, Flip, RandomResized, View, Whole

        views: list[View] = []
        if self.crop_rate:
            crop = RandomResized(self.image_size, self.crop_area, self.crop_ratio)
            views.append(Choice((crop, Whole()), (self.crop_rate, 1.0 - self.crop_rate)))
        if self.flip_rate:
            views.append(Flip(self.flip_rate))
        whole = PatchView(self.patch, self.tokens, tuple(views), oriented=self.oriented)
        return whole if len(self.rooms) == 1 else BudgetView(whole, Buckets(self.rooms))

    def still(self) -> "TokenBudgetConfig":
        """The whole image with the largest budget."""
        return replace(self, budgets=(self.tokens,), crop_rate=0.0, flip_rate=0.0)

    def at(self, image_size: int) -> "TokenBudgetConfig":
        """The same for squares of another side: budgets change as their areas do."""
        share = (image_size / self.image_size) ** 2
        budgets = tuple(dict.fromkeys(max(1, round(share * budget)) for budget in self.budgets))
        return replace(self, image_size=image_size, budgets=budgets)
