"""What virsh asks of a host, through polyvisord and through libvirtd on the same one."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from served import need, run
from test_virsh_qemu import Both, both

import polyvisor
from polyvisor.host import CpuMatch, GuestKind
from polyvisor.model.host_cpu import cpus_in

pytestmark = pytest.mark.real

__all__ = ["both"]

CPUS = {
    "minimum": "<cpu match='minimum'><model>Haswell-noTSX</model></cpu>",
    "kvm64": "<cpu><model>kvm64</model></cpu>",
    "qemu64": "<cpu mode='custom' match='exact'><model>qemu64</model></cpu>",
    "passthrough": "<cpu mode='host-passthrough'/>",
    "unknown": "<cpu><model>Nonesuch</model></cpu>",
    "odd": "<cpu><model>kvm64</model><feature name='nonesuch' policy='require'/></cpu>",
    "forbids": "<cpu><model>kvm64</model><feature name='cx8' policy='forbid'/></cpu>",
    "optional": "<cpu><model>kvm64</model><feature name='svm' policy='optional'/></cpu>",
    "arm": "<cpu><arch>aarch64</arch><model>cortex-a57</model></cpu>",
    "maker": "<cpu><arch>x86_64</arch><model>Penryn</model><vendor>Hygon</vendor></cpu>",
    "domain": "<domain type='qemu'><name>x</name><cpu><model>kvm64</model></cpu></domain>",
    "none": "<dog/>",
    "two": "<cpu><arch>x86_64</arch><model>Haswell-noTSX</model><vendor>Intel</vendor></cpu>"
    "<cpu><arch>x86_64</arch><model>Penryn</model><vendor>Intel</vendor>"
    "<feature name='x2apic'/></cpu>",
    "makers": "<cpu><arch>x86_64</arch><model>Opteron_G3</model><vendor>AMD</vendor></cpu>"
    "<cpu><arch>x86_64</arch><model>Penryn</model><vendor>Intel</vendor></cpu>",
}
#: How each is compared, and what several have in common found.
COMPARED = (
    "cpu-compare {file}",
    "cpu-compare {file} --error",
    "hypervisor-cpu-compare {file} --virttype qemu",
    "hypervisor-cpu-compare {file} --virttype qemu --error",
)
BASELINES = ("cpu-baseline {file}", "cpu-baseline {file} --features")

#: Said alike of the host's memory, but for how much is free at an instant.
MEMORY = (
    "freepages --all",
    "freepages --cellno 0 --pagesize 4KiB",
    "freepages --cellno -1 --pagesize 4KiB",
    "freepages --cellno 5 --pagesize 4KiB",
    "freepages --cellno 0 --pagesize 3MiB",
    "allocpages 4K 1",
    "allocpages 3M 1",
    "allocpages 3M 1 --cellno 0",
    "allocpages 2M 1 --cellno 77",
    "node-memory-tune",
)
KSM = Path("/sys/kernel/mm/ksm")
POOL = Path("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")

#: Said alike of devices, for which nothing of this machine's has to change.
DEVICES = (
    "nodedev-list",
    "nodedev-list --tree",
    "nodedev-list --cap pci",
    "nodedev-list --cap net,storage",
    "nodedev-dumpxml nope",
    "nodedev-detach pci_ffff_ff_1f_7",
    "nodedev-reset net_lo_00_00_00_00_00_00",
    "nodedev-reattach net_lo_00_00_00_00_00_00",
    "nodedev-destroy nope",
)

PYTHON = "/usr/bin/python3"
#: What a script of libvirt's binding notes; the same wherever it runs.
BINDING = """
import libvirt, sys
libvirt.registerErrorHandler(lambda *_: None, None)
host = libvirt.open(sys.argv[1])
def refused(call):
    try:
        print("no error", call())
    except libvirt.libvirtError as error:
        print(error.get_error_code(), error.get_error_message())
