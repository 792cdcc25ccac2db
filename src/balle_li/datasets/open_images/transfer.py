"""One file over HTTP, in as many pieces as the network makes of it."""

import base64
import contextlib
import hashlib
import http.client
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path

from balle_li.datasets.open_images import endpoints
from balle_li.datasets.open_images.retries import Patience, TransientError, is_transient_status, short_reason
from balle_li.errors import BalleLiError, DatasetError
from balle_li.files import read_json, write_json
from balle_li.progress import Advance, progress

MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class _Remote:
    """What the server says of a file before it sends it. A part of another version of the file is of no use."""

    url: str
    bytes: int | None
    etag: str | None
    md5: str | None  # base64; Google's storage states it


def fetch(url: str, part: Path, patience: Patience) -> None:
    """Bring `part` to the whole of `url`, going on from what an earlier call left there.

    A failure after which more is on disk than ever before does not count against `patience`: a network that drops the
    connection every few megabytes costs time, not the download.

    Raises DatasetError: the server refuses, cannot be reached, or what came differs from what it states.
    """
    try:
        remote = patience.call(lambda: _describe(url))
        with progress(f"Fetching {url.rsplit('/', 1)[-1]}", -(-(remote.bytes or 0) // MEBIBYTE), "MiB") as advance:
            _fetch(remote, part, patience, advance)
    except TransientError as error:
        raise DatasetError(
            f"{url} cannot be fetched ({error}); what came is kept: check the network and run the same command again"
        ) from None
    if remote.md5 is not None and _md5(part) != remote.md5:
        discard(part)
        raise DatasetError(f"{url} arrived damaged (not the MD5 that the server states); run the same command again")


def discard(part: Path) -> None:
    """Remove a part and what is recorded of it."""
    part.unlink(missing_ok=True)
    _remote_path(part).unlink(missing_ok=True)


def _fetch(remote: _Remote, part: Path, patience: Patience, advance: Advance) -> None:
    if _recorded(part) != asdict(remote) or _size(part) > (remote.bytes or 0):
        discard(part)
        write_json(_remote_path(part), asdict(remote))
    part.touch()
    most, failures = _size(part), 0
    advance(most // MEBIBYTE)
    while remote.bytes is None or _size(part) < remote.bytes:
        try:
            return _fetch_rest(remote, part, advance)
        except TransientError:
            failures = 1 if _size(part) > most else failures + 1
            most = max(most, _size(part))
            if failures >= patience.attempts:
                raise
            patience.wait(failures)


def _fetch_rest(remote: _Remote, part: Path, advance: Advance) -> None:
    """One request for what `part` lacks. Raises TransientError when the body ends before its time."""
    start = _size(part)
    headers = {"Range": f"bytes={start}-"} if start else {}
    if start and remote.etag:
        headers["If-Range"] = remote.etag
    with _open(remote.url, "GET", headers) as response:
        resumed = response.status == http.client.PARTIAL_CONTENT
        if start and not resumed:
            advance(-(start // MEBIBYTE))
            start = 0
        with open(part, "ab" if resumed else "wb") as file:
            done = start
            while data := _read(response):
                file.write(data)
                advance((done + len(data)) // MEBIBYTE - done // MEBIBYTE)
                done += len(data)
    if remote.bytes is not None and done != remote.bytes:
        raise TransientError(f"the connection ended after {done} of {remote.bytes} bytes")
    advance(-(-done // MEBIBYTE) - done // MEBIBYTE)


def _describe(url: str) -> _Remote:
    with _open(url, "HEAD") as response:
        length = response.headers.get("Content-Length")
        hashes = ",".join(response.headers.get_all("x-goog-hash") or [])
        md5 = next((item.strip()[4:] for item in hashes.split(",") if item.strip().startswith("md5=")), None)
        return _Remote(url, int(length) if length else None, response.headers.get("ETag"), md5)


def _open(url: str, method: str, headers: dict[str, str] | None = None) -> http.client.HTTPResponse:
    try:
        request = urllib.request.Request(url, headers=headers or {}, method=method)
        response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=endpoints.READ_SECONDS)
        return response
    except urllib.error.HTTPError as error:
        if is_transient_status(error.code):
            raise TransientError(f"the server answered {error.code}") from None
        raise DatasetError(
            f"{url} answered {error.code} ({error.reason}); is {endpoints.METADATA_SETTING} set right?"
        ) from None
    except (OSError, http.client.HTTPException) as error:
        raise TransientError(short_reason(error)) from None
    except ValueError as error:
        raise DatasetError(f"{url} is not a URL ({error}); see {endpoints.METADATA_SETTING}") from None


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read(MEBIBYTE)
    except (OSError, http.client.HTTPException) as error:
        raise TransientError(short_reason(error)) from None


def _remote_path(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _recorded(part: Path) -> object:
    with contextlib.suppress(BalleLiError):
        return read_json(_remote_path(part))
    return None


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _md5(path: Path) -> str:
    with open(path, "rb") as file:
        return base64.b64encode(hashlib.file_digest(file, "md5").digest()).decode()
