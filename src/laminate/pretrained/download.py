"""One file of a Hugging Face repository, through huggingface_hub's own cache, or one sentence on why not.

Downloading, caching, locking and resuming are that library's. What is here turns its many exceptions into one
message each, and removes from the cache what arrived damaged.
"""

import errno
import re
import shutil
from pathlib import Path
from typing import NoReturn

import huggingface_hub
from huggingface_hub import constants, errors

from laminate.pretrained.pins import cache_folder, sha256_of
from laminate.storage.hub_client import FailingHubError, HostileHubError, SilentHubError, asked

# The library's HTTP client is httpx in some releases and httpx2 in others.
_HTTP_ERROR: type[Exception] = errors.HfHubHTTPError.__bases__[0]
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class FetchError(OSError):
    """A file could not be fetched; nothing of it is in the cache."""


class AbsentError(FetchError):
    """The repository has no such file."""


class UnreachableError(FetchError):
    """The file is not in the cache, and the hub cannot be asked."""


def cached(repository: str, file: str, *, revision: str, cache: Path | None = None) -> Path | None:
    """The file in the cache; None if it is not there. The hub is not asked.

    Raises AbsentError if the cache knows that this commit has no such file.
    """
    try:
        found = huggingface_hub.try_to_load_from_cache(
            repository, file, revision=revision, cache_dir=cache_folder(cache)
        )
    except errors.HFValidationError as error:
        _explain(error, file, repository, revision, cache_folder(cache))
    if isinstance(found, str):
        return Path(found)
    if found is not None and _COMMIT.fullmatch(revision):  # a branch may have got the file since
        raise AbsentError(f"{repository}@{revision} has no file {file}.")
    return None


def fetch(
    repository: str, file: str, *, revision: str, cache: Path | None = None, offline: bool = False
) -> Path:
    """The path of `file` in the cache, downloaded if it is not there (`offline` never downloads).

    Raises:
        AbsentError: the repository has no such file.
        UnreachableError: there is no network, it is switched off, or the hub does not answer.
        FetchError: no permission, no such repository or revision, a full disk, or an incomplete download.
    """
    known = cached(repository, file, revision=revision, cache=cache)
    try:
        with asked():
            found = huggingface_hub.hf_hub_download(
                repository, file, revision=revision, cache_dir=cache_folder(cache), local_files_only=offline
            )
        path = Path(found)
    except HostileHubError as error:
        raise FetchError(f"{error}.") from error
    except (FailingHubError, SilentHubError) as error:
        if known is not None:  # a branch, as it was when the hub was asked last
            return known
        if isinstance(error, FailingHubError):
            raise FetchError(_failing(f"{error}", f"{file} of {repository}@{revision}")) from error
        raise _unreachable(
            f"{file} of {repository}@{revision}", cache_folder(cache), f" ({error})"
        ) from error
    except (errors.EntryNotFoundError, OSError, errors.HFValidationError, _HTTP_ERROR) as error:
        _explain(error, f"{file} of {repository}@{revision}", repository, revision, cache_folder(cache))
    if path != known:
        _check_arrival(path, f"{file} of {repository}")
    return path


def commit_of(path: Path) -> str:
    """The commit to which a file of the cache belongs: its folder below `snapshots`."""
    parts = path.parts
    return parts[len(parts) - 1 - parts[::-1].index("snapshots") + 1]


def forget(path: Path) -> None:
    """Remove a file from the cache, and the bytes that its link points to."""
    blob = path.resolve()
    path.unlink(missing_ok=True)
    if blob.parent.name == "blobs":
        blob.unlink(missing_ok=True)


def _check_arrival(path: Path, what: str) -> None:
    """Large files are stored under their SHA-256, as the hub states it: compare, since the transport does not."""
    stated = path.resolve().name
    if _SHA256.fullmatch(stated) and sha256_of(path) != stated:
        forget(path)
        raise FetchError(
            f"{what} arrived damaged: its SHA-256 is not the one that the hub states. Nothing was kept; fetch it again."
        )


def _explain(error: Exception, what: str, repository: str, revision: str, cache: Path) -> NoReturn:
    raise _explained(error, what, repository, revision, cache) from error


def _explained(error: Exception, what: str, repository: str, revision: str, cache: Path) -> FetchError:
    page = f"{constants.ENDPOINT}/{repository}"
    if isinstance(error, errors.GatedRepoError):
        return FetchError(
            f"{repository} is gated: accept its licence at {page}, then `hf auth login`, or set HF_TOKEN."
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return FetchError(
            f"There is no repository {repository} on the hub, or it is private: check the name; for a private one "
            "`hf auth login`, or set HF_TOKEN."
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return FetchError(f"{repository} has no revision {revision!r}: see {page}/commits/main.")
    if isinstance(error, errors.HFValidationError):
        return FetchError(f"{repository!r} cannot be the name of a repository: give ORGANISATION/NAME.")
    if isinstance(error, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled):
        return _unreachable(what, cache, _first_line(error.__cause__))
    if isinstance(error, errors.EntryNotFoundError):
        return AbsentError(f"There is no file {what}: see {page}/tree/{revision}.")
    if isinstance(error, errors.HfHubHTTPError):
        return _refused_by_server(error, what)
    if isinstance(error, _HTTP_ERROR):
        return _unreachable(what, cache, _first_line(error))
    return _failed_on_disk(error, what, cache)


def _unreachable(what: str, cache: Path, detail: str = "") -> FetchError:
    if constants.HF_HUB_OFFLINE:
        return UnreachableError(
            f"{what} is not in the cache {cache}, and HF_HUB_OFFLINE forbids to fetch it: fetch it once on a machine "
            "with a network, or unset HF_HUB_OFFLINE."
        )
    return UnreachableError(
        f"{what} is not in the cache {cache}, and {constants.ENDPOINT} cannot be reached{detail}: connect to the "
        "network, or copy the cache folder of a machine that has it."
    )


def _first_line(error: BaseException | None) -> str:
    lines = str(error).strip().splitlines() if error is not None else []
    return f" ({lines[0][:120]})" if lines else ""


def _refused_by_server(error: errors.HfHubHTTPError, what: str) -> FetchError:
    status = error.response.status_code
    if status in (401, 403):
        return FetchError(
            f"The hub does not let you read {what} ({status}): `hf auth login` as one who may, or set HF_TOKEN."
        )
    return FetchError(_failing(f"{status}", what))


def _failing(status: str, what: str) -> str:
    return f"The hub answered {status} for {what}: try again later."


def _failed_on_disk(error: Exception, what: str, cache: Path) -> FetchError:
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.ENOSPC, errno.EDQUOT):
        return FetchError(
            f"The disk is full: {what} does not fit into {cache} ({_free(cache)}). Nothing was kept; make room, or set "
            "HF_HOME to a folder on another disk."
        )
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return FetchError(
            f"The cache {cache} cannot be written, so {what} cannot be fetched: set HF_HOME to a folder that can."
        )
    if "Consistency check failed" in str(error):
        return FetchError(f"{what} arrived incomplete. Nothing was kept; fetch it again.")
    return FetchError(f"{what} could not be fetched: {error}")


def _free(cache: Path) -> str:
    there = next((folder for folder in (cache, *cache.parents) if folder.exists()), None)
    return "" if there is None else f"{shutil.disk_usage(there).free / 1e6:.0f} MB free"
