"""The WSGI layer around moto: control path, request record, injected faults."""

import io
import itertools
import json
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote
from xml.sax.saxutils import escape

from moto.core.request import Request
from moto.core.routing import get_service_router
from moto.moto_api._internal.models import moto_api_backend
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response

Environ = dict[str, Any]
App = Callable[[Environ, Any], Iterable[bytes]]

CONTROL = "/_lab/"
STATUS = {"AccessDenied": 403, "NoSuchKey": 404, "InternalError": 500, "SlowDown": 503, "ServiceUnavailable": 503}
"""Statuses of the faults that are not a plain 400 on AWS."""


@dataclass(frozen=True)
class Call:
    """One request to a service, read whole."""

    service: str
    operation: str
    method: str
    bucket: str | None
    key: str | None
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    uri: str


@dataclass
class Fault:
    """From the (after+1)-th call of `operation` on, answer with the error `code`."""

    operation: str
    after: int
    code: str
    seen: int = 0


class Layer:
    """moto, and in front of it what a lab needs to look at requests and to make them fail."""

    def __init__(self, app: App, token: str) -> None:
        self._app = app
        self._token = token
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._recordings: dict[int, list[dict[str, Any]]] = {}
        self._faults: dict[int, Fault] = {}

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        path = str(environ.get("PATH_INFO", ""))
        if path.startswith(CONTROL):
            response = self._control(environ["REQUEST_METHOD"], path.removeprefix(CONTROL), _read_body(environ))
        else:
            call = read_call(environ)
            response = self._fault(call) or self._moto(environ, call)
            self._remember(call, response)
        return response(environ, start_response)

    def _moto(self, environ: Environ, call: Call) -> Response:
        return Response.from_app(self._app, environ, buffered=True)

    def _fault(self, call: Call) -> Response | None:
        with self._lock:
            for fault in self._faults.values():
                if fault.operation == call.operation:
                    fault.seen += 1
                    if fault.seen > fault.after:
                        return error(STATUS.get(fault.code, 400), fault.code, "made to fail by labkit.cloud.fail")
        return None

    def _remember(self, call: Call, response: Response) -> None:
        with self._lock:
            if not self._recordings:
                return
            entry = {
                "method": call.method,
                "operation": call.operation,
                "bucket": call.bucket,
                "key": call.key,
                "query": call.query,
                "status": response.status_code,
                "bytes_in": len(call.body),
                "bytes_out": 0 if call.method == "HEAD" else len(response.get_data()),
                "range": call.headers.get("range"),
                "if_match": call.headers.get("if-match"),
                "if_none_match": call.headers.get("if-none-match"),
            }
            for entries in self._recordings.values():
                entries.append(entry)

    def _control(self, method: str, path: str, body: bytes) -> Response:
        kind, _, number = path.partition("/")
        with self._lock:
            match method, kind:
                case "GET", "ping":
                    return _json({"token": self._token})
                case "POST", "reset":
                    moto_api_backend.reset()
                    return _json({})
                case "POST", "recordings":
                    self._recordings[new := next(self._numbers)] = []
                    return _json({"number": new})
                case "GET", "recordings" if number.isdecimal() and int(number) in self._recordings:
                    return _json(self._recordings[int(number)])
                case "DELETE", "recordings":
                    return _json(self._recordings.pop(int(number), []))
                case "POST", "faults":
                    self._faults[new := next(self._numbers)] = Fault(**json.loads(body))
                    return _json({"number": new})
                case "DELETE", "faults":
                    fault = self._faults.pop(int(number), None)
                    return _json(asdict(fault) if fault else {})
        return _json({"error": "no such control request"}, status=404)


def error(status: int, code: str, message: str) -> Response:
    """An error as S3 answers it."""
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{escape(code)}</Code><Message>{escape(message)}</Message><RequestId>local</RequestId></Error>"
    )
    return Response(text, status=status, content_type="application/xml")


def read_call(environ: Environ) -> Call:
    """Read a request whole and name its operation; `environ` can be read again afterwards."""
    raw = _read_body(environ)
    headers = dict(_headers(environ))
    query = dict(parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True))
    service = _service(headers, query, raw)
    method = str(environ["REQUEST_METHOD"])
    uri = str(environ.get("REQUEST_URI") or environ.get("RAW_URI") or environ["PATH_INFO"])
    if service != "s3":
        form = dict(parse_qsl(raw.decode("utf-8", "replace")))
        return Call(service, form.get("Action", ""), method, None, None, query, headers, raw, uri)
    bucket, _, key = unquote(uri.partition("?")[0]).lstrip("/").partition("/")
    return Call(service, _operation(environ, query), method, bucket or None, key or None, query, headers, raw, uri)


def _operation(environ: Environ, query: dict[str, str]) -> str:
    try:
        operation, _ = get_service_router("s3").match(Request(environ))
    except (NotFound, NotImplementedError):
        return ""
    # The router tells GetObject from GetObjectAttributes by the order of its rules, not by the query.
    name = str(operation.name)
    return "GetObjectAttributes" if name == "GetObject" and "attributes" in query else name


def _service(headers: dict[str, str], query: dict[str, str], body: bytes) -> str:
    scope = headers.get("authorization", "").partition("Credential=")[2].partition(",")[0].split("/")
    if len(scope) >= 4:
        return scope[3]
    scope = query.get("X-Amz-Credential", "").split("/")
    if len(scope) >= 4:
        return scope[3]
    is_form = headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
    return "unsigned" if is_form and b"Action=" in body else "s3"


def _headers(environ: Environ) -> Iterator[tuple[str, str]]:
    for name, value in environ.items():
        if name.startswith("HTTP_"):
            yield name.removeprefix("HTTP_").replace("_", "-").lower(), str(value)
        elif name in ("CONTENT_TYPE", "CONTENT_LENGTH") and value:
            yield name.replace("_", "-").lower(), str(value)


def _read_body(environ: Environ) -> bytes:
    length = environ.get("CONTENT_LENGTH")
    if length:
        body = environ["wsgi.input"].read(int(length))
    elif environ.get("wsgi.input_terminated"):
        body = environ["wsgi.input"].read()
    else:
        body = b""
    environ["wsgi.input"] = io.BytesIO(body)
    environ["CONTENT_LENGTH"] = str(len(body))
    environ.pop("HTTP_TRANSFER_ENCODING", None)
    return bytes(body)


def _json(value: object, status: int = 200) -> Response:
    return Response(json.dumps(value), status=status, content_type="application/json")
