"""Amounts of resources, exactly: ten-thousandths as integers, and GPUs as numbered devices.

Fractions such as 0.1 are not exact in binary; a sum of releases must give back precisely what was taken, so amounts are
counted in units of 0.0001.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field

from ..wire import groups

UNIT = 10_000
Amounts = dict[str, int]


def to_units(resources: Mapping[str, float]) -> Amounts:
    """Amounts in units; zero amounts are left out."""
    return {name: units for name, amount in resources.items() if (units := round(amount * UNIT))}


def from_units(amounts: Mapping[str, int]) -> dict[str, float]:
    """Amounts as users write them."""
    return {name: units / UNIT for name, units in amounts.items()}


def own(amounts: Mapping[str, int]) -> dict[str, float]:
    """Amounts as users know them, without those of bundles of placement groups."""
    return {name: amount for name, amount in from_units(amounts).items() if groups.is_own(name)}


class Bundle(Struct, eq=False):
    """What a placement group has reserved on this node."""

    amounts: Amounts
    gpus: dict[int, int]
    """Devices, and what is free of each in the bundle."""
    reserved_gpus: list[int]
    names: Amounts = field(default_factory=dict)
    """What it is as resources of its own, once it may be used."""


class Pool:
    """What a node has, and what of it is free. Free amounts may go below zero while a lent CPU is back in use.

    INV-1: `free[r]` + all that was taken, by bundles too, and not given back = `total[r]`.
    """

    def __init__(self, total: Mapping[str, float]) -> None:
        self.total = to_units(total)
        self.free = dict(self.total)
        self._gpus = [UNIT] * (self.total.get("GPU", 0) // UNIT)
        self.bundles: dict[tuple[bytes, int], Bundle] = {}
        """Of placement groups: what is reserved here."""

    def fits(self, amounts: Amounts) -> bool:
        """Whether the amounts are free now, GPUs as devices: 0.8 does not fit where two have 0.4 each."""
        if not all(self.free.get(name, 0) >= units for name, units in amounts.items()):
            return False
        key, gpus = gpu_request(amounts)
        if not gpus:
            return True
        free_now = [free for _, free in self._devices(key)]
        if gpus >= UNIT:
            return sum(free == UNIT for free in free_now) >= gpus // UNIT
        return any(free >= gpus for free in free_now)

    def feasible(self, amounts: Amounts) -> bool:
        """Whether the amounts could ever be free."""
        return all(self.total.get(name, 0) >= units for name, units in amounts.items())

    def take(self, amounts: Amounts) -> None:
        """Take amounts; the caller has checked that they fit, or owes them already."""
        for name, units in amounts.items():
            self.free[name] = self.free.get(name, 0) - units

    def give(self, amounts: Amounts) -> None:
        """Give amounts back; those of a bundle that is gone are gone."""
        for name, units in amounts.items():
            if name in self.total or groups.is_own(name):
                self.free[name] = self.free.get(name, 0) + units

    # ------------------------------------------------------------ devices

    def _devices(self, key: str) -> list[tuple[int, int]]:
        """(number, what is free of it) of the GPUs that a request may have: the node's, or those of a group's bundles."""
        if key == "GPU":
            return list(enumerate(self._gpus))
        return [device for bundle in self._bundles_with(key) for device in bundle.gpus.items()]

    def _bundles_with(self, key: str) -> list[Bundle]:
        return [bundle for bundle in self.bundles.values() if key in bundle.names]

    def _set_device(self, key: str, number: int, change: int) -> None:
        if key == "GPU":
            self._gpus[number] += change
            return
        for bundle in self._bundles_with(key):
            if number in bundle.gpus:
                bundle.gpus[number] += change
                return

    def take_gpus(self, amounts: Amounts) -> list[int]:
        """The device numbers for a request: whole devices, or a share of the fullest that has room."""
        key, units = gpu_request(amounts)
        if not units:
            return []
        devices = self._devices(key)
        if units >= UNIT:
            chosen = [number for number, free in devices if free == UNIT][: units // UNIT]
        else:
            chosen = [number for _, number in sorted((free, number) for number, free in devices if free >= units)][:1]
        for number in chosen:
            self._set_device(key, number, -min(units, UNIT))
        return chosen

    def give_gpus(self, gpus: list[int], amounts: Amounts) -> None:
        """Give devices back."""
        key, units = gpu_request(amounts)
        for number in gpus:
            self._set_device(key, number, min(units, UNIT))

    # ------------------------------------------------------------ bundles of placement groups

    def reserve(self, group: bytes, index: int, amounts: Amounts) -> bool:
        """Take the amounts of a bundle, if they are free. They cannot be used before `commit`."""
        if (group, index) in self.bundles:
            return True
        if not self.fits(amounts):
            return False
        self.take(amounts)
        gpus = self.take_gpus(amounts)
        share = min(amounts.get("GPU", 0), UNIT)
        self.bundles[group, index] = Bundle(amounts, dict.fromkeys(gpus, share), gpus)
        return True

    def commit(self, group: bytes) -> None:
        """What is reserved for a group may be used."""
        for (ident, index), bundle in self.bundles.items():
            if ident != group or bundle.names:
                continue
            for name, units in [*bundle.amounts.items(), (groups.BUNDLE, round(groups.BUNDLE_AMOUNT * UNIT))]:
                for each in groups.names(name, group.hex(), index):
                    bundle.names[each] = units
                    self.total[each] = self.total.get(each, 0) + units
                    self.free[each] = self.free.get(each, 0) + units

    def give_back(self, group: bytes, index: int) -> None:
        """A bundle is not reserved any more. What used it gives its part back to nobody."""
        bundle = self.bundles.pop((group, index), None)
        if bundle is None:
            return
        for each, units in bundle.names.items():
            self.total[each] -= units
            self.free[each] -= units
            if not self.total[each]:
                del self.total[each], self.free[each]
        self.give(bundle.amounts)
        for number in bundle.reserved_gpus:
            self._gpus[number] += min(bundle.amounts["GPU"], UNIT)


def gpu_request(amounts: Amounts) -> tuple[str, int]:
    """Which kind of GPU a request is for, the node's or a bundle's, and how much."""
    key = next((name for name in amounts if name == "GPU" or name.startswith(f"GPU{groups.MARK}")), "GPU")
    return key, amounts.get(key, 0)


def cpu_part(amounts: Amounts) -> Amounts:
    """The CPUs of a request, the node's or a bundle's."""
    return {name: units for name, units in amounts.items() if name == "CPU" or name.startswith(f"CPU{groups.MARK}")}
