"""Metrics of your own: `Counter`, `Gauge` and `Histogram`, as in `ray.util.metrics`.

They may be used in drivers, tasks and actors, and passed to them. Each node adds up what its processes count, and shows it to
Prometheus with its own metrics: see docs/metrics.md.

Example:
    >>> from skate.util.metrics import Counter, Histogram
    >>> requests = Counter("requests", "Requests that were answered.", tag_keys=("route",))
    >>> requests.inc(1, tags={"route": "/"})
    >>> latency = Histogram("latency_seconds", "How long that took.", boundaries=[0.01, 0.1, 1.0])
    >>> latency.observe(0.03)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any, Self

from ..client.metering import COUNTER, GAUGE, HISTOGRAM, PROCESS, RESERVED

VALUE_CHARACTERS_MAX = 1024
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_KEY = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


class Metric:
    """What all metrics have. Metrics of one name in one process are one metric."""

    _kind = ""

    def __init__(self, name: str, description: str = "", tag_keys: Sequence[str] | None = None) -> None:
        """
        Args:
            name: letters, digits, `_` and `:`; Prometheus sees it with `ray_` in front.
            description: for whoever looks.
            tag_keys: the tags that each value must have.

        Raises:
            TypeError: description is no string, or tag_keys no tuple or list of strings.
            ValueError: a name that Prometheus would not have, or could not tell from that of another metric of this process.
        """
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError(
                f"{name!r} cannot be the name of a metric: use letters, digits and _, and begin with no digit"
            )
        if not isinstance(description, str):
            raise TypeError(f"the description of metric {name!r} must be a string, not {description!r}")
        if tag_keys is not None and not isinstance(tag_keys, (tuple, list)):
            raise TypeError(f"tag_keys is a tuple of strings, not {tag_keys!r}")
        keys = tuple(tag_keys or ())
        for key in keys:
            if not isinstance(key, str):
                raise TypeError(f"tag_keys must be strings: {key!r} is none")
            if not _KEY.fullmatch(key) or key.startswith("__") or key in RESERVED:
                raise ValueError(f"{key!r} cannot be a tag: use letters, digits and _; {sorted(RESERVED)} are taken")
        if len(set(keys)) != len(keys):
            raise ValueError(f"tag_keys has a tag twice: {keys}")
        self._name = name
        self._description = description.encode(errors="replace").decode()
        self._keys = keys
        self._defaults: dict[str, str] = {}
        self._meter = PROCESS.meter(self._kind, name, self._description, keys, self._bounds())

    def _bounds(self) -> tuple[float, ...]:
        return ()

    def set_default_tags(self, default_tags: Mapping[str, str]) -> Self:
        """Tags that count where a call does not say otherwise.

        Raises:
            ValueError: a tag that is not in tag_keys.
            TypeError: it is no dict, or a value that is no string.
        """
        self._check_all("default_tags", default_tags)
        self._defaults = dict(default_tags)
        return self

    @property
    def info(self) -> dict[str, Any]:
        """`name`, `description`, `tag_keys` and `default_tags`."""
        return {
            "name": self._name,
            "description": self._description,
            "tag_keys": self._keys,
            "default_tags": dict(self._defaults),
        }

    def _check_all(self, name: str, tags: Mapping[str, str]) -> None:
        if type(tags) is not dict and not isinstance(tags, Mapping):  # the latter takes a microsecond
            raise TypeError(f"{name} of metric {self._name!r} must be a dict of strings, not {tags!r}")
        for key, value in tags.items():
            self._check(key, value)

    def _check(self, key: str, value: str) -> None:
        if key not in self._keys:
            raise ValueError(f"metric {self._name!r} has no tag {key!r}: its tag_keys are {self._keys}")
        if not isinstance(value, str):
            raise TypeError(f"the tag {key!r} of metric {self._name!r} must be a string, not {value!r}")
        if len(value) > VALUE_CHARACTERS_MAX:
            raise ValueError(
                f"the tag {key!r} of metric {self._name!r} is longer than {VALUE_CHARACTERS_MAX} characters"
            )
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise ValueError(
                    f"the tag {key!r} of metric {self._name!r} cannot be {value!r}: that is no text of Unicode"
                ) from None

    def _values(self, tags: Mapping[str, str] | None) -> tuple[str, ...]:
        """The values of the tags, in the order of the keys."""
        if tags:
            self._check_all("tags", tags)
            tags = {**self._defaults, **tags}
        else:
            tags = self._defaults
        if len(tags) != len(self._keys):
            missing = [key for key in self._keys if key not in tags]
            raise ValueError(
                f"metric {self._name!r} needs a value for the tags {missing}: pass tags=, or set_default_tags()"
            )
        return tuple([tags[key] for key in self._keys])

    def _number(self, value: Any) -> float:
        if type(value) is float:  # to ask whether it is a Real takes a microsecond
            return value
        if type(value) is not int and not isinstance(value, Real):
            raise TypeError(f"the value for metric {self._name!r} must be a number, not {value!r}")
        try:
            return float(value)
        except OverflowError:
            raise ValueError(f"the value for metric {self._name!r} is larger than a float can be") from None

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self._arguments(), self._defaults)

    def _arguments(self) -> tuple[Any, ...]:
        return self._name, self._description, self._keys

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._name!r})"


def _restore(cls: type[Metric], arguments: tuple[Any, ...], defaults: dict[str, str]) -> Metric:
    metric = cls(*arguments)
    return metric.set_default_tags(defaults) if defaults else metric


class Counter(Metric):
    """A number that only grows; the node adds up what all its processes count."""

    _kind = COUNTER

    def inc(self, value: float = 1.0, tags: Mapping[str, str] | None = None) -> None:
        """Count more.

        Raises:
            ValueError: value is not above 0, or too large, or the tags are not those of the metric.
            TypeError: value is no number, or a tag is no string.
        """
        amount = self._number(value)
        if not amount > 0:
            raise ValueError(f"a counter only grows: metric {self._name!r} cannot be increased by {value!r}")
        PROCESS.add(self._meter, self._values(tags), amount)


class Gauge(Metric):
    """A number that goes up and down; each process has its own, which ends with it."""

    _kind = GAUGE

    def set(self, value: float | None, tags: Mapping[str, str] | None = None) -> None:
        """It is this now. None changes nothing.

        Raises:
            ValueError: the tags are not those of the metric, or value is too large.
            TypeError: value is no number, or a tag is no string.
        """
        if value is not None:
            PROCESS.set(self._meter, self._values(tags), self._number(value))


class Histogram(Metric):
    """How large values are: how many fell into each bucket, their number and their sum."""

    _kind = HISTOGRAM

    def __init__(
        self,
        name: str,
        description: str = "",
        boundaries: Sequence[float] | None = None,
        tag_keys: Sequence[str] | None = None,
    ) -> None:
        """
        Args:
            name, description, tag_keys: as of all metrics.
            boundaries: the upper bounds of the buckets, above 0 and ascending. What is larger than the last is counted, too.

        Raises:
            ValueError: as of all metrics, or there are no boundaries, or they are not as they should be.
            TypeError: as of all metrics, or boundaries is no list of numbers.
        """
        if boundaries is not None:
            if not isinstance(boundaries, Iterable) or isinstance(boundaries, (str, bytes)):
                raise TypeError(f"histogram {name!r}: boundaries is a list of numbers, not {boundaries!r}")
            boundaries = tuple(boundaries)
            for bound in boundaries:
                if not isinstance(bound, Real):
                    raise TypeError(f"histogram {name!r}: boundaries must be numbers, which {bound!r} is not")
        if not boundaries:
            raise ValueError(
                f"histogram {name!r} needs boundaries, the upper bounds of its buckets: such as [0.1, 1, 10]"
            )
        self._boundaries = tuple(float(bound) for bound in boundaries)
        for at, bound in enumerate(self._boundaries):
            if not 0 < bound < float("inf") or (at and bound <= self._boundaries[at - 1]):
                raise ValueError(
                    f"histogram {name!r}: boundaries must be above 0 and ascending, which {bound:g} is not"
                )
        super().__init__(name, description, tag_keys)

    def _bounds(self) -> tuple[float, ...]:
        return self._boundaries

    @property
    def info(self) -> dict[str, Any]:
        """As of all metrics, and `boundaries`."""
        return {**super().info, "boundaries": list(self._boundaries)}

    def observe(self, value: float, tags: Mapping[str, str] | None = None) -> None:
        """One more value.

        Raises:
            ValueError: the tags are not those of the metric, or value is too large.
            TypeError: value is no number, or a tag is no string.
        """
        PROCESS.observe(self._meter, self._values(tags), self._number(value))

    def _arguments(self) -> tuple[Any, ...]:
        return self._name, self._description, self._boundaries, self._keys


__all__ = ["Counter", "Gauge", "Histogram", "Metric"]
