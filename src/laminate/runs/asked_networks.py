"""What `--evaluate` asks for in a training, and the networks that see its images: opened before anything starts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from laminate.cli.command import measurable
from laminate.data.records import Records
from laminate.evals.figure_names import FigureName
from laminate.evals.protocols import EMBEDDED
from laminate.recipes.family import Family
from laminate.recipes.flags import RunFlags
from laminate.runs.feature_networks import INCEPTION, FeatureNetwork, open_feature_networks, open_lpips


@dataclass(frozen=True)
class Asked:
    """Figures with the steps between their measurements by name, the networks that they take, and LPIPS or None.

    `any_size`: of images at their own sizes.
    """

    figures: tuple[FigureName, ...]
    every: Mapping[str, int]
    networks: list[FeatureNetwork]
    lpips: Any
    any_size: bool = False

    def due(self, step: int) -> list[FigureName]:
        """The figures that are measured after `step`."""
        return [one for one in self.figures if step % self.every[one.name] == 0]


def open_asked(flags: RunFlags, family: Family[Any], recipe: Any, validation: Records) -> Asked:
    """What the flags ask for in a training of `recipe`, whose held-out data are `validation`.

    Raises ValueError for what cannot be measured there, or weights that are damaged, OSError if they are not there.
    """
    figures = measurable(flags, family)
    if not figures:
        return Asked((), {}, [], None)
    arrays = validation.manifest.arrays
    if arrays is not None:
        raise ValueError(
            f"--evaluate {figures[0].name}: it is of images, and --data holds {arrays.field}: leave it out, or give "
            "the images that they were made from."
        )
    of_sets = [one.name for one in figures if one.judge not in ("", "lpips")]
    if of_sets and len(validation) < 2 and family.kind != "generator":
        raise ValueError(
            f"--evaluate {of_sets[0]}: a distance of sets needs two held-out images, and there is {len(validation)}: "
            "give more --data, or ask for figures of images such as psnr."
        )
    judges = {one.judge for one in figures}
    any_size = (
        family.kind == "tokenizer" and family.latent is not None and family.latent(recipe).patch is not None
    )
    networks: list[FeatureNetwork] = []
    if judges - {"", "lpips"}:
        networks = open_feature_networks(
            flags.inception if "inception" in judges else None,
            flags.dino if "dino" in judges else None,
            flags.clip if "clip" in judges else None,
            any_size=any_size,
            embedded=EMBEDDED in judges,
        )
    for one in figures:
        _require_named(one, [network.name for network in networks])
    lpips = open_lpips(flags.lpips) if "lpips" in judges else None
    return Asked(tuple(figures), flags.asked, networks, lpips, any_size)


def _require_named(figure: FigureName, names: list[str]) -> None:
    if figure.network and not any(name == figure.network or name.startswith(INCEPTION) for name in names):
        raise ValueError(
            f"--evaluate {figure.name}: no network is called {figure.network!r}; there is {', '.join(names)}."
        )
