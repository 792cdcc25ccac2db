"""Where Open Images V7 is served from, and the two settings that point to a mirror instead.

Metadata come over HTTP from Google's storage, pictures over the S3 protocol from a public bucket. The paths are those
of FiftyOne's zoo loader (`fiftyone.utils.openimages`), which are those of the data set's own download page.
"""

import os
from typing import TYPE_CHECKING, Any

from balle_li.errors import DatasetError

if TYPE_CHECKING:
    from botocore.client import BaseClient

METADATA_SETTING = "BALLE_LI_OPEN_IMAGES_METADATA_URL"
PICTURES_SETTING = "AWS_ENDPOINT_URL_S3"  # boto3's own

METADATA_HOST = "https://storage.googleapis.com"
BUCKET = "open-images-dataset"

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

CONNECT_SECONDS = 10
READ_SECONDS = 60


def metadata_url(path: str) -> str:
    """The URL of a metadata file, such as `metadata_url(CLASSES)`."""
    return f"{os.environ.get(METADATA_SETTING, '').rstrip('/') or METADATA_HOST}/{path}"


def picture_key(split: str, image_id: str) -> str:
    """The bucket's key of a picture."""
    return f"{split}/{image_id}.jpg"


def pictures_client(workers: int) -> "BaseClient":
    """An S3 client without credentials for `workers` threads; it never tries twice, which is its caller's business.

    Raises DatasetError: the machine's AWS settings are unusable.
    """
    import boto3
    from botocore import UNSIGNED
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    options: dict[str, Any] = {}
    if os.environ.get(PICTURES_SETTING):
        options["s3"] = {"addressing_style": "path"}  # a mirror has no host name for each bucket
    settings = Config(
        signature_version=UNSIGNED,
        region_name="us-east-1",  # the bucket's own, whatever the user's settings say
        retries={"total_max_attempts": 1},
        max_pool_connections=workers,
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        **options,
    )
    try:
        return boto3.session.Session().client("s3", config=settings)
    except (BotoCoreError, ValueError) as error:
        raise DatasetError(f"the AWS settings of this machine cannot be used to reach Open Images: {error}") from error
