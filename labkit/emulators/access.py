"""Who may do what on the local AWS: keys and policies come from moto's IAM, the verdict on S3 is given here.

Moto judges every request of its server or none, and leaves out conditions, signed URLs and principals.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from moto import settings
from moto.core.authorization import ActionAuthenticatorMixin
from moto.core.exceptions import AccessDeniedError
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.iam.access_control import (
    AssumedRoleAccessKey,
    CreateAccessKeyFailure,
    IAMPolicy,
    PermissionResult,
    S3IAMRequest,
    create_access_key,
)
from moto.s3.models import FakeBucket, s3_backends
from moto.sts.models import AssumedRole, sts_backends

from labkit.emulators import OWNER, signatures
from labkit.emulators.calls import Call
from labkit.emulators.policy import Document, Question, Verdict, evaluate
from labkit.emulators.signatures import BadSignature, Signed

PARTITION = "aws"
ROOT = f"arn:aws:iam::{DEFAULT_ACCOUNT_ID}:root"

_ACTIONS: dict[str, tuple[str, ...]] = {
    "ListBuckets": ("ListAllMyBuckets",),
    "HeadBucket": ("ListBucket",),
    "ListObjects": ("ListBucket",),
    "ListObjectsV2": ("ListBucket",),
    "ListObjectVersions": ("ListBucketVersions",),
    "ListMultipartUploads": ("ListBucketMultipartUploads",),
    "ListParts": ("ListMultipartUploadParts",),
    "HeadObject": ("GetObject",),
    "GetObjectAttributes": ("GetObject", "GetObjectAttributes"),
    "SelectObjectContent": ("GetObject",),
    "CreateMultipartUpload": ("PutObject",),
    "UploadPart": ("PutObject",),
    "UploadPartCopy": ("PutObject",),
    "CompleteMultipartUpload": ("PutObject",),
    "CopyObject": ("PutObject",),
    "PostObject": ("PutObject",),
    "GetBucketLifecycleConfiguration": ("GetLifecycleConfiguration",),
    "PutBucketLifecycleConfiguration": ("PutLifecycleConfiguration",),
    "DeleteBucketLifecycle": ("PutLifecycleConfiguration",),
    "GetBucketEncryption": ("GetEncryptionConfiguration",),
    "PutBucketEncryption": ("PutEncryptionConfiguration",),
    "DeleteBucketEncryption": ("PutEncryptionConfiguration",),
}
"""The permissions of an operation, where they are not just its name."""

_OF_VERSIONS = {"GetObject", "DeleteObject", "GetObjectAttributes", "GetObjectTagging", "PutObjectTagging"}
_CONDITION_HEADERS = ("x-amz-acl", "x-amz-storage-class", "x-amz-server-side-encryption", "x-amz-copy-source")


@dataclass(frozen=True)
class Principal:
    """Who makes a request. `session` is the policy given when a role was taken on; it only takes away."""

    arn: str
    arns: tuple[str, ...] = ()
    policies: tuple[Document, ...] = ()
    session: Document | None = None
    is_owner: bool = False
    name: str = ""


ANONYMOUS = Principal("anonymous")


class Denied(Exception):
    """The request is not allowed."""


def install() -> None:
    """Leave S3 to this module, and let moto judge the other services for everybody but the owner."""
    judge = ActionAuthenticatorMixin._authenticate_and_authorize_action

    def judged(self: Any, iam_request_cls: type, resource: str = "*") -> None:
        authorization = self.headers.get("Authorization", "")
        if issubclass(iam_request_cls, S3IAMRequest) or f"Credential={OWNER}/" in authorization:
            return
        if not authorization:
            raise AccessDeniedError(user_arn="anonymous", action=str(self._get_action()))
        judge(self, iam_request_cls, resource)

    settings.INITIAL_NO_AUTH_ACTION_COUNT = 0
    ActionAuthenticatorMixin._authenticate_and_authorize_action = judged  # type: ignore[method-assign]
    FakeBucket.get_permission = lambda *_: PermissionResult.PERMITTED  # type: ignore[method-assign]


def identify(call: Call) -> Principal:
    """Who signed the call; raises BadSignature."""
    signed = signatures.claim(call.headers, call.query, call.form)
    if signed is None:
        return ANONYMOUS
    if signed.access_key == OWNER:
        principal, secret = Principal(ROOT, (ROOT, DEFAULT_ACCOUNT_ID), is_owner=True), OWNER
    else:
        principal, secret = _of_iam(signed)
    signatures.verify(signed, secret, call.method, call.uri, call.headers, datetime.now(UTC))
    return principal


def authorise(principal: Principal, call: Call) -> None:
    """Raise Denied unless the principal may make the call."""
    for action, resource in _needed(call):
        if not may(principal, call, action, resource):
            raise Denied(f"{principal.arn} is not allowed to perform {action} on {resource}")


def may(principal: Principal, call: Call, action: str, resource: str) -> bool:
    """Whether the policies of the principal and of the bucket allow one action."""
    question = Question(action, resource, _context(principal, call), principal.arns)
    bucket = _of_bucket(resource, question)
    own: Verdict = "allow" if principal.is_owner else evaluate(principal.policies, question)
    if principal.is_owner and action.endswith("BucketPolicy"):
        return True  # an owner can always mend a policy that locks everybody out
    if "deny" in (own, bucket):
        return False
    if principal.session is not None and evaluate([principal.session], question) != "allow":
        return False
    if "allow" in (own, bucket):
        return True
    return principal is ANONYMOUS and action == "s3:GetObject" and _is_public(call)


def may_list(principal: Principal, call: Call) -> bool:
    """Whether the principal may know that a key is not there."""
    return may(principal, call, "s3:ListBucket", f"arn:aws:s3:::{call.bucket}")


def may_delete(principal: Principal, call: Call, key: str, version: str | None) -> bool:
    """Whether the principal may delete one of the keys of DeleteObjects."""
    action = "s3:DeleteObjectVersion" if version else "s3:DeleteObject"
    return may(principal, call, action, f"arn:aws:s3:::{call.bucket}/{key}")


def bucket_of(name: str | None) -> FakeBucket | None:
    """Moto's bucket of that name."""
    found = s3_backends[DEFAULT_ACCOUNT_ID][PARTITION].buckets.get(name or "")
    return found if isinstance(found, FakeBucket) else None