host_cpu = "<cpu><arch>x86_64</arch><model>{}</model><vendor>Intel</vendor></cpu>"
print(host.compareCPU("<cpu><model>kvm64</model></cpu>", 0))
print(host.compareHypervisorCPU(None, None, None, "qemu", "<cpu><model>qemu64</model></cpu>", 0))
refused(lambda: host.compareCPU("<cpu><model>none</model></cpu>", 0))
fail = libvirt.VIR_CONNECT_COMPARE_CPU_FAIL_INCOMPATIBLE
forbids = "<cpu><model>kvm64</model><feature name='cx8' policy='forbid'/></cpu>"
refused(lambda: host.compareCPU(forbids, fail))
print(host.baselineCPU([host_cpu.format("Haswell-noTSX"), host_cpu.format("Penryn")], 0))
print(host.baselineHypervisorCPU(None, None, None, "qemu", [host_cpu.format("Penryn")], 0))
print({cell: sorted(found) for cell, found in host.getFreePages([4, 2048], 0, 1).items()})
refused(lambda: host.getFreePages([3], 0, 1))
refused(lambda: host.allocPages({3072: 1}, 0, 1))
print(sorted(host.getMemoryParameters()))
refused(lambda: host.setMemoryParameters({"shm_full_scans": 1}))
for name in ("computer", "net_lo_00_00_00_00_00_00"):
    device = host.nodeDeviceLookupByName(name)
    print(device.name(), device.parent(), device.listCaps(), device.numOfCaps())
refused(device.reset)
refused(lambda: host.nodeDeviceLookupByName("nope"))
print(sorted(one.name() for one in host.listAllDevices(0)))
guest = "<domain type='qemu'><name>u</name><memory>4096</memory><os><type>hvm</type></os></domain>"
domain = host.defineXML(guest)
print(domain.isUpdated(), domain.setVcpusFlags(3, 6), domain.setVcpu("2", 0, 2))
refused(lambda: domain.setVcpu("0", 0, 2))
refused(lambda: domain.agentSetResponseTimeout(-3))
print(domain.undefine())
"""


def in_order(text: str) -> str:
    """Return what virsh said, with the features that it names in alphabetical order."""
    named = re.sub(
        r"(features: )(.*)", lambda found: found[1] + ", ".join(sorted(found[2].split(", "))), text
    )
    rows = re.findall(r"^ *<feature .*\n", named, re.MULTILINE)
    return re.sub(r"^ *<feature .*\n", "", named, flags=re.MULTILINE) + "".join(sorted(rows))


def test_cpus_are_compared_and_joined(both: Both) -> None:
    """Each is to the host, and to what guests can have, what libvirtd says; the same in common."""
    files = {}
    for name, xml in CPUS.items():
        files[name] = both.folder / f"cpu-{name}.xml"
        files[name].write_text(xml)
    for name, file in files.items():
        for words in (*COMPARED, *BASELINES):
            # Of other architectures' CPUs QEMU tells nothing, and virsh compares one at a time.
            if name == "arm" if words in BASELINES else name in ("two", "makers"):
                continue
            said = both.said(words.format(file=file))
            assert in_order(said["a"]) == in_order(said["b"]), (name, words)
    assert "superset" in both.said(COMPARED[0].format(file=files["kvm64"]))["a"]
    assert "<model fallback='allow'>Penryn" in both.said(f"cpu-baseline {files['two']}")["a"]


def test_each_knows_the_others_host(both: Both) -> None:
    """The CPU in the capabilities of either is identical to the host's, to both."""
    for side in both.uris:
        told = both.said("capabilities")[side]
        file = both.folder / f"host-{side}.xml"
        file.write_text(told.partition("\n")[2])
        said = both.said(f"cpu-compare {file}")
        assert "is identical to host CPU" in said["a"], side
        assert said["a"] == said["b"]


