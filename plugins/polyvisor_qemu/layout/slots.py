"""PCI buses and their slots: what may be plugged where, and the next free place.

Follows virDomainPCIAddressBusSetModel, virDomainPCIAddressSetGrow and
virDomainPCIAddressGetNextAddr (domain_addr.c).
"""

from __future__ import annotations

import attrs

from polyvisor.errors import SemanticError

__all__ = ["Bus", "Place", "Plug", "Slots"]

#: A place on a bus: bus, slot, function.
Place = tuple[int, int, int]

_LAST = 31
#: Numbers that a PCI bus can have (PCI Local Bus Specification, configuration addresses).
MOST_BUSES = 256


@attrs.frozen
class Plug:
    """How a device connects."""

    kind: str
    #: Whether it is placed without being told where.
    auto: bool = True
    #: Whether it can only be on the root bus.
    integrated: bool = False
    #: Whether eight of them share a slot.
    shares: bool = False


PCI = Plug("pci")
EXPRESS = Plug("pcie")

#: By model of the controller: what it takes, first and last slot, whether places are chosen there.
_BUSES: dict[str, tuple[frozenset[str], int, int, bool]] = {
    "pci-root": (frozenset({"pci", "pci-bridge", "pci-expander-bus"}), 1, _LAST, True),
    "pci-bridge": (frozenset({"pci", "pci-bridge"}), 1, _LAST, True),
    "pci-expander-bus": (frozenset({"pci", "pci-bridge"}), 0, _LAST, True),
    "pcie-root": (
        frozenset({"pcie", "pcie-root-port", "dmi-to-pci-bridge", "pcie-expander-bus"}),
        1,
        _LAST,
        False,
    ),
    "dmi-to-pci-bridge": (frozenset({"pci", "pci-bridge"}), 0, _LAST, False),
    "pcie-to-pci-bridge": (frozenset({"pci", "pci-bridge"}), 1, _LAST, True),
    "pcie-root-port": (
        frozenset({"pcie", "pcie-switch-upstream-port", "pcie-to-pci-bridge"}),
        0,
        0,
        True,
    ),
    "pcie-switch-downstream-port": (
        frozenset({"pcie", "pcie-switch-upstream-port", "pcie-to-pci-bridge"}),
        0,
        0,
        True,
    ),
    "pcie-switch-upstream-port": (frozenset({"pcie-switch-downstream-port"}), 0, _LAST, False),
    "pcie-expander-bus": (frozenset({"pcie-root-port", "dmi-to-pci-bridge"}), 0, _LAST, False),
}


class Bus:
    """A bus of a controller and which functions of its slots are taken.

    Args:
        model: the controller's.

    Raises:
        SemanticError: there is no such model.
    """

    def __init__(self, model: str) -> None:
        if model not in _BUSES:
            raise _no_place(f"{model!r} is not a model of PCI controller")
        self.model = model
        self.takes, self.first, self.last, self.auto = _BUSES[model]
        #: Functions in use, by slot.
        self.used: dict[int, set[int]] = {}
        #: Slots whose functions are filled one by one.
        self.shared: set[int] = set()

    @property
    def full(self) -> bool:
        """Whether something is in every slot."""
        return all(self.used.get(slot) for slot in range(self.first, self.last + 1))

    def accepts(self, plug: Plug, number: int) -> bool:
        """Say whether a device may be placed here without being told to."""
        if plug.integrated:
            return number == 0 and plug.kind in self.takes
        return plug.kind in self.takes and (self.auto or not plug.auto)

    def fits(self, plug: Plug, number: int) -> bool:
        """Say whether a device may be here when it is told to."""
        if plug.integrated:
            return number == 0
        takes = self.takes
        if takes & {"pci", "pcie"}:
            # Guests find a PCI device in a PCI Express slot, and the other way round.
            takes = takes | {"pci", "pcie"}
        return plug.kind in takes or (plug.kind == "pci-bridge" and "pci" in takes)

    def free(self, plug: Plug, function: int | None) -> tuple[int, int] | None:
        """Return the first slot and function that are free for a device."""
        for slot in range(self.first, self.last + 1):
            used = self.used.get(slot, set())
            if not used:
                return slot, function or 0
            if plug.shares and slot in self.shared:
                wanted = [function] if function is not None else range(8)
                for one in wanted:
                    if one not in used:
                        return slot, one
        return None


