"""The tokenizer that a command analyses, and the images that it is shown, as the flags of that command say."""

from typing import Literal, Protocol, runtime_checkable

from laminate.cli.drawing_flags import Drawing
from laminate.data.options import SourceOptions
from laminate.data.sources import open_splits
from laminate.parallel.hosts import is_first
from laminate.parallel.mesh import build_mesh
from laminate.recipes.flags import Precision
from laminate.runs.analyses.subject import Seen, Subject
from laminate.runs.data_place import said_data_of
from laminate.runs.devices import DeviceFlags, compute_dtype, open_devices
from laminate.runs.exit_codes import say
from laminate.runs.load_decoder import find_decoder
from laminate.runs.load_tokenizer import load_tokenizer
from laminate.runs.open_sampler import open_sampler

LEAST = 8
"""Images that an answer is worth having from."""


@runtime_checkable
class Looking(DeviceFlags, Protocol):
    """The flags that say on which images a tokenizer is looked at, and where."""

    @property
    def decoder(self) -> str | None: ...
    @property
    def data(self) -> str | None: ...
    @property
    def reading(self) -> SourceOptions: ...
    @property
    def split(self) -> Literal["train", "validation"]: ...
    @property
    def images(self) -> int: ...
    @property
    def max_bad_images(self) -> int: ...
    @property
    def device_batch_size(self) -> int: ...
    @property
    def precision(self) -> Precision: ...


def open_subject(
    place: str | None, flags: Looking, generator: str | None = None
) -> tuple[Subject, Seen, str]:
    """The tokenizer at `place`, what it has seen, and which images these are, in words.

    With a `generator` of its latents that is asked too; its own tokenizer is meant where no `place` is given.

    Raises ValueError for fewer images than an answer needs, or what is no tokenizer, and OSError if it is not there.
    """
    shape, _ = open_devices(flags)
    mesh = build_mesh(shape)
    opened = None
    if generator is not None:
        opened = open_sampler(
            generator,
            Drawing(tokenizer=place, decoder=flags.decoder),
            mesh=mesh,
            precision=flags.precision,
            device_batch_size=flags.device_batch_size,
        )
        loaded = opened.tokenizer
    else:
        assert place is not None
        loaded = load_tokenizer(place, codes=True)
    place = loaded.source
    flags = said_data_of(flags, place, primary=is_first())
    decoder = find_decoder(flags.decoder, loaded)
    batch, dtype = flags.device_batch_size * mesh.devices.size, compute_dtype(flags.precision)
    subject = Subject(loaded, decoder, mesh=mesh, dtype=dtype, batch=batch, generator=opened)
    assert flags.data is not None
    records = open_splits(flags.data, options=flags.reading)[flags.split]
    seen = subject.look(records, flags.images, max_bad_images=flags.max_bad_images)
    if seen.count < LEAST:
        raise ValueError(
            f"--data {flags.data} gives {seen.count} {flags.split} images, and {LEAST} are needed: "
            "give more of them, or another --split."
        )
    said = f"{seen.count} {flags.split} images of {flags.data}"
    say(f"{said} through {place}, {decoder.said}", primary=is_first())
    return subject, seen, said
