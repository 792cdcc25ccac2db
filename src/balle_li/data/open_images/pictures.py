"""Pictures of Open Images on disk: fetched in parallel, decoded to the last pixel, and only then given their name.

They come over the S3 protocol from a public bucket; boto decides how often a request is made again and after what waits.
A file with its name is whole, so that an interrupted download resumes with those that are missing.
"""

import io
import os
from collections.abc import Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import TYPE_CHECKING

from balle_li.data.open_images.metadata import short_reason
from balle_li.errors import DatasetError
from balle_li.files import atomic_path
from balle_li.progress import progress

if TYPE_CHECKING:
    from botocore.client import BaseClient

BUCKET = "open-images-dataset"
MIRROR_SETTING = "AWS_ENDPOINT_URL_S3"  # boto's own
REQUEST_ATTEMPTS = 6
BODY_ATTEMPTS = 4  # a body that is cut or no picture, such as a proxy's error page, may be whole the next time
UNREACHABLE_IN_A_ROW = 32  # after so many lost pictures in a row the network is gone, not the pictures


class _MissingError(Exception):
    """The server does not give this picture; the message is the reason."""


class _UnreachableError(_MissingError):
    """The server does not answer, or not as it should."""


def picture_key(split: str, image_id: str) -> str:
    """The bucket's key of a picture."""
    return f"{split}/{image_id}.jpg"


def fetch(keys: Sequence[str], folder: Path, workers: int) -> dict[str, str]:
    """Have `folder/key` on disk for each key of the bucket, such as `train/000a1249af2bc5f0.jpg`.

    Returns the reason, by key, for each picture that is unavailable: refused by the server, cut or no JPEG picture every
    time, or out of reach.

    Raises DatasetError: the server is out of reach. What was fetched is kept.
    """
    whole = _whole(folder)
    absent = [key for key in keys if key not in whole]
    failures: dict[str, str] = {}
    if not absent:
        return failures
    client = _client(workers)
    lost_in_a_row = 0

    def fetch_one(key: str) -> tuple[str, Exception | None]:
        try:
            _write(folder / key, _get_picture(client, key))
        except _MissingError as error:
            return key, error
        return key, None

    with progress("Fetching pictures", len(absent), "pictures") as advance, ThreadPool(workers) as pool:
        for key, failure in pool.imap_unordered(fetch_one, absent):
            if failure is not None:
                failures[key] = str(failure)
            lost_in_a_row = lost_in_a_row + 1 if isinstance(failure, _UnreachableError) else 0
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


def _client(workers: int) -> "BaseClient":
    """An S3 client without credentials for `workers` threads.

    Raises DatasetError: the machine's AWS settings are unusable.
    """
    import boto3
    from botocore import UNSIGNED
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    settings = Config(
        signature_version=UNSIGNED,
        region_name="us-east-1",  # the bucket's own, whatever the user's settings say
        retries={"mode": "standard", "total_max_attempts": REQUEST_ATTEMPTS},
        max_pool_connections=workers,
        connect_timeout=10,
        read_timeout=60,
        # A mirror has no host name for each bucket.
        s3={"addressing_style": "path" if os.environ.get(MIRROR_SETTING) else "auto"},
    )
    try:
        return boto3.session.Session().client("s3", config=settings)
    except (BotoCoreError, ValueError) as error:
        raise DatasetError(f"the AWS settings of this machine cannot be used to reach Open Images: {error}") from error


def _get_picture(client: "BaseClient", key: str) -> bytes:
    from botocore.exceptions import BotoCoreError, ClientError

    failure = _MissingError()
    for _ in range(BODY_ATTEMPTS):
        try:
            body = client.get_object(Bucket=BUCKET, Key=key)["Body"]
        except ClientError as error:
            status = int(error.response["ResponseMetadata"]["HTTPStatusCode"])
            kind = _UnreachableError if status >= 500 else _MissingError
            raise kind(f"the server answered {status}") from None
        except (BotoCoreError, OSError) as error:
            raise _UnreachableError(short_reason(error)) from None
        try:
            data: bytes = body.read()
        except (BotoCoreError, OSError) as error:
            failure = _UnreachableError(short_reason(error))
            continue
        fault = _fault(data)
        if fault is None:
            return data
        failure = _MissingError(fault)
    raise failure


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
