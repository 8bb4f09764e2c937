"""Google Cloud Storage on 127.0.0.1: gcp-storage-emulator in memory, and what it leaves out mended."""

import argparse
import logging
import os
import re
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from typing import Any

from gcp_storage_emulator import server
from gcp_storage_emulator.exceptions import NotFound
from gcp_storage_emulator.handlers import objects
from gcp_storage_emulator.storage import Storage

from labkit.emulators import leave
from labkit.emulators.processes import HOST, TOKEN

Handler = Callable[..., None]

_MOVE = r"^/storage/v1/b/(?P<bucket_name>[-.\w]+)/o/(?P<object_id>.+)/moveTo/o/(?P<dest_object_id>.+)$"
_lock = threading.Lock()


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in the notebook's terminal is not meant for us
    leave.when_forgotten()
    server.HANDLERS = ((_MOVE, {"POST": _move}), *server.HANDLERS)
    for _, handlers in server.HANDLERS:
        for method, handler in handlers.items():
            handlers[method] = _guarded(handler)
    server.HANDLERS = ((r"^/_lab/ping$", {"GET": _ping}), *server.HANDLERS)
    ThreadingHTTPServer((HOST, port), partial(server.RequestHandler, Storage(use_memory_fs=True))).serve_forever()


def _ping(request: Any, response: Any, storage: Storage) -> None:
    response.json({"token": os.environ.get(TOKEN, "")})


def _move(request: Any, response: Any, storage: Storage) -> None:
    """Rename an object within its bucket; without it gcsfs tries for half a minute."""
    bucket, key, new_key = (request.params[name] for name in ("bucket_name", "object_id", "dest_object_id"))
    try:
        response.json(objects._copy(request.base_url, storage, bucket, key, bucket, new_key))
        storage.delete_file(bucket, key)
    except NotFound:
        response.status = HTTPStatus.NOT_FOUND


def _guarded(handler: Handler) -> Handler:
    def guarded(request: Any, response: Any, storage: Storage) -> None:
        _ = request.data  # read now, so that a slow client keeps nobody waiting
        # One request at a time: the storage is not made for threads, and a precondition must hold until its write.
        with _lock:
            if not _holds(request, storage):
                _refuse(response, HTTPStatus.PRECONDITION_FAILED, "conditionNotMet")
            elif not _set_range(request, storage):
                _refuse(response, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, "requestedRangeNotSatisfiable")
            else:
                handler(request, response, storage)

    return guarded


def _refuse(response: Any, status: HTTPStatus, reason: str) -> None:
    response.status = status
    error = {"code": status.value, "message": status.phrase, "errors": [{"reason": reason}]}
    response.json({"error": error})


def _set_range(request: Any, storage: Storage) -> bool:
    """Spell out a range that counts from the end; False when a range lies outside the object."""
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", request.get_header("range", ""))
    named = request.params or {}
    if request.method != "GET" or found is None or "object_id" not in named:
        return True
    try:
        size = int(storage.get_file_obj(named["bucket_name"], named["object_id"])["size"])
    except NotFound:
        return True
    start = int(found[1]) if found[1] else max(0, size - int(found[2] or 0))
    end = int(found[2]) if found[1] and found[2] else size - 1
    headers = request._request_handler.headers
    del headers["range"]
    headers["range"] = f"bytes={start}-{end}"
    return start < size


def _holds(request: Any, storage: Storage) -> bool:
    """Whether the object's generation is the one the request asks for; 0 stands for no object."""
    wanted, unwanted = (_first(request, name) for name in ("ifGenerationMatch", "ifGenerationNotMatch"))
    if wanted is None and unwanted is None:
        return True
    if request.method == "PUT" and _first(request, "upload_id"):
        return True  # a later part of an upload whose beginning was judged
    there = _generation(request, storage)
    return (wanted is None or wanted == there) and (unwanted is None or unwanted != there)


def _generation(request: Any, storage: Storage) -> str:
    named = request.params
    bucket = named.get("dest_bucket_name") or named["bucket_name"]
    key = named.get("dest_object_id") or named.get("object_id") or _first(request, "name") or _name_in(request.data)
    try:
        return str(storage.get_file_obj(bucket, key)["generation"])
    except NotFound:
        return "0"


def _name_in(body: Any) -> str:
    described = body.get("meta", body) if isinstance(body, dict) else {}
    return str(described.get("name", ""))


def _first(request: Any, name: str) -> str | None:
    values = request.query.get(name)
    return str(values[0]) if values else None


if __name__ == "__main__":
    main()
