"""Large objects, sent in parts over a line that breaks. Task 4."""

import hashlib
from pathlib import Path

from starter.store import s3

MIB = 2**20


def upload_in_parts(bucket: str, key: str, path: str | Path, part_bytes: int = 8 * MIB) -> int:
    """Upload a file as a multipart upload of `part_bytes` a part; return how many parts this call sent.

    An upload of the same key that broke off earlier is continued: a part that the store holds already, with the
    content that the file has now, is not sent again. Where several broke off, continue any one of them; the others
    stay open. A failing request is raised as it is, and leaves the parts
    sent so far in the store. The file is never in memory as a whole.
    """
    # 1. Is there an unfinished upload of exactly this key? Otherwise create one.
    # 2. Which parts does the store hold, and with which ETag? The ETag of a part is the MD5 of its bytes, in quotes.
    # 3. Read the file part by part; send what is missing or differs.
    # 4. Complete the upload with the list of all parts of the file.
    # YOUR CODE HERE
    raise NotImplementedError()


def remove_leftovers(bucket: str, prefix: str) -> int:
    """Abort every unfinished upload whose key begins with `prefix`; return how many there were.

    Stored objects, and unfinished uploads of other keys, stay as they are.
    """
    # YOUR CODE HERE
    raise NotImplementedError()
