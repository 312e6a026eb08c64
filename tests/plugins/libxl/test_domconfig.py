"""libxl's description of a guest: made of definitions, read from running guests."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polyvisor.errors import SpecError
from polyvisor.model import DomainSpec
from polyvisor.model.os import OsType
from polyvisor.testing.strategies import specs
from polyvisor_libxl.domconfig import HostFacts, from_json, normalised, to_json
from polyvisor_libxl.domconfig.cpuid import bit_of, features_of, policy_list

XML = """<domain type='xen'><name>a</name><memory unit='KiB'>65000</memory><vcpu>3</vcpu>
{before}<os><type>{kind}</type>{os}</os>{after}<devices>{devices}</devices></domain>"""


def spec(kind: str = "linux", devices: str = "", **parts: str) -> DomainSpec:
    """Return a small definition."""
    fields = {"before": "", "os": "", "after": ""} | parts
    return DomainSpec.from_xml(XML.format(kind=kind, devices=devices, **fields))


def made(kind: str = "linux", devices: str = "", **parts: str) -> dict[str, Any]:
    """Return what libxl gets of a small definition on a small host."""
    return to_json(spec(kind, devices, **parts), HostFacts(cpus=4, bridges={"net": "br7"}))


def test_a_guest_in_few_words() -> None:
    """Memory is in whole MiB, a bootloader finds the kernel, and shadow memory is computed."""
    assert made() == {
        "c_info": {"type": "pv", "name": "a"},
        "b_info": {
            "max_vcpus": 3,
            "avail_vcpus": [0, 1, 2],
            "max_memkb": 64 << 10,
            "target_memkb": 64 << 10,
            "shadow_memkb": 4 * (256 * 3 + 2 * 64),
            "sched_params": {},
            "bootloader": "pygrub",
            "type.pv": {},
        },
        "on_reboot": "restart",
    }


def test_pins() -> None:
    """Who is not pinned runs on all of the host's CPUs, or on those of the whole guest."""
    pin = "<cputune><shares>512</shares><vcpupin vcpu='1' cpuset='2-3'/></cputune>"
    build = made(before=pin)["b_info"]
    assert build["vcpu_hard_affinity"] == [[0, 1, 2, 3], [2, 3]]
    assert (build["numa_placement"], build["sched_params"]) == ("False", {"weight": 512})
    whole = spec(before=pin)
    whole = attrs.evolve(whole, vcpu=attrs.evolve(whole.vcpu, cpuset="1"))
    assert to_json(whole)["b_info"]["vcpu_hard_affinity"] == [[1], [2, 3], [1]]


@pytest.mark.parametrize(
    ("driver", "image", "backend"),
    [("qemu", "qcow2", "qdisk"), ("file", "raw", "qdisk"), ("phy", "raw", "phy"),
     ("tap", "raw", "tap"), ("tap2", "vhd", "tap"), ("tap", "qcow", "qdisk"),
     ("qemu", "qed", "qdisk")],
)  # fmt: skip
def test_backends_of_disks(driver: str, image: str, backend: str) -> None:
    """Each of libvirt's drivers leads to the backend that takes the image."""
    disk = (
        f"<disk type='file'><driver name='{driver}' type='{image}' discard='unmap'/>"
        "<source file='/a'/><target dev='xvda'/><backenddomain name='d'/></disk>"
    )
    assert made(devices=disk)["disks"] == [
        {
            "pdev_path": "/a",
            "vdev": "xvda",
            "backend": backend,
            "format": image,
            "removable": 1,
            "readwrite": 1,
            "discard_enable": "True",
            "backend_domname": "d",
        }
    ]


def test_an_empty_drive_is_empty() -> None:
    """A CD-ROM drive without a disc has libxl's format for that."""
    (disk,) = made("hvm", "<disk device='cdrom'><target dev='hdc'/></disk>")["disks"]
    assert (disk["format"], disk["is_cdrom"]) == ("empty", 1)
    assert "readwrite" not in disk


