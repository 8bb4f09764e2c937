"""IAM policies, judged without a server: what AWS documents of each element."""

from typing import Any

import pytest

from labkit.emulators import checksums
from labkit.emulators.policy import Question, evaluate


def verdict(statement: dict[str, Any], action: str = "s3:GetObject", resource: str = "arn:b/k", **context: str) -> str:
    keys = {name.replace("__", ":"): value for name, value in context.items()}
    return evaluate([{"Statement": statement}], Question(action, resource, keys, ("arn:user",)))


ALLOW = {"Effect": "Allow", "Action": "s3:Get*", "Resource": "arn:b/*"}


def test_a_denial_wins_over_a_permission() -> None:
    documents = [{"Statement": [ALLOW, ALLOW | {"Effect": "Deny"}]}]
    assert evaluate(documents, Question("s3:GetObject", "arn:b/k", {})) == "deny"


def test_what_nobody_speaks_of_is_not_decided() -> None:
    assert verdict(ALLOW, action="s3:PutObject") == "none"
    assert verdict(ALLOW, resource="arn:c/k") == "none"


def test_a_dot_in_a_resource_stands_for_itself() -> None:
    assert verdict(ALLOW | {"Resource": "arn:b.d/*"}, resource="arn:bxd/k") == "none"


def test_actions_are_compared_without_case_and_resources_with_it() -> None:
    assert verdict(ALLOW | {"Action": "S3:getobject"}) == "allow"
    assert verdict(ALLOW, resource="arn:B/k") == "none"


def test_not_action_is_everything_else() -> None:
    statement = {"Effect": "Allow", "NotAction": "s3:Put*", "Resource": "*"}
    assert verdict(statement) == "allow"
    assert verdict(statement, action="s3:PutObject") == "none"


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"StringLike": {"s3:prefix": ["a/*", "b/*"]}}, "allow"),
        ({"StringEquals": {"s3:prefix": "a/"}}, "none"),
        ({"StringNotEquals": {"s3:prefix": "z/"}}, "allow"),
        ({"StringEquals": {"s3:missing": "x"}}, "none"),
        ({"StringEqualsIfExists": {"s3:missing": "x"}}, "allow"),
        ({"Null": {"s3:missing": "true"}}, "allow"),
        ({"NumericLessThanEquals": {"s3:max-keys": "10"}}, "allow"),
        ({"DateLessThan": {"aws:CurrentTime": "2026-01-02T00:00:00Z"}}, "allow"),
        ({"DateLessThan": {"aws:CurrentTime": "2026-01-01T00:00:00Z"}}, "none"),
        ({"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}, "allow"),
        ({"NotIpAddress": {"aws:SourceIp": "127.0.0.0/8"}}, "none"),
        ({"StringLike": {"s3:prefix": "${aws:username}/*"}}, "allow"),
        ({"Unheard": {"s3:prefix": "a/b"}}, "none"),
    ],
)
def test_a_condition_must_hold(condition: dict[str, Any], expected: str) -> None:
    context = {
        "s3__prefix": "a/b",
        "s3__max-keys": "10",
        "aws__currenttime": "2026-01-01T12:00:00Z",
        "aws__sourceip": "127.0.0.1",
        "aws__username": "a",
    }
    assert verdict(ALLOW | {"Condition": condition}, **context) == expected


def test_a_denial_with_a_condition_nobody_can_judge_denies() -> None:
    assert verdict(ALLOW | {"Effect": "Deny", "Condition": {"Unheard": {"s3:prefix": "a"}}}, s3__prefix="a") == "deny"


@pytest.mark.parametrize(
    ("principal", "expected"),
    [("*", "allow"), ({"AWS": "*"}, "allow"), ({"AWS": ["arn:user"]}, "allow"), ({"AWS": "arn:other"}, "none")],
)
def test_a_bucket_policy_speaks_to_its_principals(principal: object, expected: str) -> None:
    assert verdict(ALLOW | {"Principal": principal}) == expected


def test_a_body_in_chunks_is_put_together_with_its_checksum() -> None:
    sent = b"3\r\nabc\r\n2;chunk-signature=0\r\nde\r\n0\r\nx-amz-checksum-crc32:hYfYZQ==\r\n\r\n"
    body, trailers = checksums.unchunk(sent)
    assert body == b"abcde"
    assert checksums.wrong(trailers, body) is None
    assert checksums.wrong(trailers, b"abcdf") is not None


def test_a_body_with_broken_chunks_is_an_error() -> None:
    with pytest.raises(ValueError):
        checksums.unchunk(b"zz\r\nabc")
