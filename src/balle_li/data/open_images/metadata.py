"""Metadata files of Open Images on disk: fetched once, over HTTP in as many pieces as the network makes of them.

Google's storage serves them, at the paths of FiftyOne's zoo loader (`fiftyone.utils.openimages`), which are those of the
data set's own download page. A file is written to `<name>.part`, resumes from there after any interruption, is checked
(its length, the MD5 that the server states) and only then gets its name. `<name>.json` beside it records its URL, length
and SHA-256.
"""

import base64
import contextlib
import hashlib
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3
from urllib3.exceptions import HTTPError, MaxRetryError

from balle_li.errors import BalleLiError, DatasetError
from balle_li.files import read_json, sha256_file, write_json
from balle_li.progress import Advance, progress

HOST = "https://storage.googleapis.com"
HOST_SETTING = "BALLE_LI_OPEN_IMAGES_METADATA_URL"
CLASSES = "openimages/v5/class-descriptions-boxable.csv"
HIERARCHY = "openimages/2018_04/bbox_labels_600_hierarchy.json"
BOXES = {
    "train": "openimages/v6/oidv6-train-annotations-bbox.csv",
    "validation": "openimages/v5/validation-annotations-bbox.csv",
    "test": "openimages/v5/test-annotations-bbox.csv",
}
PICTURES = {
    "train": "openimages/2018_04/train/train-images-boxable-with-rotation.csv",
    "validation": "openimages/2018_04/validation/validation-images-with-rotation.csv",
    "test": "openimages/2018_04/test/test-images-with-rotation.csv",
}

TIMEOUT = urllib3.Timeout(connect=10, read=60)
RETRY = urllib3.Retry(
    total=6,
    backoff_factor=0.25,
    backoff_jitter=0.25,
    backoff_max=8,
    status_forcelist=(408, 425, 429, 500, 502, 503, 504),
)
logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # a line for every attempt is noise
MEBIBYTE = 1 << 20
LONGEST_REASON = 80  # characters


@dataclass(frozen=True)
class MetadataFile:
    """A whole metadata file on disk."""

    path: Path
    bytes: int
    sha256: str


def stage(path: str, folder: Path) -> MetadataFile:
    """Have `folder/path` on disk, fetching it unless a whole copy from the same URL is there.

    Raises DatasetError: the file cannot be fetched, or what came is not what the server states.
    """
    url = f"{os.environ.get(HOST_SETTING, '').rstrip('/') or HOST}/{path}"
    target = folder / path
    known = _recorded(target, url)
    if known is not None:
        return known
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    part = target.with_name(f"{target.name}.part")
    _fetch(url, part)
    file = MetadataFile(target, part.stat().st_size, sha256_file(part))
    # The record goes first: killed between these two lines, the next run finds a whole part that it need not fetch again.
    mtime_ns = part.stat().st_mtime_ns
    write_json(_record_path(target), {"url": url, "bytes": file.bytes, "mtime_ns": mtime_ns, "sha256": file.sha256})
    os.replace(part, target)
    discard(part)
    return file


def discard(path: Path) -> None:
    """Remove a file, or the part of one, and its record, so that the next run fetches it again."""
    path.unlink(missing_ok=True)
    _record_path(path).unlink(missing_ok=True)


def short_reason(error: BaseException) -> str:
    """Why a connection failed, in the operating system's few words: libraries wrap them in addresses and classes."""
    seen: list[BaseException] = []
    at: object = error
    while isinstance(at, BaseException) and at not in seen:
        seen.append(at)
        inner = getattr(at, "reason", None)
        at = inner if isinstance(inner, BaseException) else at.__cause__ or at.__context__
    words = [found.strerror for found in seen if isinstance(found, OSError) and found.strerror]
    reason = " ".join((words or [str(seen[-1]) or type(error).__name__])[-1].split())
    return reason if len(reason) <= LONGEST_REASON else f"{reason[: LONGEST_REASON - 1]}…"


def _record_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _record(path: Path) -> dict[str, Any]:
    with contextlib.suppress(BalleLiError):
        record: dict[str, Any] = read_json(_record_path(path))
        return record
    return {}


