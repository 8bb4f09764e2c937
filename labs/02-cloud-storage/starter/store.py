"""The way to the object store. Given, nothing to write."""

from typing import Any

import boto3
from botocore.exceptions import ClientError


def s3() -> Any:
    """Return an S3 client. Which cloud it speaks to, and as whom, is a matter of the environment only."""
    return boto3.client("s3")


def head(bucket: str, key: str) -> dict[str, Any] | None:
    """Return what the store says about an object (`ETag`, `Metadata`, `ContentLength` ...), or None if there is none.

    Moves no content.
    """
    try:
        answer: dict[str, Any] = s3().head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response["Error"]["Code"] in ("404", "NoSuchKey", "NotFound"):
            return None
        raise
    return answer
