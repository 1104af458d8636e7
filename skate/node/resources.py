"""Amounts of resources, exactly: ten-thousandths as integers, and GPUs as numbered devices.

Fractions such as 0.1 are not exact in binary; a sum of releases must give back precisely what was taken, so amounts are
counted in units of 0.0001.
"""

from __future__ import annotations

from collections.abc import Mapping

UNIT = 10_000
Amounts = dict[str, int]


def to_units(resources: Mapping[str, float]) -> Amounts:
    """Amounts in units; zero amounts are left out."""
    return {name: units for name, amount in resources.items() if (units := round(amount * UNIT))}


def from_units(amounts: Mapping[str, int]) -> dict[str, float]:
    """Amounts as users write them."""
    return {name: units / UNIT for name, units in amounts.items()}


class Pool:
    """What a node has, and what of it is free. Free amounts may go below zero while a lent CPU is back in use.

    INV-1: `free[r]` + all that was taken and not given back = `total[r]`.
    """

    def __init__(self, total: Mapping[str, float]) -> None:
        self.total = to_units(total)
        self.free = dict(self.total)
        self._gpus = [UNIT] * (self.total.get("GPU", 0) // UNIT)

    def fits(self, amounts: Amounts) -> bool:
        """Whether the amounts are free now, GPUs as devices: 0.8 does not fit where two have 0.4 each."""
        if not all(self.free.get(name, 0) >= units for name, units in amounts.items()):
            return False
        gpus = amounts.get("GPU", 0)
        if gpus >= UNIT:
            return sum(free == UNIT for free in self._gpus) >= gpus // UNIT
        return not gpus or any(free >= gpus for free in self._gpus)

    def feasible(self, amounts: Amounts) -> bool:
        """Whether the amounts could ever be free."""
        return all(self.total.get(name, 0) >= units for name, units in amounts.items())

    def take(self, amounts: Amounts) -> None:
        """Take amounts; the caller has checked that they fit, or owes them already."""
        for name, units in amounts.items():
            self.free[name] = self.free.get(name, 0) - units

    def give(self, amounts: Amounts) -> None:
        """Give amounts back."""
        for name, units in amounts.items():
            self.free[name] = self.free.get(name, 0) + units

    def take_gpus(self, units: int) -> list[int]:
        """The device numbers for a GPU request: whole devices, or a share of the fullest that has room."""
        if units >= UNIT:
            chosen = [i for i, free in enumerate(self._gpus) if free == UNIT][: units // UNIT]
            for i in chosen:
                self._gpus[i] = 0
            return chosen
        if units:
            fitting = [(free, i) for i, free in enumerate(self._gpus) if free >= units]
            if fitting:
                _, i = min(fitting)
                self._gpus[i] -= units
                return [i]
        return []

    def give_gpus(self, gpus: list[int], units: int) -> None:
        """Give devices back."""
        for i in gpus:
            self._gpus[i] += min(units, UNIT)
