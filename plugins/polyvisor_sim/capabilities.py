"""The ``<capabilities>`` document of ``test:///``, as libvirt's test driver prints it."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["capabilities"]

_CPUS_PER_CELL = 8


def capabilities(memory: Sequence[int]) -> str:
    """Return the document (``testBuildCapabilities`` of ``src/test/test_driver.c``).

    Args:
        memory: KiB of each NUMA node.
    """
    cells = "".join(_cell(number, size) for number, size in enumerate(memory))
    guests = "".join(_GUEST.format(os_type=os_type) for os_type in ("hvm", "xen"))
    return _HEAD + _TOPOLOGY.format(count=len(memory), cells=cells) + guests + _FOOT


def _cell(number: int, memory: int) -> str:
    page = 8 if number == 1 else 4  # KiB
    cpus = "".join(
        f"            <cpu id='{cpu}' socket_id='{number}' die_id='0' "
        f"core_id='{cpu % _CPUS_PER_CELL}' siblings='{cpu}'/>\n"
        for cpu in range(number * _CPUS_PER_CELL, (number + 1) * _CPUS_PER_CELL)
    )
    return (
        f"        <cell id='{number}'>\n"
        f"          <memory unit='KiB'>{memory}</memory>\n"
        f"          <pages unit='KiB' size='{page}'>{memory // page}</pages>\n"
        f"          <pages unit='KiB' size='2048'>0</pages>\n"
        f"          <pages unit='KiB' size='1048576'>0</pages>\n"
        f"          <cpus num='{_CPUS_PER_CELL}'>\n{cpus}          </cpus>\n"
        f"        </cell>\n"
    )


_HEAD = """\
<capabilities>

  <host>
    <cpu>
      <arch>i686</arch>
      <features>
        <pae/>
        <nonpae/>
      </features>
      <pages unit='KiB' size='4'/>
      <pages unit='KiB' size='8'/>
      <pages unit='KiB' size='2048'/>
      <pages unit='KiB' size='1048576'/>
    </cpu>
    <power_management/>
    <iommu support='no'/>
"""
_TOPOLOGY = """\
    <topology>
      <cells num='{count}'>
{cells}      </cells>
    </topology>
    <secmodel>
      <model>testSecurity</model>
      <doi></doi>
    </secmodel>
  </host>

"""
_GUEST = """\
  <guest>
    <os_type>{os_type}</os_type>
    <arch name='i686'>
      <wordsize>32</wordsize>
      <emulator>/usr/bin/test-hv</emulator>
      <domain type='test'/>
    </arch>
    <features>
      <pae/>
      <nonpae/>
    </features>
  </guest>

"""
_FOOT = "</capabilities>\n"