def _recorded(target: Path, url: str) -> MetadataFile | None:
    """The file on disk if it is the one recorded; its bytes are read again only when it was touched since."""
    record = _record(target)
    if record.get("url") != url or not target.is_file():
        return None
    stat = target.stat()
    if stat.st_size != record["bytes"]:
        return None
    if stat.st_mtime_ns != record["mtime_ns"] and sha256_file(target) != record["sha256"]:
        return None
    return MetadataFile(target, stat.st_size, record["sha256"])


def _fetch(url: str, part: Path) -> None:
    """Bring `part` to the whole of `url`, going on from what an earlier call left there.

    urllib3's Retry decides how often and after what waits. A failure after which more is on disk than before starts it
    afresh: a network that drops the connection every few megabytes costs time, not the download.
    """
    if not url.startswith(("http://", "https://")):
        raise DatasetError(f"{url} is not a URL; see {HOST_SETTING}")
    retry = RETRY
    with urllib3.PoolManager(timeout=TIMEOUT) as pool:
        try:
            remote = _describe(pool, url)
            if _record(part) != remote or _size(part) > (
                remote["bytes"] or 0
            ):  # a part of another version is of no use
                discard(part)
                write_json(_record_path(part), remote)
            total = -(-(remote["bytes"] or 0) // MEBIBYTE)
            with progress(f"Fetching {url.rsplit('/', 1)[-1]}", total, "MiB") as advance:
                advance(_size(part) // MEBIBYTE)
                while _size(part) == 0 or _size(part) != remote["bytes"]:
                    most = _size(part)
                    try:
                        _fetch_rest(pool, remote, part, advance)
                        break
                    except MaxRetryError:
                        raise
                    except HTTPError as error:  # the body ended before its time
                        retry = (RETRY if _size(part) > most else retry).increment("GET", url, error=error)
                        retry.sleep()
        except HTTPError as error:
            raise DatasetError(
                f"{url} cannot be fetched ({short_reason(error)}); what came is kept: check the network and run the "
                "same command again"
            ) from None
    if remote["md5"] is not None and _md5(part) != remote["md5"]:
        discard(part)
        raise DatasetError(f"{url} arrived damaged (not the MD5 that the server states); run the same command again")


def _describe(pool: urllib3.PoolManager, url: str) -> dict[str, Any]:
    """What the server says of a file before it sends it. Google's storage states the MD5, in base64."""
    headers = _request(pool, "HEAD", url, {}).headers
    hashes = (item.strip() for item in headers.get("x-goog-hash", "").split(","))
    length = headers.get("Content-Length")
    return {
        "url": url,
        "bytes": int(length) if length else None,
        "etag": headers.get("ETag"),
        "md5": next((item[4:] for item in hashes if item.startswith("md5=")), None),
    }


def _fetch_rest(pool: urllib3.PoolManager, remote: Mapping[str, Any], part: Path, advance: Advance) -> None:
    """One request for what `part` lacks. Raises urllib3's HTTPError when the body ends before its time."""
    start = done = _size(part)
    headers = {"Range": f"bytes={start}-"} if start else {}
    if start and remote["etag"]:
        headers["If-Range"] = remote["etag"]
    response = _request(pool, "GET", remote["url"], headers)
    try:
        resumed = response.status == 206
        if not resumed:
            advance(-(start // MEBIBYTE))
            done = 0
        with open(part, "ab" if resumed else "wb") as file:
            while data := response.read1(MEBIBYTE):  # what came before a connection ended counts
                file.write(data)
                advance((done + len(data)) // MEBIBYTE - done // MEBIBYTE)
                done += len(data)
        advance(-(-done // MEBIBYTE) - done // MEBIBYTE)
    finally:
        response.close()


def _request(pool: urllib3.PoolManager, method: str, url: str, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
    response = pool.request(method, url, headers=headers, retries=RETRY, preload_content=False)
    if response.status >= 400:
        response.close()
        raise DatasetError(f"{url} answered {response.status} ({response.reason}); is {HOST_SETTING} set right?")
    return response


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _md5(path: Path) -> str:
    with open(path, "rb") as file:
        return base64.b64encode(hashlib.file_digest(file, "md5").digest()).decode()
