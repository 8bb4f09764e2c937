"""The local S3 does what the lab needs of the real one, and refuses what the real one refuses."""

import base64
import hashlib
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from labkit import cloud
from labkit.emulators.signatures import BadSignature, claim, verify

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BUCKET = "lab-bucket"
MB = 2**20


@pytest.fixture(scope="module", autouse=True)
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    before = dict(os.environ)
    os.environ["MLE_STATE"] = str(tmp_path_factory.mktemp("state"))
    cloud.start()
    yield
    cloud.stop()
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def s3(aws: None) -> "S3Client":
    cloud.reset()
    client = boto3.client("s3", config=Config(signature_version="s3v4", retries={"max_attempts": 1}))
    client.create_bucket(Bucket=BUCKET)
    return client


def refused(error: pytest.ExceptionInfo[ClientError]) -> str:
    return error.value.response["Error"]["Code"]


def fetch(url: str, method: str = "GET", data: bytes | None = None) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data=data, method=method)) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def parts(s3: "S3Client", key: str) -> tuple[str, list[Any]]:
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
    bodies = [b"a" * 5 * MB, b"b"]
    sent = [
        s3.upload_part(Bucket=BUCKET, Key=key, UploadId=upload, PartNumber=number, Body=body)["ETag"]
        for number, body in enumerate(bodies, 1)
    ]
    return upload, [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(sent, 1)]


def user(name: str, *statements: dict[str, object]) -> dict[str, str]:
    iam = boto3.client("iam")
    iam.create_user(UserName=name)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    if statements:
        document = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
        iam.put_user_policy(UserName=name, PolicyName="own", PolicyDocument=document)
    return {"aws_access_key_id": key["AccessKeyId"], "aws_secret_access_key": key["SecretAccessKey"]}