def test_a_disk_of_ceph_with_its_key() -> None:
    """Who asks goes into the text, with colons escaped; without the key it is refused."""
    disk = (
        "<disk type='network'><driver name='qemu'/><auth username='u:v'><secret type='ceph' "
        "usage='x'/></auth><source protocol='rbd' name='p/i'><host name='::1' port='6321'/>"
        "</source><target dev='xvda'/></disk>"
    )
    facts = HostFacts(secrets={"u:v": "a2V5"})
    (found,) = to_json(spec(devices=disk), facts)["disks"]
    assert found["pdev_path"] == (
        "rbd:p/i:id=u\\:v:key=a2V5:auth_supported=cephx\\;none:mon_host=[\\:\\:1]\\:6321"
    )
    with pytest.raises(SpecError, match="the key of 'u:v' is not known"):
        made(devices=disk)
    assert "a2V5" not in repr(facts)


def test_interfaces() -> None:
    """Emulated twins for HVM guests only; VLANs of Open vSwitch; rates; networks by bridge."""
    ovs = (
        "<interface type='bridge'><source bridge='b'/><mac address='00:16:3e:00:00:01'/>"
        "<virtualport type='openvswitch'/><vlan><tag id='42'/></vlan>"
        "<bandwidth><outbound average='100'/></bandwidth><target dev='v'/></interface>"
    )
    network = "<interface type='network'><source network='net'/><model type='e1000'/></interface>"
    first, second = made("hvm", ovs + network)["nics"]
    assert first == {
        "devid": 0,
        "mac": "00:16:3e:00:00:01",
        "bridge": "b.42",
        "ifname": "v",
        "script": "vif-openvswitch",
        "nictype": "vif_ioemu",
        "rate_bytes_per_interval": 100 * 1024 // 20,
        "rate_interval_usecs": 50_000,
    }
    assert (second["bridge"], second["model"]) == ("br7", "e1000")
    assert made(devices=ovs)["nics"][0]["nictype"] == "vif"
    with pytest.raises(SpecError, match="use 'netfront'"):
        made(devices=network)


def test_screens() -> None:
    """SPICE is preferred; ports that are not given are the host's free ones, in order."""
    vnc = "<graphics type='vnc' keymap='de'/><graphics type='vnc' port='5910'/>"
    config = to_json(spec("hvm", vnc), HostFacts(screen_ports=(5907,)))
    assert [vfb["vnc"]["display"] for vfb in config["vfbs"]] == [7, 10]
    assert config["b_info"]["type.hvm"]["keymap"] == "de"
    with pytest.raises(SpecError, match="no TCP port is free"):
        to_json(spec("hvm", vnc), HostFacts(screen_ports=()))
    spice = "<graphics type='spice' port='5900' passwd='p'><clipboard copypaste='yes'/></graphics>"
    assert made("hvm", spice)["b_info"]["type.hvm"]["spice"] == {
        "enable": "True",
        "port": 5900,
        "host": "127.0.0.1",
        "disable_ticketing": "False",
        "passwd": "p",
        "agent_mouse": "True",
        "vdagent": "True",
        "clipboard_sharing": "True",
    }


def test_host_devices() -> None:
    """PCI devices, also those that are interfaces; USB devices with controllers for them."""
    usb = "<hostdev type='usb'><source><address bus='1' device='{}'/></source></hostdev>"
    nic = (
        "<interface type='hostdev'><source><address type='pci' domain='0' bus='0x0a' "
        "slot='0x10' function='0x1'/></source></interface>"
    )
    config = made(devices=nic + "".join(usb.format(number) for number in range(1, 10)))
    assert config["pcidevs"] == [{"func": 1, "dev": 16, "bus": 10}]
    assert [one["devid"] for one in config["usbctrls"]] == [0, 1]
    assert config["usbdevs"][8] == {"type.hostdev": {"hostbus": 1, "hostaddr": 9}}
    with pytest.raises(SpecError, match="does not pass devices of type 'mdev'"):
        made(devices="<hostdev mode='subsystem' type='mdev' model='vfio-pci'/>")


