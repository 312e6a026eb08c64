"""QEMU through polyvisord beside QEMU through libvirtd: what virsh prints of the same guest."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
from served import need, run, served

pytestmark = pytest.mark.real

GUEST = """<domain type='qemu'><name>g</name>
<uuid>6f7a2a2e-52f6-4cf9-a8a4-4ac1bb5f4a11</uuid><title>a title</title>
<memory unit='MiB'>32</memory><vcpu>1</vcpu><iothreads>2</iothreads>
<os><type arch='x86_64' machine='pc'>hvm</type></os><features><acpi/></features>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>
<source file='{image}'/><target dev='vda' bus='virtio'/></disk>
<disk type='file' device='cdrom'><target dev='hdc' bus='ide'/><readonly/></disk>
<interface type='user'><mac address='52:54:00:11:22:33'/><model type='virtio'/></interface>
<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
<memballoon model='virtio'/></devices></domain>"""

CHANNEL = "<channel type='null'><target type='virtio' name='a.b.c'/></channel>"

#: Printed alike, word for word; one after the other, since each may change the guest.
SAME = """
version
define {folder}/{side}.xml
list --all
domid g
domuuid g
domname 6f7a2a2e-52f6-4cf9-a8a4-4ac1bb5f4a11
domstate g
domblklist g --details --inactive
domiflist g
domblkinfo g vda
domblkinfo g --all
vcpucount g
vcpuinfo g
vcpupin g
emulatorpin g
iothreadinfo g
iothreadpin g 2 0 --config; iothreadinfo g
iothreadpin g 3 0 --config
iothreadadd g 4 --config; dumpxml g --xpath //iothreadids
iothreadadd g 4 --config
iothreadadd g 0 --config
iothreadset g 4 --thread-pool-min 2 --thread-pool-max 8 --config; dumpxml g --xpath //iothreadids
iothreadset g 4 --poll-max-ns 100 --config
iothreadset g 9 --thread-pool-max 8 --config
iothreaddel g 4 --config; dumpxml g --xpath //iothreadids
iothreaddel g 4 --config
memtune g
blkiotune g
numatune g
schedinfo g
blkdeviotune g vda
migrate-getspeed g
migrate-getmaxdowntime g
migrate-compcache g
memtune g --soft-limit 1048576 --config; memtune g --config
blkiotune g --weight 500 --config; blkiotune g --config
blkdeviotune g vda --total-bytes-sec 1000000 --config; blkdeviotune g vda --config
autostart g; list --all --autostart; autostart --disable g
domcontrol g
domifaddr g
domrename g h; list --all; domrename h g; domid g
domrename g a/b
domrename g g
set-lifecycle-action g reboot destroy --config; dumpxml g --xpath //on_reboot
set-lifecycle-action g poweroff coredump-destroy --config
set-lifecycle-action g nothing destroy
set-lifecycle-action g reboot restart --config
start g
list
domrename g h
set-lifecycle-action g reboot destroy --live; dumpxml g --xpath //on_reboot
set-lifecycle-action g reboot restart; dumpxml g --inactive --xpath //on_reboot
domstate g --reason
domblklist g --details
domiflist g
domblkinfo g vda
domifaddr g
domifstat g vnet9
vcpucount g --live
vcpupin g
emulatorpin g
iothreadpin g 1 0
iothreadinfo g --config
iothreadpin g 7 0
iothreadadd g 6; dumpxml g --xpath //iothreads; dumpxml g --xpath //iothreadids
iothreadset g 6 --poll-max-ns 8000 --poll-grow 2 --poll-shrink 3
iothreadset g 6 --thread-pool-min 100 --thread-pool-max 200
iothreadset g 6 --thread-pool-min 1 --thread-pool-max 2
qemu-monitor-command g --hmp qom-get /objects/iothread6 poll-max-ns
qemu-monitor-command g --hmp qom-get /objects/iothread6 thread-pool-max
iothreadset g 8 --poll-max-ns 8000
iothreadset g 6 --poll-max-ns 99999999999
iothreadadd g 6
iothreadadd g 6 --live --config; iothreadinfo g --config
iothreaddel g 6; dumpxml g --xpath //iothreadids
iothreaddel g 6
memtune g
domcontrol g
domjobinfo g
domdirtyrate-calc g --seconds 0
domdirtyrate-calc g --seconds 61 --mode dirty-bitmap
domdirtyrate-calc g --seconds 1
migrate-getspeed g
migrate-setspeed g 50; migrate-getspeed g
migrate-getspeed g --postcopy
migrate-setspeed g 20 --postcopy; migrate-getspeed g --postcopy
migrate-getmaxdowntime g
migrate-setmaxdowntime g 1200; migrate-getmaxdowntime g
migrate-compcache g
migrate-compcache g --size 4194304
domblkthreshold g vda 1048576
domblkthreshold g vdz 1048576
domblkthreshold g vda 0
qemu-monitor-command g --hmp info name
qemu-monitor-command g --return-value '{{"execute":"query-uuid"}}'
qemu-monitor-command g --return-value '{{"execute":"query-nosuch"}}'
inject-nmi g
domlaunchsecinfo g
nodesevinfo
perf g
perf g --config
dompmsuspend g mem --duration 5
dommemstat g --period 2; dumpxml g --xpath //memballoon/stats
qemu-monitor-command g --hmp qom-get /machine/peripheral/balloon0 guest-stats-polling-interval
dommemstat g --period 0 --config; dumpxml g --inactive --xpath //memballoon/stats
domif-setlink g 52:54:00:11:22:33 down; domif-getlink g 52:54:00:11:22:33
domif-setlink g 52:54:00:11:22:33 up; domif-getlink g 52:54:00:11:22:33
attach-device g {folder}/channel.xml; detach-device-alias g channel1
change-media g hdc {folder}/{side}.iso --insert --live; domblklist g
change-media g hdc --eject --live; domblklist g
blockresize g vda 16M; domblkinfo g vda
blockjob g vda
blockpull g vda --wait
blockcopy g vda {folder}/{side}-copy.qcow2 --transient-job --wait --pivot --granularity 65536
blockcopy g vda {folder}/{side}-odd.qcow2 --transient-job --wait --granularity 65535
domblklist g
blockcopy g vda {folder}/{side}.qcow2 --transient-job --reuse-external --wait --finish
desc g words; desc g
desc g --title other; desc g --title
metadata g urn:x --set '<a/>' --key x; metadata g urn:x
suspend g; domstate g --reason; resume g
managedsave g; list --all --managed-save
start g; domstate g --reason
save g {folder}/{side}.save; domstate g --reason
restore {folder}/{side}.save; domstate g --reason
reset g
destroy g; list --all
domblkstat g vda
domrename g h; domuuid h; domrename h g
undefine g; list --all
"""

#: The same names are printed, whatever the figures.
NAMES = (
    "domblkstat g vda",
    "domblkstat g",
    "dommemstat g",
    "cpu-stats g --total",
    "vcpuinfo g",
    "iothreadinfo g",
    "nodecpustats",
    "nodecpustats --cpu 0",
    "nodecpustats --cpu 99999",
    "nodememstats",
    "nodememstats --cell 0",
    "freecell",
    "freecell --cellno 0",
    "freecell --all",
    "domstats g --state --cpu-total --balloon --block --interface",
    "domstats g",
    "domstats --raw --list-active --iothread --vm --perf --dirtyrate",
)

#: What our own command line prints as virsh does.
OWN = (
    "domblklist g",
    "domblklist g --details",
    "domiflist g",
    "domblkinfo g vda",
    "domblkinfo g --all",
    "domifaddr g",
    "blockjob g vda",
    "qemu-monitor-command g --hmp info name",
    "iothreadinfo g",
    "vcpucount g",
    "vcpucount g --maximum --config",
    "domblkstat g vda",
    "domif-getlink g 52:54:00:11:22:33",
    "maxvcpus",
    "cpu-models x86_64",
)

#: Asked of an agent that does not run: refused in libvirt's words, behind which are ours.
AGENT = ("domtime g", "guestinfo g")


POLYVISOR = (sys.executable, "-m", "polyvisor")


@attrs.frozen
class Both:
    """Two hosts.

    Attributes:
        folder: where files of both are; each side's begin with its name.
        uris: by side.
    """

    folder: Path
    uris: dict[str, str]

    def said(self, words: str) -> dict[str, str]:
        """Run virsh on each side; return status and words, with the side's files alike."""
        found = {}
        for side, uri in self.uris.items():
            asked = words.format(folder=self.folder, side=side)
            done = run(need("virsh", "libvirt-clients"), "-c", uri, asked, timeout=120)
            text = f"{done.returncode}\n{done.stdout}{done.stderr}"
            found[side] = text.replace(f"{self.folder}/{side}", "FILE")
        return found