READ_PUBLIC = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{BUCKET}/pub/*"}
LIST_PUBLIC = {
    "Effect": "Allow",
    "Action": "s3:ListBucket",
    "Resource": f"arn:aws:s3:::{BUCKET}",
    "Condition": {"StringLike": {"s3:prefix": "pub/*"}},
}


def test_the_record_counts_what_went_over_the_wire(s3: "S3Client") -> None:
    with cloud.record() as recording:
        s3.put_object(Bucket=BUCKET, Key="a b/ä+.txt", Body=b"0123456789", IfNoneMatch="*")
        s3.get_object(Bucket=BUCKET, Key="a b/ä+.txt", Range="bytes=-3")["Body"].read()
        s3.head_object(Bucket=BUCKET, Key="a b/ä+.txt")
        assert len(recording.requests) == 3
    s3.list_buckets()
    put, get, head = recording.requests
    assert (put.operation, put.key, put.bytes_in, put.if_none_match) == ("PutObject", "a b/ä+.txt", 10, "*")
    assert (get.operation, get.status, get.bytes_out, get.range) == ("GetObject", 206, 3, "bytes=-3")
    assert (head.operation, head.bytes_out) == ("HeadObject", 0)


def test_fail_breaks_an_upload_after_so_many_parts_and_boto3_does_not_try_again(s3: "S3Client") -> None:
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key="big")["UploadId"]

    def send(number: int) -> None:
        s3.upload_part(Bucket=BUCKET, Key="big", UploadId=upload, PartNumber=number, Body=b"x")

    with cloud.record() as recording, cloud.fail("UploadPart", after=1):
        send(1)
        with pytest.raises(ClientError) as error:
            send(2)
    assert refused(error) == "ExpiredToken"
    assert [request.status for request in recording.requests] == [200, 400]
    send(2)
    assert len(s3.list_parts(Bucket=BUCKET, Key="big", UploadId=upload)["Parts"]) == 2


def test_of_many_conditional_writes_at_once_one_succeeds(s3: "S3Client") -> None:
    def write(number: int) -> bool:
        try:
            s3.put_object(Bucket=BUCKET, Key="k", Body=bytes([number]), IfNoneMatch="*")
        except ClientError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(write, range(16))) == 1


def test_a_write_on_a_changed_object_is_refused(s3: "S3Client") -> None:
    old = s3.put_object(Bucket=BUCKET, Key="k", Body=b"1")["ETag"]
    s3.put_object(Bucket=BUCKET, Key="k", Body=b"2", IfMatch=old)
    with pytest.raises(ClientError) as error:
        s3.put_object(Bucket=BUCKET, Key="k", Body=b"3", IfMatch=old)
    assert refused(error) == "PreconditionFailed"
    with pytest.raises(ClientError):
        s3.delete_object(Bucket=BUCKET, Key="k", IfMatch=old)
    assert s3.get_object(Bucket=BUCKET, Key="k")["Body"].read() == b"2"


@pytest.mark.parametrize("condition", [{"IfNoneMatch": "*"}, {"IfMatch": '"other"'}])
def test_a_condition_holds_for_an_upload_in_parts(s3: "S3Client", condition: dict[str, Any]) -> None:
    s3.put_object(Bucket=BUCKET, Key="k", Body=b"1")
    upload, sent = parts(s3, "k")
    with pytest.raises(ClientError) as error:
        s3.complete_multipart_upload(
            Bucket=BUCKET, Key="k", UploadId=upload, MultipartUpload={"Parts": sent}, **condition
        )
    assert refused(error) == "PreconditionFailed"
    s3.complete_multipart_upload(Bucket=BUCKET, Key="k", UploadId=upload, MultipartUpload={"Parts": sent})
    assert s3.head_object(Bucket=BUCKET, Key="k")["ContentLength"] == 5 * MB + 1


def test_a_copy_of_another_version_than_expected_is_refused(s3: "S3Client") -> None:
    etag = s3.put_object(Bucket=BUCKET, Key="k", Body=b"1")["ETag"]
    source = {"Bucket": BUCKET, "Key": "k"}
    with pytest.raises(ClientError):
        s3.copy_object(Bucket=BUCKET, Key="c", CopySource=source, CopySourceIfMatch='"other"')  # type: ignore[arg-type]
    s3.copy_object(Bucket=BUCKET, Key="c", CopySource=source, CopySourceIfMatch=etag)  # type: ignore[arg-type]


def test_an_open_upload_says_when_it_began(s3: "S3Client") -> None:
    parts(s3, "k")
    began = s3.list_multipart_uploads(Bucket=BUCKET)["Uploads"][0]["Initiated"]
    assert abs(datetime.now(UTC) - began) < timedelta(minutes=1)


@pytest.mark.parametrize("algorithm", ["CRC32", "SHA1", "SHA256"])
def test_a_body_that_is_not_what_its_checksum_says_is_not_stored(s3: "S3Client", algorithm: str) -> None:
    wrong: dict[str, Any] = {f"Checksum{algorithm}": base64.b64encode(b"x" * 32).decode()}
    with pytest.raises(ClientError) as error:
        s3.put_object(Bucket=BUCKET, Key="k", Body=b"1", **wrong)
    assert refused(error) == "BadDigest"
    assert s3.list_objects_v2(Bucket=BUCKET)["KeyCount"] == 0


def test_a_given_checksum_is_kept(s3: "S3Client") -> None:
    value = base64.b64encode(hashlib.sha256(b"1").digest()).decode()
    s3.put_object(Bucket=BUCKET, Key="k", Body=b"1", ChecksumSHA256=value)
    assert s3.head_object(Bucket=BUCKET, Key="k", ChecksumMode="ENABLED")["ChecksumSHA256"] == value


def test_an_overwrite_is_undone_from_its_version(s3: "S3Client") -> None:
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    first = s3.put_object(Bucket=BUCKET, Key="k", Body=b"1")["VersionId"]
    s3.put_object(Bucket=BUCKET, Key="k", Body=b"2")
    s3.copy_object(Bucket=BUCKET, Key="k", CopySource={"Bucket": BUCKET, "Key": "k", "VersionId": first})
    assert s3.get_object(Bucket=BUCKET, Key="k")["Body"].read() == b"1"
    assert len(s3.list_object_versions(Bucket=BUCKET)["Versions"]) == 3


@pytest.mark.parametrize("version", ["s3", "s3v4"])
def test_a_link_works_until_it_expires(s3: "S3Client", version: str) -> None:
    s3.put_object(Bucket=BUCKET, Key="k", Body=b"1")
    signer = boto3.client("s3", config=Config(signature_version=version))
    short, long = (
        signer.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": "k"}, ExpiresIn=seconds)
        for seconds in (1, 60)
    )
    limit = time.monotonic() + 10
    while (late := fetch(short))[0] == 200 and time.monotonic() < limit:
        time.sleep(0.1)
    assert late[0] == 403
    assert b"Request has expired" in late[1]
    assert fetch(long) == (200, b"1")


@pytest.mark.parametrize("version", ["s3", "s3v4"])
def test_a_changed_link_is_refused(s3: "S3Client", version: str) -> None:
    s3.put_object(Bucket=BUCKET, Key="other", Body=b"1")
    signer = boto3.client("s3", config=Config(signature_version=version))
    url = signer.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": "k"})
    status, body = fetch(url.replace("/k?", "/other?"))
    assert status == 403
    assert b"SignatureDoesNotMatch" in body
    assert fetch(url.replace("/k?", "/other?"), "PUT", b"2")[0] == 403


def test_a_link_lasts_seven_days_at_most(s3: "S3Client") -> None:
    url = s3.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": "k"}, ExpiresIn=604_801)
    assert fetch(url)[0] == 400


def test_what_is_put_by_a_link_is_stored_as_it_was_sent(s3: "S3Client") -> None:
    url = s3.generate_presigned_url("put_object", Params={"Bucket": BUCKET, "Key": "k"})
    assert fetch(url, "PUT", b"a=b&c")[0] == 200
    assert s3.get_object(Bucket=BUCKET, Key="k")["Body"].read() == b"a=b&c"


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_request_signed_by_a_clock_that_is_wrong_is_refused(hours: int) -> None:
    request = AWSRequest("GET", "http://host/bucket/key", headers={"x-amz-content-sha256": "UNSIGNED-PAYLOAD"})
    S3SigV4Auth(Credentials("key", "secret"), "s3", "us-east-1").add_auth(request)
    headers = {"host": "host"} | {name.lower(): value for name, value in request.headers.items()}
    signed = claim(headers, {}, {})
    assert signed is not None
    now = datetime.now(UTC)
    verify(signed, "secret", "GET", "/bucket/key", headers, now)
    with pytest.raises(BadSignature, match="clock"):
        verify(signed, "secret", "GET", "/bucket/key", headers, now + timedelta(hours=hours))


def test_nobody_without_a_key_gets_anything(s3: "S3Client") -> None:
    s3.put_object(Bucket=BUCKET, Key="k", Body=b"1")
    root = f"{os.environ['AWS_ENDPOINT_URL']}/{BUCKET}"
    assert [fetch(f"{root}/k")[0], fetch(root)[0], fetch(f"{root}/new", "PUT", b"1")[0]] == [403, 403, 403]


def test_a_key_without_a_policy_gets_nothing(s3: "S3Client") -> None:
    with pytest.raises(ClientError) as error:
        boto3.client("s3", **user("nobody")).list_buckets()  # type: ignore[call-overload]
    assert refused(error) == "AccessDenied"


def test_a_policy_for_one_prefix_allows_that_and_nothing_else(s3: "S3Client") -> None:
    for key in ("pub/a", "private/a", "pub2"):
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"1")
    reader: S3Client = boto3.client("s3", **user("reader", READ_PUBLIC, LIST_PUBLIC))  # type: ignore[call-overload]
    assert reader.get_object(Bucket=BUCKET, Key="pub/a")["Body"].read() == b"1"
    assert reader.list_objects_v2(Bucket=BUCKET, Prefix="pub/")["KeyCount"] == 1
    forbidden = {
        "another prefix": lambda: reader.get_object(Bucket=BUCKET, Key="private/a"),
        "a longer name": lambda: reader.get_object(Bucket=BUCKET, Key="pub2"),
        "the size of it": lambda: reader.head_object(Bucket=BUCKET, Key="private/a"),
        "everything's names": lambda: reader.list_objects_v2(Bucket=BUCKET),
        "another prefix's names": lambda: reader.list_objects_v2(Bucket=BUCKET, Prefix="private/"),
        "writing": lambda: reader.put_object(Bucket=BUCKET, Key="pub/a", Body=b"2"),
        "deleting": lambda: reader.delete_object(Bucket=BUCKET, Key="pub/a"),
        "copying out": lambda: reader.copy_object(Bucket=BUCKET, Key="pub/b", CopySource=f"{BUCKET}/private/a"),
        "the policy": lambda: reader.put_bucket_policy(Bucket=BUCKET, Policy="{}"),
    }
    for name, attempt in forbidden.items():
        with pytest.raises(ClientError) as error:
            attempt()
        assert refused(error) in ("AccessDenied", "403"), name
    answer = reader.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": "pub/a"}]})
    assert [error["Code"] for error in answer["Errors"]] == ["AccessDenied"]


def test_a_link_of_a_user_reaches_what_the_user_reaches(s3: "S3Client") -> None:
    for key in ("pub/a", "private/a"):
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"1")
    reader: S3Client = boto3.client("s3", **user("reader", READ_PUBLIC))  # type: ignore[call-overload]
    allowed, denied = (
        reader.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": key})
        for key in ("pub/a", "private/a")
    )
    assert fetch(allowed) == (200, b"1")
    assert fetch(denied)[0] == 403


def test_a_user_cannot_widen_the_own_policy(s3: "S3Client") -> None:
    with pytest.raises(ClientError) as error:
        boto3.client("iam", **user("climber", READ_PUBLIC)).list_users()  # type: ignore[call-overload]
    assert refused(error) == "AccessDenied"


def test_a_wrong_secret_is_not_let_in(s3: "S3Client") -> None:
    keys = user("reader", READ_PUBLIC) | {"aws_secret_access_key": "guess"}
    with pytest.raises(ClientError) as error:
        boto3.client("s3", **keys).get_object(Bucket=BUCKET, Key="pub/a")  # type: ignore[call-overload]
    assert refused(error) == "SignatureDoesNotMatch"


def test_a_role_with_a_session_policy_has_what_both_allow(s3: "S3Client") -> None:
    for key in ("pub/a", "private/a"):
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"1")
    iam = boto3.client("iam")
    trust = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
    everything = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    arn = iam.create_role(
        RoleName="ingest", AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    )["Role"]["Arn"]
    iam.put_role_policy(
        RoleName="ingest",
        PolicyName="all",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [everything]}),
    )
    session = json.dumps({"Version": "2012-10-17", "Statement": [READ_PUBLIC]})
    given = boto3.client("sts").assume_role(RoleArn=arn, RoleSessionName="night", Policy=session)["Credentials"]
    role = boto3.client(
        "s3",
        aws_access_key_id=given["AccessKeyId"],
        aws_secret_access_key=given["SecretAccessKey"],
        aws_session_token=given["SessionToken"],
    )
    assert role.get_object(Bucket=BUCKET, Key="pub/a")["Body"].read() == b"1"
    with pytest.raises(ClientError):
        role.get_object(Bucket=BUCKET, Key="private/a")


def test_a_bucket_policy_opens_a_prefix_to_everybody_and_denies_even_the_owner(s3: "S3Client") -> None:
    s3.put_object(Bucket=BUCKET, Key="pub/a", Body=b"1")
    deny = {"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": f"arn:aws:s3:::{BUCKET}/*"}
    policy = {"Version": "2012-10-17", "Statement": [READ_PUBLIC | {"Principal": "*"}, deny]}
    s3.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(policy))
    assert fetch(f"{os.environ['AWS_ENDPOINT_URL']}/{BUCKET}/pub/a") == (200, b"1")
    with pytest.raises(ClientError) as error:
        s3.put_object(Bucket=BUCKET, Key="pub/a", Body=b"2")
    assert refused(error) == "AccessDenied"
    s3.delete_bucket_policy(Bucket=BUCKET)
    s3.put_object(Bucket=BUCKET, Key="pub/a", Body=b"2")


def test_pyarrow_reads_one_column_by_ranges(s3: "S3Client") -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from pyarrow.fs import FileSystem

    filesystem, root = FileSystem.from_uri(f"s3://{BUCKET}/table")
    table = pa.table({name: list(range(100_000)) for name in "abcdef"})
    pq.write_table(table, f"{root}.parquet", filesystem=filesystem)
    with cloud.record() as recording:
        assert pq.read_table(f"{root}.parquet", filesystem=filesystem, columns=["a"]).num_rows == 100_000
    size = s3.head_object(Bucket=BUCKET, Key="table.parquet")["ContentLength"]
    assert 0 < sum(request.bytes_out for request in recording.requests) < size / 3
