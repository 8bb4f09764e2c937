"""The layer around moto: control path, request record, injected faults, and what moto leaves out of S3."""

import itertools
import json
import re
import threading
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any
from xml.sax.saxutils import escape

from moto.moto_api._internal.models import moto_api_backend
from werkzeug.wrappers import Response

from labkit.emulators import access, calls, checksums
from labkit.emulators.access import Denied, Principal
from labkit.emulators.calls import Call, Environ
from labkit.emulators.signatures import BadSignature

App = Callable[[Environ, Any], Iterable[bytes]]

CONTROL = "/_lab/"
STATUS = {"AccessDenied": 403, "NoSuchKey": 404, "InternalError": 500, "SlowDown": 503, "ServiceUnavailable": 503}
"""Statuses of the faults that are not a plain 400 on AWS."""


@dataclass
class Fault:
    """From the (after+1)-th call of `operation` on, answer with the error `code`."""

    operation: str
    after: int
    code: str
    seen: int = 0


class Layer:
    """Everything between the client and moto."""

    def __init__(self, app: App, token: str) -> None:
        self._app = app
        self._token = token
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._numbers = itertools.count(1)
        self._recordings: dict[int, list[dict[str, Any]]] = {}
        self._faults: dict[int, Fault] = {}
        self._uploads: dict[str, str] = {}

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        path = str(environ.get("PATH_INFO", ""))
        if path.startswith(CONTROL):
            response = self._control(environ["REQUEST_METHOD"], path.removeprefix(CONTROL), calls.read_body(environ))
        else:
            try:
                call = calls.read(environ)
            except ValueError:
                return error(400, "IncompleteBody", "The chunks of the body cannot be read")(environ, start_response)
            response = self._fault(call) or self._answer(environ, call)
            self._remember(call, response)
        return response(environ, start_response)

    def _answer(self, environ: Environ, call: Call) -> Response:
        if call.service != "s3":
            return self._moto(environ)
        try:
            principal = access.identify(call)
            access.authorise(principal, call)
        except BadSignature as bad:
            return error(bad.status, bad.code, bad.message)
        except Denied as denied:
            return error(403, "AccessDenied", str(denied))
        if call.operation != "CompleteMultipartUpload" and (bad_sum := checksums.wrong(call.headers, call.body)):
            return error(400, *bad_sum)
        # One write at a time, so that a condition still holds when its write is made.
        with self._writing if call.method in ("PUT", "POST", "DELETE") else nullcontext():
            if call.operation == "DeleteObjects":
                return self._delete(environ, principal, call)
            return unmet(call) or self._mended(self._moto(environ), principal, call)

    def _moto(self, environ: Environ) -> Response:
        return Response.from_app(self._app, environ, buffered=True)

    def _mended(self, response: Response, principal: Principal, call: Call) -> Response:
        if call.operation in ("GetObject", "HeadObject") and response.status_code == 404:
            if not access.may_list(principal, call):
                return error(403, "AccessDenied", f"{principal.arn} is not allowed to know whether this key exists")
        elif call.operation == "CreateMultipartUpload" and response.status_code == 200:
            if found := re.search(rb"<UploadId>(.*?)</UploadId>", response.get_data()):
                self._uploads[found[1].decode()] = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        elif call.operation == "ListMultipartUploads" and response.status_code == 200:
            response.set_data(re.sub("<Upload>.*?</Upload>", self._dated, response.get_data(as_text=True), flags=re.S))
        return response

    def _dated(self, upload: re.Match[str]) -> str:
        """Moto says of every upload that it began in 2010."""
        found = re.search("<UploadId>(.*?)</UploadId>", upload[0])
        began = self._uploads.get(found[1]) if found else None
        return re.sub("<Initiated>.*?<", f"<Initiated>{began}<", upload[0]) if began else upload[0]

    def _delete(self, environ: Environ, principal: Principal, call: Call) -> Response:
        """Delete the keys that the principal may delete, and name the others as errors."""
        try:
            wanted = ET.fromstring(call.body)
        except ET.ParseError:
            return error(400, "MalformedXML", "The list of keys to delete cannot be read")
        refused = []
        for item in wanted.findall("{*}Object"):
            key, version = item.findtext("{*}Key", ""), item.findtext("{*}VersionId")
            if not access.may_delete(principal, call, key, version):
                wanted.remove(item)
                refused.append(f"<Error><Key>{escape(key)}</Key><Code>AccessDenied</Code></Error>")
        if not refused:
            return self._moto(environ)
        if wanted.find("{*}Object") is None:
            return xml(200, f"<DeleteResult>{''.join(refused)}</DeleteResult>")
        for item in wanted.iter():
            item.tag = item.tag.rpartition("}")[2]  # moto knows the names without their namespace only
        calls.set_body(environ, ET.tostring(wanted))
        response = self._moto(environ)
        text = response.get_data(as_text=True)
        response.set_data(text.replace("</DeleteResult>", "".join(refused) + "</DeleteResult>"))
        return response

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
                "query": dict(call.query),
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
        kind, _, text = path.partition("/")
        number = int(text) if text.isdecimal() else 0
        with self._lock:
            match method, kind:
                case "GET", "ping":
                    return _json({"token": self._token})
                case "POST", "reset":
                    self._uploads.clear()
                    moto_api_backend.reset()
                    return _json({})
                case "POST", "recordings":
                    self._recordings[new := next(self._numbers)] = []
                    return _json({"number": new})
                case "GET", "recordings" if number in self._recordings:
                    return _json(self._recordings[number])
                case "DELETE", "recordings":
                    return _json(self._recordings.pop(number, []))
                case "POST", "faults":
                    self._faults[new := next(self._numbers)] = Fault(**json.loads(body))
                    return _json({"number": new})
                case "DELETE", "faults":
                    fault = self._faults.pop(number, None)
                    return _json(asdict(fault) if fault else {})
        return _json({"error": "no such control request"}, status=404)


