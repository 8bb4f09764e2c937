"""The checksums that a client sends with a body, and bodies sent in chunks with the checksum at their end."""

import base64
import hashlib
import zlib
from collections.abc import Callable, Mapping

# CRC32C and CRC64NVME need a library of their own; they are kept as sent.
_ALGORITHMS: dict[str, Callable[[bytes], bytes]] = {
    "crc32": lambda body: zlib.crc32(body).to_bytes(4, "big"),
    "sha1": lambda body: hashlib.sha1(body, usedforsecurity=False).digest(),
    "sha256": lambda body: hashlib.sha256(body).digest(),
}
NAMES = (*_ALGORITHMS, "crc32c", "crc64nvme")


def unchunk(body: bytes) -> tuple[bytes, dict[str, str]]:
    """Undo `Content-Encoding: aws-chunked`: the body, and the headers that follow it. Raises ValueError."""
    parts, start = [], 0
    while True:
        end = body.index(b"\r\n", start)
        size = int(body[start:end].partition(b";")[0], 16)
        start = end + 2
        if size == 0:
            break
        parts.append(body[start : start + size])
        start += size + 2
    trailers = (line.partition(":") for line in body[start:].decode("ascii").split("\r\n"))
    return b"".join(parts), {name.strip().lower(): value.strip() for name, _, value in trailers if name}


def wrong(headers: Mapping[str, str], body: bytes) -> tuple[str, str] | None:
    """Error code and message when a checksum in `headers` is not that of `body`, else None."""
    for name, compute in _ALGORITHMS.items():
        sent = headers.get(f"x-amz-checksum-{name}")
        if sent is not None and sent != base64.b64encode(compute(body)).decode():
            return "BadDigest", f"The {name.upper()} you specified did not match the calculated checksum."
    sent = headers.get("content-md5")
    md5 = hashlib.md5(body, usedforsecurity=False).digest()
    if sent is not None and sent != base64.b64encode(md5).decode():
        return "BadDigest", "The Content-MD5 you specified did not match what we received."
    sent = headers.get("x-amz-content-sha256", "")
    if len(sent) == 64 and sent != hashlib.sha256(body).hexdigest():
        return "XAmzContentSHA256Mismatch", "The provided x-amz-content-sha256 header does not match what was computed."
    return None
