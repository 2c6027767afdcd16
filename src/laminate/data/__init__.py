"""Images from files to batches on the host. Nothing here imports jax.

Records come first (`records`, `sources`, `prepare`), then pixels (`decode`, `transforms`, `augment`), then
batches of named arrays (`batch`, `loader`, `evaluation`). Only the records are re-exported, so that
`python -m laminate.data --help` answers at once; `sources.open_records`, `decode.decode_image` and the loaders
are taken from their modules.
"""

from laminate.data.records import RecordError as RecordError
from laminate.data.records import RecordFileError as RecordFileError
from laminate.data.records import Records as Records
from laminate.data.records import RecordsManifest as RecordsManifest
from laminate.data.schema import Example as Example