def test_our_client_compares(both: Both) -> None:
    """Through either daemon it says how CPUs stand to each other, and why."""
    for uri in both.uris.values():
        with polyvisor.open(uri) as host:
            found = host.compare_cpu(CPUS["kvm64"])
            assert (found.match, found.reason) == (CpuMatch.SUPERSET, "")
            refused = host.compare_cpu(CPUS["forbids"], guests=GuestKind(kind="qemu"))
            assert refused.match is CpuMatch.INCOMPATIBLE
            assert refused.reason == "Host CPU provides forbidden features: cx8"
            common = host.baseline_cpu(cpus_in(CPUS["two"]), migratable=True)
            assert common.model is not None
            assert (common.model.name, common.vendor) == ("Penryn", "Intel")
            with pytest.raises(polyvisor.PolyvisorError, match="Unknown CPU model"):
                host.compare_cpu(CPUS["unknown"])


def test_the_command_line_compares_as_virsh_does(both: Both) -> None:
    """Word for word."""
    for name in ("minimum", "forbids", "passthrough", "none", "domain"):
        file = both.folder / f"cpu-{name}.xml"
        file.write_text(CPUS[name])
        for words in (f"cpu-compare {file}", f"hypervisor-cpu-compare {file} --virttype qemu"):
            theirs = both.said(words)["b"]
            uri = both.uris["a"]
            done = run(sys.executable, "-m", "polyvisor", "-c", uri, *words.split())
            ours = f"{done.returncode}\n{done.stdout}{done.stderr.removeprefix('polyvisor: ')}"
            assert ours.split() == theirs.split(), words


def test_a_file_may_hold_several(tmp_path: Path) -> None:
    """What stands in domains and in capabilities is found, in its order."""
    text = (
        "<?xml version='1.0'?>\n<domain><name>a</name><cpu><model>kvm64</model></cpu></domain>"
        "<cpu><model>qemu64</model></cpu>"
        "<domainCapabilities><cpu><mode name='maximum' supported='yes'/>"
        "<mode name='host-model' supported='yes'><model>EPYC</model></mode></cpu>"
        "</domainCapabilities><other/>"
    )
    models = [re.search(r"<model>(.*?)</model>", one) for one in cpus_in(text)]
    assert [one[1] for one in models if one is not None] == ["kvm64", "qemu64", "EPYC"]


def counts(text: str) -> str:
    """Return what virsh said with no number of pages that are free."""
    return re.sub(r"(KiB: )\d+", r"\1N", text)


def test_memory_of_the_host_is_told_alike(both: Both) -> None:
    """Pages by their size, and what merges equal ones; what cannot be is refused alike."""
    for words in MEMORY:
        said = both.said(words)
        assert counts(said["a"]) == counts(said["b"]), words
    assert "4KiB: N" in counts(both.said(MEMORY[0])["a"])


def test_what_the_kernel_is_told(both: Both) -> None:
    """Huge pages are kept and merging is set as virsh and our client say, and undone."""
    if not (POOL.exists() and KSM.is_dir()):
        pytest.skip("this kernel has no huge pages, or does not merge equal ones")
    scan = KSM / "pages_to_scan"
    pages, scanned = POOL.read_text(), scan.read_text()
    more = int(scanned) + 1
    try:
        assert both.said("allocpages 2M 0")["a"] == both.said("allocpages 2M 0")["b"]
        virsh = ("virsh", "-c", both.uris["a"])
        assert run(*virsh, "allocpages", "2M", "2", "--cellno", "0").stderr == ""
        assert int(POOL.read_text()) == 2
        assert run(*virsh, "allocpages", "2M", "1", "--add").stderr == ""
        assert int(POOL.read_text()) == 3
        assert run(*virsh, "node-memory-tune", "--shm-pages-to-scan", str(more)).stderr == ""
        for uri in both.uris.values():
            with polyvisor.open(uri) as host:
                assert host.memory_sharing()["pages_to_scan"] == more
                host.reserve_pages(2 << 20, 1)
                host.reserve_pages(2 << 20, 2, add=True)
                assert int(POOL.read_text()) == 3
                host.reserve_pages(2 << 20, 1)
                assert int(POOL.read_text()) == 1
                host.set_memory_sharing({"pages_to_scan": more + 1})
                assert int(scan.read_text()) == more + 1
                host.set_memory_sharing({"pages_to_scan": more})
                free = host.free_pages(0)
                assert list(free) == sorted(free)
                assert free[2 << 20] == 1
    finally:
        POOL.write_text(pages)
        scan.write_text(scanned)