def test_nested_virtualisation_is_a_kind_of_guest() -> None:
    """Virtualisation in guests is no bit; other features are, also those in an MSR."""
    cpu = (
        "<cpu mode='host-passthrough'><feature policy='{}' name='vmx'/>"
        "<feature policy='disable' name='pni'/><feature policy='require' name='rdcl-no'/></cpu>"
    )
    build = made("hvm", after=cpu.format("require"))["b_info"]
    assert build["nested_hvm"] == "True"
    assert build["cpuid"] == {
        "cpuid": [{"leaf": 1, "ecx": "x" * 31 + "0"}],
        "msr": [{"index": 0x10A, "policy": "x" * 63 + "1"}],
    }
    assert made("hvm", after=cpu.format("forbid"))["b_info"]["nested_hvm"] == "False"
    with pytest.raises(SpecError, match="knows no CPU feature 'flux'"):
        made("hvm", after=cpu.replace("pni", "flux").format("force"))


@given(st.dictionaries(st.sampled_from(
    ["sse3", "tm1", "avx512-vnni", "svm-npt", "rdcl-no", "its-no", "xsaves", "3dnow", "arat"]
), st.sampled_from("01")))  # fmt: skip
def test_features_come_back(features: dict[str, str]) -> None:
    """What is set bit by bit is found by name again."""
    bits = {bit_of(name): value for name, value in features.items()}
    assert None not in bits
    assert features_of(policy_list(bits)) == features


@pytest.mark.parametrize(
    ("kind", "devices", "parts", "fault"),
    [
        ("hvm", "<parallel type='pty'/>", {}, "no parallel ports"),
        ("hvm", "<sound model='usb'/>", {}, "no sound card 'usb'"),
        ("hvm", "<video><model type='vga' vram='1024'/></video>", {}, "at least 16384 KiB"),
        ("hvm", "<memballoon model='virtio'/>", {}, "use 'xen'"),
        ("linux", "<disk type='dir'><driver name='loop'/><target dev='xvda'/></disk>", {}, "loop"),
        ("linux", "<channel type='pty'><target type='xen'/></channel>", {}, "has no name"),
        ("linux", "", {"after": "<clock offset='timezone' timezone='x'/>"}, "use utc"),
        ("linux", "", {"after": "<clock><timer name='pit'/></clock>"}, "no timer 'pit'"),
    ],
)
def test_what_libxl_does_not_have(kind: str, devices: str, parts: Any, fault: str) -> None:
    """It is refused in words, with the element."""
    with pytest.raises(SpecError, match=fault) as caught:
        made(kind, devices, **parts)
    assert caught.value.element


def test_a_pool_of_cpus() -> None:
    """It stands where a definition names what part of the host a guest is in."""
    before = "<resource><partition>/cpupool/blue</partition></resource>"
    config = made(before=before)
    assert config["c_info"]["pool_name"] == "blue"
    assert from_json(config).resource.partition == "/cpupool/blue"
    assert "pool_name" not in made(before=before.replace("/cpupool", "/machine"))["c_info"]


def test_a_guest_made_by_xl() -> None:
    """What xl leaves in libxl is read: deprecated places, screens of the machine, soft resets."""
    config = {
        "c_info": {"type": "hvm", "name": "x", "run_hotplug_scripts": "True", "poolid": 0},
        "b_info": {
            "max_vcpus": 2,
            "avail_vcpus": [0],
            "max_memkb": 65536,
            "shadow_memkb": 5120,
            "max_grant_frames": 2**32 - 1,
            "type.hvm": {
                "apic": "False",
                "vnc": {"enable": "True", "listen": "0.0.0.0:1", "findunused": "True"},
                "vga": {"kind": "std"},
                "boot": "dc",
                "soundhw": "hda",
                "serial": "none",
            },
        },
        "disks": [{"vdev": "sda", "pdev_path": "/dev/a", "is_cdrom": 0, "readwrite": 1}],
        "nics": [{"devid": 0, "bridge": "b:1:2", "mac": "00:16:3E:00:00:01", "mtu": 1400}],
        "on_reboot": "soft_reset",
        "on_soft_reset": "soft_reset",
    }
    found = from_json(config)
    assert (found.vcpu.count, found.vcpu.current, found.on_reboot) == (2, 1, "restart")
    assert found.features.apic is None
    (screen,) = found.devices.graphics
    assert (screen.listens[0].address, screen.autoport) == ("0.0.0.0", True)
    assert found.os.boot == ("cdrom", "hd")
    (disk,) = found.devices.disks
    assert (disk.type, disk.target.bus, disk.driver.type) == ("block", "scsi", "raw")
    (nic,) = found.devices.interfaces
    assert ([tag.id for tag in nic.vlan.tags], nic.mtu) == ([1, 2], 1400)
    assert found.devices.sounds[0].model == "ich6"
    assert found.devices.videos[0].model.type == "vga"


