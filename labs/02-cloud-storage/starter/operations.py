"""What keeps a store healthy after the first night: versions, lifecycle, cost and access. Task 6."""

from collections.abc import Iterable
from typing import Any

from starter.store import s3

GIB = 2**30
"""Storage is billed by the binary gigabyte."""

PRICES = {"STANDARD": 0.023, "GLACIER_IR": 0.004}
"""US dollars per GB-month: S3 list prices of one region (us-east-1, first 50 TB), as constants of this exercise."""

COLD_AFTER = 30
"""Days after which a version that was overwritten moves to the cheap class."""

GONE_AFTER = 365
"""Days after which it is deleted."""

SMALLEST_TO_MOVE = 128 * 1024
"""Bytes: S3 leaves smaller versions in the class they are in."""


def undo_overwrite(bucket: str, key: str) -> str:
    """Make the content before the last change current again; return the id of the new version.

    The bucket keeps versions. Nothing of the history is removed: the old content, with its metadata, becomes the
    newest version. If the last change was a deletion, what was deleted comes back. A deletion further back is passed
    over: after one version, a deletion and another version, the first version comes back.
    Raises LookupError where there is nothing to go back to.
    """
    # YOUR CODE HERE
    raise NotImplementedError()


def keep_old_versions_cheaply(bucket: str, prefix: str) -> None:
    """Set the bucket's lifecycle rule for the keys under `prefix`.

    Versions that were overwritten move to GLACIER_IR after COLD_AFTER days and are deleted after GONE_AFTER days.
    Uploads that nobody finished are aborted after 7 days. The current version of an object is never moved or deleted.
    S3 replaces all rules of a bucket at once: rules that it had before need not survive.
    """
    # YOUR CODE HERE
    raise NotImplementedError()


def monthly_saving(versions: Iterable[tuple[int, int]]) -> float:
    """Return the US dollars a month that the rule saves, against keeping all of these versions in STANDARD.

    versions: (size in bytes, days since it was overwritten) of each overwritten version. From COLD_AFTER days on it
    costs the price of GLACIER_IR, unless it is smaller than SMALLEST_TO_MOVE; from GONE_AFTER days on, nothing.
    """
    # YOUR CODE HERE
    raise NotImplementedError()


def share(bucket: str, key: str, seconds: int) -> str:
    """Return a link by which anybody can download this one object, without an account, for `seconds` from now."""
    # YOUR CODE HERE
    raise NotImplementedError()


def reader_policy(bucket: str, prefix: str) -> dict[str, Any]:
    """Return an IAM policy document: its holder may list and read what lies under `prefix`, and nothing else.

    No writing, no deleting, no other prefix, no other bucket, no listing of the whole bucket. `prefix` ends with a slash.
    """
    # Reading is an action on objects, listing one on the bucket: two statements, the second with a condition.
    # YOUR CODE HERE
    raise NotImplementedError()
