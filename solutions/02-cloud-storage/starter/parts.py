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
    ### BEGIN SOLUTION
    client = s3()
    pages = client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=key)
    begun = [upload["UploadId"] for page in pages for upload in page.get("Uploads", []) if upload["Key"] == key]
    upload_id = begun[-1] if begun else client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
    where = {"Bucket": bucket, "Key": key, "UploadId": upload_id}
    pages = client.get_paginator("list_parts").paginate(**where)
    held = {part["PartNumber"]: part["ETag"] for page in pages for part in page.get("Parts", [])}
    parts, sent = [], 0
    with Path(path).open("rb") as file:
        while block := file.read(part_bytes):
            number, etag = len(parts) + 1, f'"{hashlib.md5(block).hexdigest()}"'
            if held.get(number) != etag:
                etag = client.upload_part(**where, PartNumber=number, Body=block)["ETag"]
                sent += 1
            parts.append({"PartNumber": number, "ETag": etag})
    client.complete_multipart_upload(**where, MultipartUpload={"Parts": parts})
    return sent
    ### END SOLUTION


def remove_leftovers(bucket: str, prefix: str) -> int:
    """Abort every unfinished upload whose key begins with `prefix`; return how many there were.

    Stored objects, and unfinished uploads of other keys, stay as they are.
    """
    ### BEGIN SOLUTION
    client = s3()
    pages = client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=prefix)
    unfinished = [upload for page in pages for upload in page.get("Uploads", [])]
    for upload in unfinished:
        client.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
    return len(unfinished)
    ### END SOLUTION