def test_the_command_line_tells_of_memory_as_virsh_does(both: Both) -> None:
    """Word for word, but for how much is free."""
    for words in (*MEMORY[:2], "node-memory-tune"):
        done = run(sys.executable, "-m", "polyvisor", "-c", both.uris["a"], *words.split())
        ours = f"{done.returncode}\n{done.stdout}{done.stderr}"
        assert counts(ours).split() == counts(both.said(words)["b"]).split(), words


def described(text: str) -> str:
    """Return what virsh said of a device, without what is not told alike.

    Those are links of PCI Express, which are in no file of the kernel's; an offload of cards for
    which libvirt asks in another way; a speed of -1; and hardware of which nothing is known.
    """
    text = re.sub(r" *<pci-express.*?(/>|</pci-express>)\n", "", text, flags=re.DOTALL)
    text = re.sub(r" *<feature name='(txudptnl|switchdev|rdma)'/>\n", "", text)
    text = re.sub(r" speed='\d+'", "", text)
    text = re.sub(r" *<uuid>0{8}-.*</uuid>\n", "", text)
    return re.sub(r"<(\w+)>\s*</\1>", r"<\1/>", text)


def test_devices_are_told_alike(both: Both) -> None:
    """The same ones, with the same names, places and facts."""
    for words in DEVICES:
        said = both.said(words)
        assert said["a"] == said["b"], words
    names = both.said("nodedev-list")["b"].split()[1:]
    assert "computer" in names
    for name in names:
        said = both.said(f"nodedev-dumpxml {name}")
        assert described(said["a"]) == described(said["b"]), name


def test_our_client_knows_the_same_devices(both: Both) -> None:
    """Behind either daemon; what is none of PCI is not reset."""
    found = {}
    for side, uri in both.uris.items():
        with polyvisor.open(uri) as host:
            found[side] = {one.name: one.parent for one in host.node_devices}
            with pytest.raises(polyvisor.PolyvisorError, match="not a PCI device"):
                host.node_devices["net_lo_00_00_00_00_00_00"].reset()
            with pytest.raises(polyvisor.PolyvisorError, match="Unsupported device type"):
                host.node_devices["net_lo_00_00_00_00_00_00"].destroy()
    assert found["a"] == found["b"]


def test_volumes_are_wiped_with_zeros(both: Both) -> None:
    """Which is how it is done when nobody says how, and all that we do; both say so."""
    for side in both.uris:
        (both.folder / f"{side}pool").mkdir()
    for words in (
        "pool-create-as p dir --target {folder}/{side}pool",
        "vol-create-as p v 4096",
        "vol-wipe v --pool p --algorithm zero",
    ):
        if words.startswith("vol-wipe"):
            for side in both.uris:
                (both.folder / f"{side}pool/v").write_bytes(b"x" * 4096)
        said = both.said(words)
        assert said["a"] == said["b"], words
    for side in both.uris:
        assert (both.folder / f"{side}pool/v").read_bytes() == bytes(4096)
    assert "with zeros" in both.said("vol-wipe v --pool p --algorithm random")["a"]


def test_the_binding_says_the_same(both: Both) -> None:
    """Libvirt's own for Python on either daemon, and our module in its place."""
    need(PYTHON, "python3")
    if run(PYTHON, "-c", "import libvirt").returncode:
        need("python3-libvirt", "python3-libvirt")
    contrib = str(Path(__file__).parents[3] / "contrib/libvirt-python")
    ours = f"import sys; sys.path.insert(0, {contrib!r})\n{BINDING}"
    said = {
        "a": run(PYTHON, "-c", BINDING, both.uris["a"]),
        "b": run(PYTHON, "-c", BINDING, both.uris["b"]),
        "module": run(sys.executable, "-c", ours, both.uris["a"]),
    }
    for who, done in said.items():
        assert done.returncode == 0, (who, done.stderr)
        assert done.stdout == said["b"].stdout, who
