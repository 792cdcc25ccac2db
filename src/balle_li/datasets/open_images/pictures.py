"""Pictures on disk: fetched in parallel, decoded to the last pixel, and only then given their name.

A file with its name is whole, so that an interrupted download goes on with those that are missing.
"""

import io
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING

from balle_li.datasets.open_images import endpoints
from balle_li.datasets.open_images.retries import PATIENCE, Patience, TransientError, is_transient_status, short_reason
from balle_li.errors import DatasetError
from balle_li.files import atomic_path
from balle_li.progress import progress

if TYPE_CHECKING:
    from botocore.client import BaseClient

DECODE_ATTEMPTS = 2  # a body that is no picture may be a proxy's error page, and gone the second time
UNREACHABLE_IN_A_ROW = 32  # after so many lost pictures in a row the network is gone, not the pictures
QUEUED_PER_WORKER = 4


class _RefusedError(Exception):
    """The server does not give this picture; the message is the reason."""


def fetch(keys: Sequence[str], folder: Path, workers: int, patience: Patience = PATIENCE) -> dict[str, str]:
    """Have `folder/key` on disk for each key of the bucket, such as `train/000a1249af2bc5f0.jpg`.

    Returns the reason, by key, for each picture that could not be had: refused by the server, cut or no JPEG picture
    when fetched again, or out of reach.

    Raises DatasetError: the server is out of reach. What was fetched is kept.
    """
    whole = _whole(folder)
    absent = [key for key in keys if key not in whole]
    failures: dict[str, str] = {}
    if not absent:
        return failures
    client = endpoints.pictures_client(workers)
    stop = threading.Event()
    lost_in_a_row = 0

    def fetch_one(key: str) -> Exception | None:
        try:
            _write(folder / key, _get_picture(client, key, patience, stop))
        except (_RefusedError, TransientError) as error:
            return error
        return None

    with progress("Fetching pictures", len(absent), "pictures") as advance:
        for key, failure in _in_parallel(fetch_one, absent, workers, stop):
            if failure is not None:
                failures[key] = str(failure)
            lost_in_a_row = lost_in_a_row + 1 if isinstance(failure, TransientError) else 0
            if lost_in_a_row >= UNREACHABLE_IN_A_ROW:
                raise DatasetError(
                    f"the pictures of Open Images cannot be reached ({failure}); what came is kept: "
                    "check the network and run the same command again"
                )
            advance(1)
    return dict(sorted(failures.items()))


def _whole(folder: Path) -> set[str]:
    """The keys on disk. Files that a killed process left half-written are removed."""
    keys = set()
    for split in folder.iterdir() if folder.is_dir() else ():
        for entry in os.scandir(split):
            if entry.name.endswith(".part"):
                os.unlink(entry)
            elif entry.stat().st_size > 0:
                keys.add(f"{split.name}/{entry.name}")
    return keys


def _in_parallel(
    action: Callable[[str], Exception | None], keys: Sequence[str], workers: int, stop: threading.Event
) -> Iterator[tuple[str, Exception | None]]:
    """Yield `(key, action(key))` as they finish; when the caller leaves early, what has not begun never does."""
    executor = ThreadPoolExecutor(workers, thread_name_prefix="fetch")
    running: dict[Future[Exception | None], str] = {}
    try:
        for key in keys:
            running[executor.submit(action, key)] = key
            if len(running) >= workers * QUEUED_PER_WORKER:
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield running.pop(future), future.result()
        for future in wait(running).done:
            yield running.pop(future), future.result()
    finally:
        stop.set()
        executor.shutdown(cancel_futures=True)


def _get_picture(client: "BaseClient", key: str, patience: Patience, stop: threading.Event) -> bytes:
    for _ in range(DECODE_ATTEMPTS):
        data = patience.call(lambda: _get(client, key), stop)
        fault = _fault(data)
        if fault is None:
            return data
    raise _RefusedError(fault)


def _get(client: "BaseClient", key: str) -> bytes:
    from botocore.exceptions import BotoCoreError, ClientError
    from urllib3.exceptions import HTTPError

    try:
        data: bytes = client.get_object(Bucket=endpoints.BUCKET, Key=key)["Body"].read()
        return data
    except ClientError as error:
        status = int(error.response["ResponseMetadata"]["HTTPStatusCode"])
        if is_transient_status(status):
            raise TransientError(f"the server answered {status}") from None
        raise _RefusedError(f"the server answered {status}") from None
    except (BotoCoreError, HTTPError, OSError) as error:
        raise TransientError(short_reason(error)) from None


def _fault(data: bytes) -> str | None:
    """Why `data` is not a whole JPEG picture; None when it is."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as picture:
            picture.load()
    except Exception as error:  # Pillow's decoders raise whatever a broken file makes them stumble over
        reason = "no JPEG picture" if isinstance(error, Image.UnidentifiedImageError) else str(error)
        return f"{len(data)} bytes that cannot be decoded: {reason}"
    return None


def _write(path: Path, data: bytes) -> None:
    """Write a picture that survives a power cut once it has its name."""
    with atomic_path(path) as part, open(part, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