@pytest.fixture
def both(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Both]:
    """Hold polyvisord and libvirtd, each with a definition of the same guest in a file."""
    need("qemu-system-x86_64", "qemu-system-x86")
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "bench")
    from harness import Missing
    from libvirt_host import libvirt_host

    folder = own_home / "q"
    folder.mkdir()
    (folder / "channel.xml").write_text(CHANNEL)
    for side in ("a", "b"):
        (folder / f"{side}.iso").write_bytes(bytes(1 << 20))
        image = folder / f"{side}.qcow2"
        command = ["qemu-img", "create", "-q", "-f", "qcow2", str(image), "8M"]
        subprocess.run(command, check=True, timeout=60)
        (folder / f"{side}.xml").write_text(GUEST.format(image=image))
    try:
        with served(folder / "p") as daemon, libvirt_host(folder / "l", "host-q") as uri:
            uris = {"a": daemon.uri("qemu", "/system"), "b": uri}
            try:
                yield Both(folder, uris)
            finally:
                for one in uris.values():
                    run("virsh", "-c", one, "destroy", "g")
    except Missing as missing:
        pytest.skip(str(missing))


def test_what_virsh_prints_of_qemu_is_the_same(both: Both) -> None:
    """From definition to the end, word for word; of figures, the same names."""
    different = []
    for line in SAME.strip().splitlines():
        said = both.said(line)
        if said["a"] != said["b"]:
            different.append(f"{line}\n-- polyvisord {said['a']}-- libvirtd {said['b']}")
        if line == "start g":
            for words in NAMES:
                found = {side: names(text) for side, text in both.said(words).items()}
                assert found["a"] == found["b"], words
            for words in AGENT:
                heard = {
                    side: re.sub(r"(not responding: ).*", r"\1", text)
                    for side, text in both.said(words).items()
                }
                assert heard["a"] == heard["b"], words
            for words in OWN:
                asked = [*POLYVISOR, "-c", "qemu:///system", *words.split()]
                ours = run("env", f"POLYVISOR_CONFIG={both.folder}/p/polyvisor.toml", *asked)
                said = both.said(words)["a"].partition("\n")[2]
                shown = (ours.stdout + ours.stderr).replace(f"{both.folder}/a", "FILE")
                widths = re.compile("-{10,}")
                assert widths.sub("-", shown).split() == widths.sub("-", said).split(), words
    assert not different, "\n".join(different)


def names(text: str) -> set[str]:
    """Return the first words of lines, which are names of figures."""
    found = set()
    for line in text.splitlines():
        name = re.split(r"[=:]|\s{2,}|\s(?=[\d-])", line.strip())[0]
        found.add(name)
    return found
