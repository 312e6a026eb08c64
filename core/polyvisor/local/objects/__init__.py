"""Families of host objects that polyvisor keeps itself.

What networks, storage pools, interfaces, secrets and network filters have in common
(definitions, names, starting and stopping, events, many processes at once) stands in
:class:`LocalFamily`; a class for each family adds what is its own. A plugin derives from
them to say what starting and stopping means on its host::

    class MyNetworks(LocalNetworks):
        def begin(self, spec):
            ...  # make the bridge

:class:`DirectoryPools` (folders of image files), :class:`LocalSecrets` and
:class:`LocalNwFilters` need nothing more. :class:`MachineDevices` are this machine's, and not kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from polyvisor._lazy import attach

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from polyvisor.local.objects._directory import DirectoryPools
    from polyvisor.local.objects._family import LocalFamily
    from polyvisor.local.objects._interfaces import LocalInterfaces
    from polyvisor.local.objects._networks import LocalNetworks
    from polyvisor.local.objects._node_devices import MachineDevices
    from polyvisor.local.objects._pools import LocalPools, LocalVolumes, volume_file_name
    from polyvisor.local.objects._secrets import LocalNwFilters, LocalSecrets

__all__ = [
    "DirectoryPools",
    "LocalFamily",
    "LocalInterfaces",
    "LocalNetworks",
    "LocalNwFilters",
    "LocalPools",
    "LocalSecrets",
    "LocalVolumes",
    "MachineDevices",
    "volume_file_name",
]

# Where each lives; imported when it is first asked for.
__getattr__: Callable[[str], Any]
__dir__: Callable[[], list[str]]
__getattr__, __dir__ = attach(
    __name__,
    {
        "DirectoryPools": "_directory",
        "LocalFamily": "_family",
        "LocalInterfaces": "_interfaces",
        "LocalNetworks": "_networks",
        "LocalNwFilters": "_secrets",
        "LocalPools": "_pools",
        "LocalSecrets": "_secrets",
        "LocalVolumes": "_pools",
        "MachineDevices": "_node_devices",
        "volume_file_name": "_pools",
    },
)
