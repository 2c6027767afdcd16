"""Shards on the Hugging Face hub: named, seen to be there, and fetched one at a time."""

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import huggingface_hub
from huggingface_hub import constants, errors

from laminate.data.sources.files import expand_braces
from laminate.storage.hub_client import asked

HUB = "hf://"
_FORM = "hf://ORGANISATION/NAME[@REVISION]/path-{0000..0099}.tar"
_SPEC = re.compile(r"hf://(?P<repository>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w.-]+))?/(?P<path>.+\.tar)")
# The library's HTTP client is httpx in some releases and httpx2 in others.
_HTTP_ERROR: type[Exception] = errors.HfHubHTTPError.__bases__[0]
T = TypeVar("T")


class HubError(OSError):
    """A shard is not on the hub, or the hub cannot be asked."""


@dataclass(frozen=True)
class HubShards:
    """The tar files of a data set on the hub, in their order."""

    repository: str
    revision: str
    files: tuple[str, ...]

    @property
    def name(self) -> str:
        """What the data set is called."""
        return self.repository.rpartition("/")[2]

    def commit(self) -> str:
        """The commit that the revision is now; the first shard is seen to be there.

        Raises HubError, within a few seconds where nothing answers.
        """
        url = huggingface_hub.hf_hub_url(
            self.repository, self.files[0], repo_type="dataset", revision=self.revision
        )
        found = self._asked(self.files[0], lambda: huggingface_hub.get_hf_file_metadata(url))
        return found.commit_hash or self.revision

    def fetch(self, file: str, commit: str, folder: Path) -> Path:
        """`file` of that commit, in `folder`. Raises HubError."""
        return Path(
            self._asked(
                file,
                lambda: huggingface_hub.hf_hub_download(
                    self.repository, file, repo_type="dataset", revision=commit, local_dir=folder
                ),
            )
        )

    def _asked(self, file: str, question: Callable[[], T]) -> T:
        what = f"{file} of the data set {self.repository}@{self.revision}"
        try:
            if constants.HF_HUB_OFFLINE:
                raise HubError(f"HF_HUB_OFFLINE forbids to fetch {what}: unset it, or copy the shards here.")
            with asked():
                return question()
        except HubError:
            raise
        except errors.EntryNotFoundError as error:
            raise HubError(f"There is no {what}: check the names and the range of the shards.") from error
        except errors.RepositoryNotFoundError as error:
            raise HubError(
                f"There is no data set {self.repository} on the hub, or it is private: check the name, or `hf auth "
                "login`."
            ) from error
        except (OSError, errors.HFValidationError, _HTTP_ERROR) as error:
            said = " ".join(str(error).split())[:160]
            raise HubError(f"{what} cannot be fetched ({said}): what is converted is kept.") from error


def hub_shards(spec: str) -> HubShards:
    """The shards that `spec` names. Raises ValueError for another form."""
    found = _SPEC.fullmatch(spec)
    if found is None:
        raise ValueError(f"'{spec}' names no shards of the hub: expected {_FORM}")
    return HubShards(found["repository"], found["revision"] or "main", tuple(expand_braces(found["path"])))


def forget(folder: Path) -> None:
    """Remove what was fetched."""
    shutil.rmtree(folder, ignore_errors=True)
