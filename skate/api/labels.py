"""Labels of nodes, and what tasks and actors may ask of them, checked at the call.

A selector is a dict from a label's name to `"v"`, `"!v"`, `"in(a,b)"` or `"!in(a,b)"`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..client.specs import EXISTS, IN, MISSING, NOT_IN, Condition, Wish, request_for

NAME = re.compile(r"([a-zA-Z0-9]([-.a-zA-Z0-9]{0,251}[a-zA-Z0-9])?/)?[a-zA-Z0-9]([-._a-zA-Z0-9]{0,61}[a-zA-Z0-9])?")
VALUE = re.compile(r"([a-zA-Z0-9]([-._a-zA-Z0-9]{0,61}[a-zA-Z0-9])?)?")
_CONDITION = re.compile(r"(!?)(?:in\(([^()]*)\)|([^()!]*))")
STRATEGY = "NodeLabelSchedulingStrategy"
_KINDS = {"In": IN, "NotIn": NOT_IN, "Exists": EXISTS, "DoesNotExist": MISSING}


def check_labels(what: str, labels: Any) -> dict[str, str]:
    """The labels of a node, checked.

    Raises:
        TypeError: they are no dict of strings.
        ValueError: a name or a value has characters that labels cannot have.
    """
    if not isinstance(labels, Mapping):
        raise TypeError(f"{what} must be a dict from name to value, not {labels!r}.")
    for name, value in labels.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"{what} must be a dict from name to value, both strings: {name!r}: {value!r} is not.")
        _check_name(what, name)
        _check_value(what, name, value)
    return dict(labels)


def _check_name(what: str, name: Any) -> None:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ValueError(
            f"{what}: {name!r} is no name of a label: letters, digits, '-', '_' and '.', 63 at the most, after a prefix "
            "such as 'example.com/' if you like."
        )


def _check_value(what: str, name: str, value: Any) -> None:
    if not isinstance(value, str) or not VALUE.fullmatch(value):
        raise ValueError(
            f"{what}: {value!r} is no value of the label {name}: letters, digits, '-', '_' and '.', 63 at the most."
        )


def check_selector(name: str, selector: Any) -> None:
    """Check the option `label_selector`."""
    parse_selector(name, selector)


def parse_selector(what: str, selector: Any) -> list[Condition]:
    """The conditions of a selector.

    Raises:
        TypeError: it is no dict of strings.
        ValueError: a condition is none of the four kinds.
    """
    if selector is None:
        return []
    if not isinstance(selector, Mapping):
        raise TypeError(f"The option {what} must be a dict from a label's name to a condition, not {selector!r}.")
    return [_condition(what, name, text) for name, text in selector.items()]


def _condition(what: str, name: Any, text: Any) -> Condition:
    _check_name(f"The option {what}", name)
    if not isinstance(text, str):
        raise TypeError(f"The option {what}: the condition of {name!r} must be a string, not {text!r}.")
    found = _CONDITION.fullmatch(text.strip())
    values = (
        [] if found is None else [each.strip() for each in (found[2] if found[2] is not None else found[3]).split(",")]
    )
    if found is None or (found[2] is None and len(values) != 1) or not any(values):
        raise ValueError(
            f"The option {what}: {text!r} is no condition of the label {name}: write 'v', '!v', 'in(a,b)' or '!in(a,b)'."
        )
    for value in values:
        _check_value(f"The option {what}", name, value)
    return name, NOT_IN if found[1] else IN, values


def check_fallback(name: str, fallback: Any) -> None:
    """Check the option `fallback_strategy`."""
    parse_fallback(name, fallback)


def parse_fallback(what: str, fallback: Any) -> Wish:
    """The alternatives, the best first.

    Raises:
        TypeError, ValueError: it is no list of `{"label_selector": {...}}`.
    """
    if fallback is None:
        return []
    if not isinstance(fallback, (list, tuple)):
        raise TypeError(f"The option {what} must be a list of dicts, not {fallback!r}.")
    for each in fallback:
        if not isinstance(each, Mapping) or set(each) != {"label_selector"}:
            raise ValueError(f'The option {what} must be a list of {{"label_selector": {{...}}}}: {each!r} is not.')
    return [parse_selector(f"{what}'s label_selector", each["label_selector"]) for each in fallback]


def parse_strategy(strategy: Any) -> Wish:
    """What a `NodeLabelSchedulingStrategy` asks for: nodes with the soft labels, too, if there are any."""
    hard, soft = (
        [_expression(name, wanted) for name, wanted in each.items()] for each in (strategy.hard, strategy.soft)
    )
    return [[*hard, *soft], hard] if soft else [hard]


def _expression(name: Any, wanted: Any) -> Condition:
    what = STRATEGY
    _check_name(what, name)
    kind = _KINDS.get(type(wanted).__name__)
    if kind is None:
        raise TypeError(
            f"{what}: the label {name} needs In(...), NotIn(...), Exists() or DoesNotExist(), not {wanted!r}."
        )
    values: list[str] = list(getattr(wanted, "values", ()))
    for value in values:
        _check_value(what, name, value)
    return name, kind, values


def add_labels(resources: dict[str, float], options: Mapping[str, Any]) -> dict[str, float]:
    """A request for resources with what the checked options ask of the node's labels."""
    wish = [parse_selector("label_selector", options.get("label_selector"))]
    wish += parse_fallback("fallback_strategy", options.get("fallback_strategy"))
    strategy = options.get("scheduling_strategy")
    if type(strategy).__name__ == STRATEGY:
        wish = [[*one, *other] for other in wish for one in parse_strategy(strategy)]
    return resources | request_for(wish) if any(wish) else resources
