"""A request to the local AWS, read whole and named as boto3 names it."""

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote

from moto.core.request import Request
from moto.core.routing import get_service_router
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Request as PlainRequest

from labkit.emulators import checksums

Environ = dict[str, Any]


@dataclass(frozen=True)
class Call:
    """One request. Header names are in lower case; `uri` is the path and query as they were sent."""

    service: str
    operation: str
    method: str
    bucket: str | None
    key: str | None
    query: Mapping[str, str]
    headers: Mapping[str, str]
    form: Mapping[str, str]
    body: bytes
    uri: str


def read(environ: Environ) -> Call:
    """Read the request; `environ` is left as if the body had been sent plainly, in one piece."""
    sent = dict(_headers(environ))
    body = read_body(environ)
    trailers: dict[str, str] = {}
    if sent.get("x-amz-content-sha256", "").startswith("STREAMING-"):
        body, trailers = checksums.unchunk(body)
        _plain(environ, body, trailers)
    headers = {**sent, **trailers}
    _name_checksum(environ, headers)
    query = dict(parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True))
    method = str(environ["REQUEST_METHOD"])
    uri = str(environ.get("REQUEST_URI") or environ.get("RAW_URI") or environ["PATH_INFO"])
    path = unquote(uri.partition("?")[0]).lstrip("/")
    service = _service(headers, query, method, path, body)
    if service != "s3":
        form = dict(parse_qsl(body.decode("utf-8", "replace")))
        return Call(service, form.get("Action", ""), method, None, None, query, headers, form, body, uri)
    bucket, _, key = path.partition("/")
    form = _form(environ, headers, body) if method == "POST" and not key else {}
    if method == "PUT" and "form-urlencoded" in headers.get("content-type", ""):
        environ["CONTENT_TYPE"] = "binary/octet-stream"  # what urllib sends by itself, and moto would read as a form
    operation = "PostObject" if form else _operation(environ, query)
    return Call("s3", operation, method, bucket or None, key or None, query, headers, form, body, uri)


def read_body(environ: Environ) -> bytes:
    """The body, which can be read from `environ` again."""
    stream = environ["wsgi.input"]
    if environ.get("wsgi.input_terminated"):
        body = bytes(stream.read())
    else:
        body = bytes(stream.read(int(environ.get("CONTENT_LENGTH") or 0)))
    environ.pop("HTTP_TRANSFER_ENCODING", None)
    set_body(environ, body)
    return body


def set_body(environ: Environ, body: bytes) -> None:
    """Put another body in the request's place."""
    environ["wsgi.input"] = io.BytesIO(body)
    environ["CONTENT_LENGTH"] = str(len(body))


def _plain(environ: Environ, body: bytes, trailers: Mapping[str, str]) -> None:
    """Hand moto the body without its chunks: it finds the checksum at their end for some algorithms only."""
    set_body(environ, body)
    encodings = [one.strip() for one in environ.pop("HTTP_CONTENT_ENCODING", "").split(",")]
    if left := [one for one in encodings if one not in ("", "aws-chunked")]:
        environ["HTTP_CONTENT_ENCODING"] = ",".join(left)
    for name in ("HTTP_X_AMZ_DECODED_CONTENT_LENGTH", "HTTP_X_AMZ_TRAILER"):
        environ.pop(name, None)
    environ["HTTP_X_AMZ_CONTENT_SHA256"] = "UNSIGNED-PAYLOAD"
    environ.update({"HTTP_" + name.upper().replace("-", "_"): value for name, value in trailers.items()})


def _name_checksum(environ: Environ, headers: Mapping[str, str]) -> None:
    """Moto keeps a checksum only where the algorithm is named in a header of its own."""
    for name in checksums.NAMES:
        if f"x-amz-checksum-{name}" in headers:
            environ.setdefault("HTTP_X_AMZ_SDK_CHECKSUM_ALGORITHM", name.upper())


def _operation(environ: Environ, query: Mapping[str, str]) -> str:
    try:
        name = str(get_service_router("s3").match(Request(environ))[0].name)
    except (NotFound, NotImplementedError):
        return ""
    # The router does not look for this word in the query.
    return "GetObjectAttributes" if name == "GetObject" and "attributes" in query else name


def _service(headers: Mapping[str, str], query: Mapping[str, str], method: str, path: str, body: bytes) -> str:
    credential = headers.get("authorization", "").partition("Credential=")[2].partition(",")[0]
    scope = (credential or query.get("X-Amz-Credential", "")).split("/")
    if len(scope) == 5:
        return scope[3]
    return "unsigned" if method == "POST" and not path and b"Action=" in body else "s3"


def _form(environ: Environ, headers: Mapping[str, str], body: bytes) -> dict[str, str]:
    """The fields of an upload by an HTML form (a presigned POST)."""
    if not headers.get("content-type", "").startswith("multipart/form-data"):
        return {}
    request = PlainRequest({**environ, "wsgi.input": io.BytesIO(body)})
    return {name.lower(): value for name, value in request.form.items()}


def _headers(environ: Environ) -> Iterator[tuple[str, str]]:
    for name, value in environ.items():
        if name.startswith("HTTP_"):
            yield name.removeprefix("HTTP_").replace("_", "-").lower(), str(value)
        elif name in ("CONTENT_TYPE", "CONTENT_LENGTH") and value:
            yield name.replace("_", "-").lower(), str(value)
