"""Who signed a request, and whether the signature is right and still good: SigV4 (header, URL), the old URL form."""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from botocore.auth import HmacV1QueryAuth
from botocore.credentials import Credentials

SEVEN_DAYS = 604_800


@dataclass(frozen=True)
class Signed:
    """The claim of a request: which key signed it, in which way."""

    way: Literal["header", "url", "old-url", "form", "old-form"]
    access_key: str
    token: str | None
    signature: str
    scope: str = ""
    signed_headers: str = ""
    date: str = ""
    expires: str = ""
    policy: str = ""


class BadSignature(Exception):
    """An error to answer: status, code, message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


def claim(headers: Mapping[str, str], query: Mapping[str, str], form: Mapping[str, str]) -> Signed | None:
    """What a request says of its signature; None when it is anonymous."""
    authorization = headers.get("authorization", "")
    token = headers.get("x-amz-security-token")
    if authorization.startswith("AWS4-HMAC-SHA256"):
        fields = dict(part.strip().partition("=")[::2] for part in authorization.partition(" ")[2].split(","))
        key, _, scope = fields.get("Credential", "").partition("/")
        date = headers.get("x-amz-date", "")
        return Signed("header", key, token, fields.get("Signature", ""), scope, fields.get("SignedHeaders", ""), date)
    if authorization:
        raise BadSignature(400, "InvalidRequest", "sign the request with AWS4-HMAC-SHA256 (Signature Version 4)")
    if "X-Amz-Signature" in query:
        key, _, scope = query.get("X-Amz-Credential", "").partition("/")
        return Signed(
            "url",
            key,
            query.get("X-Amz-Security-Token"),
            query["X-Amz-Signature"],
            scope,
            query.get("X-Amz-SignedHeaders", "host"),
            query.get("X-Amz-Date", ""),
            query.get("X-Amz-Expires", ""),
        )
    if "Signature" in query:
        token = query.get("x-amz-security-token")
        return Signed(
            "old-url", query.get("AWSAccessKeyId", ""), token, query["Signature"], expires=query.get("Expires", "")
        )
    if "x-amz-signature" in form:
        key, _, scope = form.get("x-amz-credential", "").partition("/")
        token = form.get("x-amz-security-token")
        return Signed("form", key, token, form["x-amz-signature"], scope, policy=form.get("policy", ""))
    if "signature" in form:
        token = form.get("x-amz-security-token")
        key, policy = form.get("awsaccesskeyid", ""), form.get("policy", "")
        return Signed("old-form", key, token, form["signature"], policy=policy)
    return None


def verify(signed: Signed, secret: str, method: str, uri: str, headers: Mapping[str, str], now: datetime) -> None:
    """Raise BadSignature unless the request was signed with `secret` and the signature is still good."""
    if not hmac.compare_digest(_expected(signed, secret, method, uri, headers), signed.signature):
        raise BadSignature(
            403,
            "SignatureDoesNotMatch",
            "The signature does not fit this request: a part of it was changed, or another secret was used",
        )
    if signed.way == "header" and abs(now - _start(signed)) > timedelta(minutes=15):
        raise BadSignature(403, "RequestTimeTooSkewed", "The clock of this request is more than 15 minutes wrong")
    if signed.way != "header" and now >= _end(signed):
        raise BadSignature(403, "AccessDenied", "Request has expired")


def _end(signed: Signed) -> datetime:
    try:
        if signed.way == "old-url":
            return datetime.fromtimestamp(int(signed.expires), UTC)
        if signed.way in ("form", "old-form"):
            return datetime.fromisoformat(json.loads(base64.b64decode(signed.policy))["expiration"])
        start = datetime.strptime(signed.date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        if signed.way == "header":
            return start + timedelta(minutes=15)
        seconds = int(signed.expires)
    except (ValueError, KeyError, OverflowError):
        raise BadSignature(
            400, "AuthorizationQueryParametersError", "The date of the signature cannot be read"
        ) from None
    if not 0 < seconds <= SEVEN_DAYS:
        raise BadSignature(
            400, "AuthorizationQueryParametersError", f"X-Amz-Expires must be from 1 to {SEVEN_DAYS} seconds (7 days)"
        )
    return _start(signed) + timedelta(seconds=seconds)


def _start(signed: Signed) -> datetime:
    try:
        return datetime.strptime(signed.date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise BadSignature(403, "AccessDenied", "The request says no valid date in x-amz-date") from None


def _expected(signed: Signed, secret: str, method: str, uri: str, headers: Mapping[str, str]) -> str:
    if signed.way == "old-url":
        return _old(signed, secret, method, uri, headers)
    if signed.way == "old-form":
        return str(HmacV1QueryAuth(Credentials(signed.access_key, secret)).sign_string(signed.policy))
    if signed.way == "form":
        return _hmac(_signing_key(secret, signed.scope), signed.policy).hex()
    text = "\n".join(
        ["AWS4-HMAC-SHA256", signed.date, signed.scope, _sha256(_canonical(signed, method, uri, headers).encode())]
    )
    return _hmac(_signing_key(secret, signed.scope), text).hex()


def _old(signed: Signed, secret: str, method: str, uri: str, headers: Mapping[str, str]) -> str:
    """The signature of the form that boto3 still writes by default into a URL for us-east-1."""
    split = urlsplit(uri)
    given = {**{name.lower(): value for name, value in parse_qsl(split.query)}, **headers}
    path = split.path if "/" in split.path[1:] else f"{split.path}/"  # a bucket is signed with a slash after it
    auth = HmacV1QueryAuth(Credentials(signed.access_key, secret))
    text = [method, headers.get("content-md5", ""), headers.get("content-type", ""), signed.expires]
    text += [f"{name}:{given[name].strip()}" for name in sorted(given) if name.startswith("x-amz-")]
    return str(auth.sign_string("\n".join([*text, auth.canonical_resource(split, path)])))


def _canonical(signed: Signed, method: str, uri: str, headers: Mapping[str, str]) -> str:
    path, _, query = uri.partition("?")
    pairs = sorted(
        (quote(unquote(name), safe="-_.~"), quote(unquote(value), safe="-_.~"))
        for name, _, value in (part.partition("=") for part in query.split("&") if part)
        if name != "X-Amz-Signature"
    )
    names = signed.signed_headers.split(";")
    return "\n".join(
        [
            method,
            path or "/",
            "&".join(f"{name}={value}" for name, value in pairs),
            *(f"{name}:{' '.join(headers.get(name, '').split())}" for name in names),
            "",
            signed.signed_headers,
            headers.get("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
        ]
    )


def _signing_key(secret: str, scope: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = _hmac(key, part)
    return key


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