def unmet(call: Call) -> Response | None:
    """The error when a condition of a write does not hold. Moto looks at those of PutObject only."""
    if (source := access.copied(call)) and (from_bucket := access.bucket_of(source[0])):
        failed = _unmet_source(call, access.etag_of(from_bucket, *source[1:]))
        if failed:
            return failed
    bucket = access.bucket_of(call.bucket)
    if call.operation not in ("PutObject", "CompleteMultipartUpload", "CopyObject", "DeleteObject") or bucket is None:
        return None
    there = access.etag_of(bucket, call.key)
    match, none_match = call.headers.get("if-match"), call.headers.get("if-none-match")
    if none_match is not None and none_match != "*":
        return error(501, "NotImplemented", "A write takes If-None-Match: * only")
    if none_match is not None and there is not None:
        return _precondition_failed("If-None-Match")
    if match is not None and there is None:
        return error(404, "NoSuchKey", "The specified key does not exist.")
    if match is not None and not _is_same(match, there):
        return _precondition_failed("If-Match")
    return None


def _unmet_source(call: Call, etag: str | None) -> Response | None:
    match = call.headers.get("x-amz-copy-source-if-match")
    none_match = call.headers.get("x-amz-copy-source-if-none-match")
    if etag is not None and match is not None and not _is_same(match, etag):
        return _precondition_failed("x-amz-copy-source-If-Match")
    if etag is not None and none_match is not None and _is_same(none_match, etag):
        return _precondition_failed("x-amz-copy-source-If-None-Match")
    return None


def _is_same(condition: str, etag: str | None) -> bool:
    return condition == "*" or condition.strip('"') == etag


def error(status: int, code: str, message: str, more: str = "") -> Response:
    """An error as S3 answers it."""
    fields = f"<Code>{escape(code)}</Code><Message>{escape(message)}</Message>{more}<RequestId>local</RequestId>"
    return xml(status, f"<Error>{fields}</Error>")


def xml(status: int, text: str) -> Response:
    """An answer in XML."""
    return Response(f'<?xml version="1.0" encoding="UTF-8"?>\n{text}', status=status, content_type="application/xml")


def _precondition_failed(header: str) -> Response:
    message = "At least one of the pre-conditions you specified did not hold"
    return error(412, "PreconditionFailed", message, f"<Condition>{header}</Condition>")


def _json(value: object, status: int = 200) -> Response:
    return Response(json.dumps(value), status=status, content_type="application/json")