def test_normal_forms() -> None:
    """Defaults go, and fields are where they are now; what says something stays."""
    assert normalised(
        {
            "b_info": {"type.pv": {"kernel": "/k", "slack_memkb": 0}, "arch_arm": {}, "cpuid": []},
            "nics": [{"devid": 0, "ip": "", "trusted": "<default>"}],
            "vkbs": [{"devid": -1}],
            "on_crash": "destroy",
        }
    ) == {"b_info": {"type.pv": {}, "kernel": "/k"}, "nics": [{"devid": 0}], "vkbs": [{}]}


@pytest.mark.parametrize(
    ("config", "place"),
    [
        ([], "the whole"),
        ({"c_info": {"name": "a"}}, "c_info.type"),
        ({"c_info": {"type": "lxc", "name": "a"}}, "c_info.type"),
        ({"c_info": {"type": "pv"}}, "c_info.name"),
        ({"c_info": {"type": "pv", "name": 3}}, "c_info.name"),
        ({"c_info": {"type": "pv", "name": "a"}}, "b_info.max_memkb"),
        ({"c_info": {"type": "pv", "name": "a"}, "b_info": 1}, "b_info"),
        ({"b_info": {"max_memkb": True}}, "b_info.max_memkb"),
        ({"b_info": {"max_vcpus": 2**31}}, "b_info.max_vcpus"),
        ({"b_info": {"avail_vcpus": ["a"]}}, "b_info.avail_vcpus"),
        ({"b_info": {"vcpu_hard_affinity": [[-1]]}}, "b_info.vcpu_hard_affinity[0].cpus"),
        ({"b_info": {"localtime": "yes"}}, "b_info.localtime"),
        ({"disks": [{}]}, "disks[0].vdev"),
        ({"disks": {}}, None),
        ({"disks": "a"}, "disks"),
        ({"disks": [{"vdev": "a"}] * 5000}, "disks"),
        ({"nics": [{"mac": "a"}]}, "nics[0].mac"),
        ({"nics": [{"ip": "a"}]}, "nics[0].ip"),
        ({"pcidevs": [{"dev": 32}]}, "pcidevs[0].dev"),
        ({"on_crash": "cry"}, "on_crash"),
    ],
)
def test_hostile_descriptions(config: Any, place: str | None) -> None:
    """Whatever has the wrong shape is named by its field."""
    if isinstance(config, dict) and "c_info" not in config:
        config["c_info"] = {"type": "pv", "name": "a"}
        config["b_info"] = {"max_memkb": 4096} | config.get("b_info", {})
    if place is None:
        assert from_json(config).name == "a"
        return
    with pytest.raises(SpecError) as caught:
        from_json(config)
    assert f", {place}: " in caught.value.message


def test_depths_are_refused() -> None:
    """A structure that is too deep is refused before it is walked."""
    deep: Any = 0
    for _ in range(500):
        deep = {"b_info": deep}
    with pytest.raises(SpecError, match="more than 16 deep"):
        from_json(deep)


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(specs())
def test_any_definition_is_made_or_refused(spec: DomainSpec) -> None:
    """What libxl can say of a definition comes back from libxl; it has one architecture."""
    kind = attrs.evolve(spec.os.type or OsType(), arch="x86_64")
    spec = attrs.evolve(spec, os=attrs.evolve(spec.os, type=kind))
    try:
        config = to_json(spec)
        found = from_json(json.loads(json.dumps(config)))
    except SpecError:
        return
    assert normalised(to_json(found)) == normalised(config)
