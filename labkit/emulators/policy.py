"""What a set of IAM policies says of one action: allowed, denied, or nothing. Pure: documents in, verdict out."""

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

Verdict = Literal["allow", "deny", "none"]
Document = Mapping[str, Any]


@dataclass(frozen=True)
class Question:
    """May this be done? `context` holds the condition keys in lower case; a key that is absent has no value."""

    action: str
    resource: str
    context: Mapping[str, str]
    principals: Sequence[str] = ()


def evaluate(documents: Iterable[Document], question: Question) -> Verdict:
    """An explicit denial wins, then an explicit permission."""
    verdict: Verdict = "none"
    for document in documents:
        for statement in _listed(document.get("Statement", [])):
            allows = statement.get("Effect") == "Allow"
            if _applies(statement, question, unknown=not allows):
                if not allows:
                    return "deny"
                verdict = "allow"
    return verdict


def _applies(statement: Document, question: Question, unknown: bool) -> bool:
    """Whether a statement speaks of the question; a condition we cannot judge counts as `unknown`."""
    return (
        _concerns(statement, "Principal", "NotPrincipal", lambda values: _is_principal(values, question), default=True)
        and _concerns(statement, "Action", "NotAction", lambda values: _any_like(values, question.action, fold=True))
        and _concerns(
            statement,
            "Resource",
            "NotResource",
            lambda values: _any_like([_filled(value, question) for value in values], question.resource),
        )
        and all(
            _holds(operator, key, [_filled(str(value), question) for value in _listed(values)], question, unknown)
            for operator, pairs in statement.get("Condition", {}).items()
            for key, values in pairs.items()
        )
    )


def _concerns(
    statement: Document, name: str, opposite: str, matches: Callable[[list[str]], bool], default: bool = False
) -> bool:
    if name in statement:
        return matches(_flat(statement[name]))
    if opposite in statement:
        return not matches(_flat(statement[opposite]))
    return default


def _is_principal(values: list[str], question: Question) -> bool:
    return "*" in values or any(value in question.principals for value in values)


def _holds(operator: str, key: str, expected: list[str], question: Question, unknown: bool) -> bool:
    name = operator.lower().removeprefix("foranyvalue:").removeprefix("forallvalues:")
    optional = name.endswith("ifexists")
    name = name.removesuffix("ifexists")
    actual = question.context.get(key.lower())
    if name == "null":
        return (actual is None) == (expected[0].lower() == "true")
    negated = name.startswith(("stringnot", "numericnot", "datenot", "arnnot", "notip"))
    if actual is None:
        return optional or negated
    try:
        test = _OPERATORS[name.replace("not", "", 1) if negated else name]
        return any(test(actual, value) for value in expected) != negated
    except (KeyError, ValueError):
        return unknown


def _number(compare: Callable[[float, float], bool]) -> Callable[[str, str], bool]:
    return lambda actual, expected: compare(float(actual), float(expected))


def _date(compare: Callable[[float, float], bool]) -> Callable[[str, str], bool]:
    return lambda actual, expected: compare(_moment(actual), _moment(expected))


def _moment(text: str) -> float:
    return float(text) if text.isdecimal() else datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "equals": lambda a, b: a == b,
    "lessthan": lambda a, b: a < b,
    "lessthanequals": lambda a, b: a <= b,
    "greaterthan": lambda a, b: a > b,
    "greaterthanequals": lambda a, b: a >= b,
}
_OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "stringequals": lambda actual, expected: actual == expected,
    "stringequalsignorecase": lambda actual, expected: actual.lower() == expected.lower(),
    "stringlike": lambda actual, expected: _is_like(expected, actual),
    "arnequals": lambda actual, expected: _is_like(expected, actual),
    "arnlike": lambda actual, expected: _is_like(expected, actual),
    "bool": lambda actual, expected: actual.lower() == expected.lower(),
    "ipaddress": lambda actual, expected: ipaddress.ip_address(actual) in ipaddress.ip_network(expected, strict=False),
    **{f"numeric{name}": _number(compare) for name, compare in _COMPARISONS.items()},
    **{f"date{name}": _date(compare) for name, compare in _COMPARISONS.items()},
}


def _filled(text: str, question: Question) -> str:
    """Policy variables such as ${aws:username} replaced; one without a value matches nothing."""
    return re.sub(r"\$\{([^}*?$]+)\}", lambda found: question.context.get(found[1].lower(), "\0"), text)


def _any_like(patterns: list[str], text: str, fold: bool = False) -> bool:
    return any(_is_like(pattern, text, fold) for pattern in patterns)


def _is_like(pattern: str, text: str, fold: bool = False) -> bool:
    literal = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(literal, text, re.DOTALL | (re.IGNORECASE if fold else 0)) is not None


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _flat(value: Any) -> list[str]:
    """A policy element is one text, a list, or (of principals) lists by kind."""
    if isinstance(value, Mapping):
        return [str(item) for items in value.values() for item in _listed(items)]
    return [str(item) for item in _listed(value)]