class Slots:
    """All buses of a machine.

    Args:
        models: of the buses that there are, by number.
        fallback: model of those between them.
        grows: whether buses are added when there is no place.
        roots: whether a further root is added for plain PCI.
        express_bridge: whether plain PCI comes behind a bridge in a PCI Express port.

    Raises:
        SemanticError: there are more than 256 buses.
    """

    def __init__(
        self,
        models: dict[int, str],
        fallback: str,
        *,
        grows: bool,
        roots: bool,
        express_bridge: bool,
    ) -> None:
        count = max(models, default=-1) + 1
        if count > MOST_BUSES:
            raise _no_place(f"a PCI controller has index {count - 1}, and there are 256 buses")
        self.buses = [Bus(models.get(number, fallback)) for number in range(count)]
        self.grows, self.roots, self.express_bridge = grows, roots, express_bridge

    def in_use(self, slot: int) -> bool:
        """Say whether something is in a slot of the first bus."""
        return bool(self.buses[0].used.get(slot))

    def take(self, place: Place, plug: Plug, *, told: bool = False) -> None:
        """Mark a place as taken, adding buses up to it.

        Args:
            place: the place.
            plug: how the device connects.
            told: whether the definition says so.

        Raises:
            SemanticError: it is taken already, there is no such bus, or it takes no such device.
        """
        bus, slot, function = place
        while self.grows and bus >= len(self.buses):
            bus = self._grow(bus, plug)
        if bus >= len(self.buses):
            raise _no_place(f"there is no PCI bus {bus}")
        here = self.buses[bus]
        if told and not here.fits(plug, bus):
            raise _no_place(
                f"the device at PCI address 0000:{bus:02x}:{slot:02x}.{function} cannot be plugged "
                f"into a controller of model {here.model!r}; it needs one that takes {plug.kind!r}"
            )
        used = here.used.setdefault(slot, set())
        if function in used:
            raise _no_place(f"two devices are at PCI address 0000:{bus:02x}:{slot:02x}.{function}")
        if not used and plug.shares:
            here.shared.add(slot)
        used.add(function)

    def next(self, plug: Plug, function: int | None = None) -> Place:
        """Return the next free place for a device and mark it as taken.

        Args:
            plug: how the device connects.
            function: the function that it must be; None: any.

        Raises:
            SemanticError: there is none.
        """
        for number, bus in enumerate(self.buses):
            if bus.accepts(plug, number) and (found := bus.free(plug, function)) is not None:
                place = number, *found
                self.take(place, plug)
                return place
        if not self.grows or not self.buses:
            raise _no_place("there is no free PCI slot")
        number = self._grow(len(self.buses), plug)
        place = number, self.buses[number].first, function or 0
        self.take(place, plug)
        return place

    def _grow(self, bus: int, plug: Plug) -> int:
        """Add buses up to one; return its number, which a bridge before it may change."""
        added = bus - len(self.buses) + 1
        if bus >= MOST_BUSES:
            raise _no_place("more than 256 PCI buses would be needed")
        bridge = None
        if plug.kind == "pci":
            model = "pci-root" if self.roots else "pci-bridge"
            if not self.roots and not any("pci-bridge" in one.takes for one in self.buses):
                bridge = "pcie-to-pci-bridge" if self.express_bridge else "dmi-to-pci-bridge"
                if added == 1:
                    added += 1
                    bus += 1
        elif plug.kind in {"pcie", "pcie-switch-upstream-port"}:
            model = "pcie-root-port"
        else:
            raise _no_place(f"a PCI controller of model {plug.kind!r} has no slot to be in")
        end = len(self.buses) + added
        if bridge == "dmi-to-pci-bridge":
            self.buses.append(Bus(bridge))
        elif bridge is not None:
            port = Bus("pcie-root-port")
            # Kept for the bridge, so that the port left free for hotplug is another one.
            port.takes = frozenset({"pcie-to-pci-bridge"})
            self.buses += [port, Bus(bridge)]
        while len(self.buses) < end:
            self.buses.append(Bus(model))
        return bus


def _no_place(fault: str) -> SemanticError:
    return SemanticError(
        f"cannot place the devices: {fault}; give addresses or controllers for them",
        element="domain/devices",
        fault=fault,
    )