def copied(call: Call) -> tuple[str, str, str | None] | None:
    """Bucket, key and version that a copy is made of."""
    path, _, version = call.headers.get("x-amz-copy-source", "").partition("?versionId=")
    bucket, _, key = unquote(path).lstrip("/").partition("/")
    return (bucket, key, version or None) if key else None


def etag_of(bucket: FakeBucket, key: str | None, version: str | None = None) -> str | None:
    """The ETag of an object (of a version of it), without quotes; None when there is none, or a delete marker."""
    if version is None:
        found = bucket.keys.get(key or "")
    else:
        found = next((one for one in bucket.keys.getlist(key or "", []) if str(one.version_id) == version), None)
    etag = getattr(found, "etag", None)
    return None if etag is None else str(etag).strip('"')


def _needed(call: Call) -> Iterable[tuple[str, str]]:
    if call.operation == "DeleteObjects":
        return  # judged key by key
    key = call.form.get("key") if call.operation == "PostObject" else call.key
    resource = "*" if call.bucket is None else f"arn:aws:s3:::{call.bucket}" + (f"/{key}" if key else "")
    for name in _ACTIONS.get(call.operation, (call.operation,)):
        yield f"s3:{name}" + ("Version" if "versionId" in call.query and name in _OF_VERSIONS else ""), resource
    if source := copied(call):
        bucket, key, version = source
        yield "s3:GetObjectVersion" if version else "s3:GetObject", f"arn:aws:s3:::{bucket}/{key}"


def _context(principal: Principal, call: Call) -> dict[str, str]:
    now = datetime.now(UTC)
    context = {
        "aws:currenttime": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "aws:epochtime": str(int(now.timestamp())),
        "aws:principalarn": principal.arn,
        "aws:sourceip": "127.0.0.1",
        "aws:useragent": call.headers.get("user-agent", ""),
        # The loopback interface stands for the encrypted line to AWS, which clients use by themselves.
        "aws:securetransport": "true",
        "s3:authtype": "REST-HEADER" if "authorization" in call.headers else "REST-QUERY-STRING",
        **{f"s3:{name}": call.headers[name] for name in _CONDITION_HEADERS if name in call.headers},
        **{f"s3:{name}": call.headers[name] for name in ("if-match", "if-none-match") if name in call.headers},
        **{f"s3:{name.lower()}": value for name, value in call.query.items() if name in ("versionId", "max-keys")},
    }
    if principal.name:
        context["aws:username"] = principal.name
    if call.operation.startswith("List"):
        # A listing without a prefix lists everything: that is the prefix "".
        context["s3:prefix"] = call.query.get("prefix", "")
        context.update({"s3:delimiter": call.query["delimiter"]} if "delimiter" in call.query else {})
    return context


def _of_bucket(resource: str, question: Question) -> Verdict:
    bucket = bucket_of(resource.removeprefix("arn:aws:s3:::").partition("/")[0])
    return evaluate([json.loads(bucket.policy)], question) if bucket and bucket.policy else "none"


def _is_public(call: Call) -> bool:
    bucket = bucket_of(call.bucket)
    key = bucket.keys.get(call.key or "") if bucket else None
    return bool(getattr(getattr(key, "acl", None), "public_read", False))


def _of_iam(signed: Signed) -> tuple[Principal, str]:
    headers = {"X-Amz-Security-Token": signed.token} if signed.token else {}
    try:
        key = create_access_key(DEFAULT_ACCOUNT_ID, PARTITION, signed.access_key, headers)
    except CreateAccessKeyFailure as failure:
        if failure.reason == "InvalidToken":
            raise BadSignature(400, "InvalidToken", "The session token is not the one of this access key") from None
        raise BadSignature(403, "InvalidAccessKeyId", f"There is no access key {signed.access_key}") from None
    secret = str(key.create_credentials().secret_key)
    policies = tuple(IAMPolicy(policy)._policy_json for policy in key.collect_policies())
    if not isinstance(key, AssumedRoleAccessKey):
        return Principal(key.arn, (key.arn,), policies, name=key.arn.rpartition("/")[2]), secret
    role = _assumed(signed.access_key)
    if role.expiration.replace(tzinfo=UTC) <= datetime.now(UTC):
        raise BadSignature(400, "ExpiredToken", "The session has expired: assume the role again")
    session = json.loads(role.policy) if role.policy else None
    return Principal(key.arn, (key.arn, role.role_arn), policies, session), secret


def _assumed(access_key: str) -> AssumedRole:
    roles = sts_backends[DEFAULT_ACCOUNT_ID][PARTITION].assumed_roles
    return next(role for role in roles if role.access_key_id == access_key)
