"""The frozen networks of an encoding: a teacher whose features are written, or a tokenizer whose latents are."""

import dataclasses
from typing import Any

from laminate.cli.encode_flags import EncodeFlags
from laminate.data.records import Records
from laminate.recipes.describe import teacher_identity_text
from laminate.recipes.latent import LoadedTokenizer
from laminate.recipes.modules import identified, image_tokenizer, same_teacher, teacher
from laminate.recipes.network import TeacherConfig, find_teacher
from laminate.recipes.serialization import plain
from laminate.recipes.stored import stored_teacher
from laminate.runs.load_tokenizer import load_tokenizer
from laminate.tokenizers.features import TeacherFeatures


@dataclasses.dataclass(frozen=True)
class EncodingNetworks:
    """What is written with: the tokenizer, None for features; and the teacher, None for a tokenizer of images."""

    tokenizer: LoadedTokenizer | None
    teacher: TeacherConfig | None

    @property
    def image_size(self) -> int:
        """Side of the images that they are trained on."""
        if self.teacher is not None:
            return self.teacher.crop_size
        assert self.tokenizer is not None
        return self.tokenizer.latent.image_size

    def reading(self, records: Records, *, layer: int | None) -> tuple[Any, dict[str, Any]]:
        """The network that makes arrays of these records, and what the arrays say they were made by.

        Of records that hold features no teacher is asked; they say whose they are.

        Raises ValueError for features that the tokenizer does not know, or other weights than it was trained on.
        """
        arrays = records.manifest.arrays
        made_by: dict[str, Any] = {}
        teacher_config = self.teacher
        if teacher_config is not None:
            if arrays is None:
                teacher_config = identified(teacher_config)
            else:
                teacher_config = stored_teacher(arrays)
            made_by = {"teacher": plain(teacher_config), "layer": layer}
        if self.tokenizer is None:
            assert teacher_config is not None
            return TeacherFeatures(None if arrays is not None else teacher(teacher_config)), made_by
        made_by["tokenizer"] = self.tokenizer.identity.sha256
        return self._tokenizer(teacher_config, encodes=arrays is None), made_by

    def _tokenizer(self, given: TeacherConfig | None, *, encodes: bool) -> Any:
        """The tokenizer behind the teacher that is given, which may lie elsewhere than when it was trained."""
        loaded = self.tokenizer
        assert loaded is not None
        known = loaded.latent.teacher
        if known is not None and given is not None:
            if not same_teacher(known, given):
                raise ValueError(
                    f"The tokenizer {loaded.recipe.name!r} was trained on the teacher "
                    f"{teacher_identity_text(known)}, and this is {teacher_identity_text(given)}: give "
                    "it the features that it knows."
                )
            loaded = dataclasses.replace(loaded, recipe=dataclasses.replace(loaded.recipe, teacher=given))
        return image_tokenizer(loaded, like=loaded.latent, encodes=encodes)


def open_networks(flags: EncodeFlags) -> EncodingNetworks:
    """What the flags name. Raises ValueError for what is no tokenizer or teacher, and OSError if it is not there."""
    named: dict[str, Any] = {"image_size": flags.teacher_image_size, "dtype": flags.teacher_dtype}
    if flags.tokenizer is None:
        return EncodingNetworks(None, find_teacher(flags.teacher or "dinov2-b", **named))
    loaded = load_tokenizer(flags.tokenizer, codes=True, image_size=flags.image_size)
    found = loaded.latent.teacher
    if flags.teacher is not None:
        if found is None:
            raise ValueError(
                f"--teacher: the tokenizer {flags.tokenizer} compresses images and has no teacher: leave it out."
            )
        found = dataclasses.replace(find_teacher(flags.teacher, **named), weights=found.weights)
    return EncodingNetworks(loaded, found)
