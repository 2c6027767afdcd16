"""Every golden file beside this module, output by output."""

from pathlib import Path

import jax
import pytest

from .cases import judge
from .reader import read

_FILES = sorted(Path(__file__).parent.glob("*.safetensors"))


@pytest.mark.parametrize("path", _FILES, ids=lambda path: path.stem)
def test_every_output_is_within_the_stated_tolerance_of_the_reference(path: Path) -> None:
    comparisons, _ = judge(read(path))
    assert comparisons
    assert not [c for c in comparisons if not c.passed]


def test_there_are_golden_files() -> None:
    assert len(_FILES) >= 10
    assert jax.config.jax_default_matmul_precision == "highest"
