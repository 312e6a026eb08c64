"""``xen-xl`` and ``xen-xm``: what keys mean, what comes back, and what is refused."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polyvisor import native
from polyvisor.errors import SpecError
from polyvisor.model import DomainSpec
from polyvisor.testing.strategies import specs
from polyvisor_libxl.config.diskspec import parse_disk
from polyvisor_libxl.config.xl import XlFormat
from polyvisor_libxl.config.xm import XmFormat

XL, XM = XlFormat(), XmFormat()
PV = 'name = "a"\nmemory = 64\n'
HVM = f'{PV}builder = "hvm"\n'


def xl(text: str) -> DomainSpec:
    """Return the definition of a configuration of xl."""
    return XL.read(text.encode(), path="a.cfg")


def again(text: str) -> str:
    """Return a configuration of xl, read and written."""
    return XL.write(xl(text))


def test_both_formats_are_announced() -> None:
    """They are found by name, and by what a file says."""
    assert isinstance(native.open_format("xen-xl"), XlFormat)
    assert isinstance(native.open_format("xen-xm"), XmFormat)
    assert native.identify(PV.encode(), path="a.cfg").name == "xen-xl"
    assert native.identify(PV.encode(), path="a.xm").name == "xen-xm"
    for other in (b"<domain><name>a</name></domain>", b"", b"memory = 3", b'{"name": "a"}'):
        assert not XL.recognises(other)


def test_a_guest_in_few_words() -> None:
    """What is not said has the defaults of xl and of libvirt."""
    spec = xl(PV)
    assert (spec.type, spec.name, spec.uuid) == ("xen", "a", None)
    assert spec.memory == spec.current_memory == 64 << 20
    assert (spec.vcpus, spec.on_crash, spec.on_reboot) == (1, "restart", "restart")
    assert spec.os.machine == "xenpv"
    assert [console.type for console in spec.devices.consoles] == ["pty"]


@pytest.mark.parametrize(
    ("text", "machine"),
    [("type = 'pvh'", "xenpvh"), ("type = 'pv'", "xenpv"), ("type = 'hvm'", "xenfv"),
     ("builder = 'hvm'", "xenfv"), ("builder = 'generic'", "xenpv")],
)  # fmt: skip
def test_kinds_of_guests(text: str, machine: str) -> None:
    """``type`` says what it is; so did ``builder``."""
    assert xl(PV + text).os.machine == machine


def test_memory_and_cpus() -> None:
    """Limits above what there is at the start, CPUs to run on for all or for each."""
    spec = xl(f"{PV}maxmem = 128\nvcpus = 2\nmaxvcpus = 4\ncpus = '0-3,^1'")
    assert (spec.memory, spec.current_memory) == (128 << 20, 64 << 20)
    assert (spec.vcpu.count, spec.vcpus, spec.vcpu.cpuset) == (4, 2, "0,2-3")
    each = f"{PV}vcpus = 3\ncpus = ['2', 'all', '0-1']"
    pins = xl(each).cputune.vcpupins
    assert [(pin.vcpu, pin.cpuset) for pin in pins] == [(0, "2"), (2, "0-1")]
    assert 'cpus = [ "2", "all", "0-1" ]' in again(each)
    assert xl(f"{PV}cpus = 'all'").vcpu.cpuset is None


@pytest.mark.parametrize(
    "line",
    [
        "tsc_mode = \"native\"", "passthrough = \"disabled\"", "passthrough = \"sync_pt\"",
        "on_crash = \"coredump-restart\"", "localtime = 1", "max_grant_frames = 64",
        'vif = [ "mac=00:16:3e:01:02:03,bridge=br0.42,script=vif-openvswitch" ]',
        'vif = [ "script=vif-route,ip=10.0.0.1 ::1,backend=net,rate=100KB/s" ]',
        'pci = [ "0000:01:1f.7,permissive=0" ]',
        'usbdev = [ "hostbus=1,hostaddr=1f", "hostbus=0,hostaddr=3" ]',
        'usbctrl = [ "type=qusb,version=1,ports=a" ]',
        'channel = [ "connection=pty,name=a", "connection=socket,path=/a,name=b" ]',
        'vfb = [ "type=vnc,vncunused=0,vncdisplay=3,vnclisten=::1,keymap=de" ]',
        'vfb = [ "type=sdl,display=:0,xauthority=/a" ]',
        'disk = [ "format=vhd,vdev=xvda,access=!,backendtype=tap,backend=b,discard,target=/a" ]',
        'disk = [ "format=raw,vdev=xvdb,access=rw,backendtype=qdisk,target=rbd:p/i@s'
        ':auth_supported=none:mon_host=[a\\\\:\\\\:1]\\\\:1\\\\;b:conf=/c" ]',
        'disk = [ "format=raw,vdev=xvdb,access=rw,backendtype=qdisk,target=rbd:p/i'
        ':auth_supported=none:mon_host=[a]b\\\\:c]\\\\:1" ]',
        'device_model_args = [ "-a", "b c" ]', 'bootargs = "--a b"',
    ],
)  # fmt: skip
def test_what_is_read_is_written(line: str) -> None:
    """Each of these comes back word by word, of a guest without a machine of its own."""
    text = f'{PV}bootloader = "pygrub"\n{line}\n'
    assert line in again(text).splitlines()


@pytest.mark.parametrize(
    "line",
    [
        "hap = 0", "hpet = 0", "viridian = 1", "rtc_timeoffset = -3600", 'boot = "ndca"',
        'serial = [ "none", "tcp:a:1,server,nowait", "udp:a:1@:2", "unix:/a", "file:/b" ]',
        'serial = "telnet:127.0.0.1:1"', 'parallel = "/dev/lp0"', 'soundhw = "ich6,ac97"',
        'usbdevice = [ "mouse", "tablet" ]', 'vga = "stdvga"', "videoram = 64",
        'vif = [ "mac=00:16:3e:01:02:03,bridge=b,script=s,type=vif" ]', "nestedhvm = 0",
        'bios = "ovmf"', 'cpuid = "host,sse3=0,tm=x"', "spiceport = 1",
        'disk = [ "format=raw,vdev=hdc,access=ro,backendtype=qdisk,devtype=cdrom" ]',
        "vncdisplay = 4", 'keymap = "de"', "sdl = 1",
    ],
)  # fmt: skip
def test_what_is_read_of_a_whole_machine_is_written(line: str) -> None:
    """Each of these comes back word by word, of an HVM guest."""
    shown = {
        "s": "vnc = 1\nvncunused = 0\n" if not line.startswith("sdl") else "",
        "p": "spice = 1\nspicedisable_ticketing = 1\n",
    }
    before = shown["p"] if line.startswith("spice") else shown["s"]
    assert line in again(f"{HVM}{before}{line}\n").splitlines()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("/a,raw,xvda,rw", ("/a", "raw", "xvda", True, None, False)),
        ("/a,,hda,,backendtype=phy", ("/a", "raw", "hda", True, "phy", False)),
        ("phy:/dev/a,xvda,r", ("/dev/a", None, "xvda", False, None, False)),
        ("tap:qcow2:/a,xvda,w", ("/a", "qcow2", "xvda", True, None, False)),
        (",hdc:cdrom", ("", "empty", "hdc", False, None, True)),
        ("/a,raw,hdc:cdrom,r", ("/a", "raw", "hdc", False, None, True)),
        ("vdev=xvda, cdrom", (None, "empty", "xvda", False, None, True)),
        ("vdev=xvda,target=/a,b=c ", ("/a,b=c ", None, "xvda", True, None, False)),
        ("format=qcow2, /a, xvda, ro", ("/a", "qcow2", "xvda", False, None, False)),
    ],
)
def test_disks_of_xl(text: str, said: tuple[object, ...]) -> None:
    """Parts by position and by name, flags, older prefixes, and a target with commas."""

    def fail(fault: str) -> None:
        raise AssertionError(fault)

    disk = parse_disk(text, fail)
    shown = (disk.target, disk.format, disk.vdev, disk.writable, disk.backend, disk.cdrom)
    assert shown == said


@pytest.mark.parametrize(
    ("text", "line", "fault"),
    [
        ("memory = 3", None, "the guest has no name"),
        (f"{PV}memory = 'much'", 3, "should be a number from 1"),
        (f"{PV}vcpus = 0", 3, "should be a number from 1"),
        (f"{PV}cpus = '3-1'", 3, "is not a set of CPUs"),
        (f"{PV}uuid = 'x'", 3, "is not a UUID"),
        (f"{PV}type = 'vm'", 3, "can be pv, pvh, hvm"),
        (f"{PV}on_crash = 'cry'", 3, "can be destroy, restart"),
        (f"{PV}vif = [ 'mac=1',\n 'bridge' ]", 3, "is not a MAC address"),
        (f"{PV}vif = [ '',\n 'bridge' ]", 4, "not of the form name=value"),
        (f"{PV}vif = [ 'rate=fast' ]", 3, "is not a rate"),
        (f"{PV}vif = [ 'ip=1.2.3' ]", 3, "is not an IP address"),
        (f"{PV}disk = [ '/a' ]", 3, "add vdev=NAME"),
        (f"{PV}disk = [ 'vdev=xvda' ]", 3, "add target=FILE"),
        (f"{PV}disk = [ '/a,zip,xvda' ]", 3, "format is 'zip'"),
        (f"{PV}disk = [ '/a,raw,xvda,w,script=x' ]", 3, "no place for 'script'"),
        (f"{PV}disk = [ '/a,raw,xvda,w,x' ]", 3, "more parts than"),
        (f"{PV}disk = [ 'iscsi:/a,xvda' ]", 3, "needs a script"),
        (f"{PV}pci = [ '1.2' ]", 3, "is not the place of a PCI device"),
        (f"{PV}pci = [ '00:3f.0' ]", 3, "slots up to 1f"),
        (f"{PV}usbdev = [ 'hostbus=1' ]", 3, "does not say hostbus and hostaddr"),
        (f"{PV}channel = [ 'connection=tcp' ]", 3, "can be pty or socket"),
        (f"{PV}cpuid = '1:eax=x'", 3, "should begin with 'host'"),
        (f"{PV}vnuma = [ [ 'pnode=0', 'size=1' ] ]", 3, "does not say its vcpus"),
        (f"{PV}vnuma = [ [ 'pnode=0', 'size=1', 'vcpus=0', 'vdistances=1,2' ] ]", 3, "not 1"),
        (f"{HVM}serial = 'tcp:a'", 4, "has no port"),
        (f"{HVM}serial = 'magic:a'", 4, "is no kind of character device"),
        (f"{HVM}soundhw = 'horn'", 4, "'horn' can be"),
        (f"{HVM}spice = 1", 4, "needs spicedisable_ticketing"),
        (f"name = '{'x' * 300}'", None, "longer than"),
    ],
)
def test_what_is_refused(text: str, line: int | None, fault: str) -> None:
    """What no definition can say, or xl would not take, is named with file and line."""
    with pytest.raises(SpecError) as caught:
        xl(text)
    assert caught.value.line == line
    assert fault in caught.value.message
    assert caught.value.message.startswith("a.cfg:")


XML = """<domain type='xen'><name>a</name><memory unit='MiB'>64</memory>
<os><type>{kind}</type></os><devices>{devices}</devices></domain>"""


@pytest.mark.parametrize(
    ("kind", "devices", "fault"),
    [
        ("linux", "<interface type='user'/>", "use type 'bridge'"),
        ("linux", "<interface type='network'><source network='n'/></interface>", "'network'"),
        ("linux", "<disk type='network'><source protocol='nbd' name='x'/><target dev='xvda'/>"
         "</disk>", "do not speak 'nbd'"),
        ("linux", "<disk><source file='/a'/><target dev='xvda'/><transient/></disk>", "forget"),
        ("linux", "<controller type='usb' model='nec-xhci'/>", "use qusb1 or qusb2"),
        ("linux", "<hostdev type='usb'><source><vendor id='0x1'/><product id='0x2'/></source>"
         "</hostdev>", "by bus and device"),
        ("hvm", "<serial type='spiceport'><source channel='a'/></serial>", "takes null"),
        ("hvm", "<graphics type='rdp'/>", "use vnc"),
        ("hvm", "<video><model type='vmvga'/></video>", "no video card 'vmvga'"),
    ],
)  # fmt: skip
def test_what_cannot_be_written(kind: str, devices: str, fault: str) -> None:
    """What Xen does not have is refused in words, not left out."""
    spec = DomainSpec.from_xml(XML.format(kind=kind, devices=devices))
    with pytest.raises(SpecError, match=fault):
        XL.write(spec)


def test_xm_has_what_it_had() -> None:
    """One serial port, drivers before the source of disks, and three quotes."""
    text = f'{HVM}kernel = "/hvmloader"\ndisk = [ "tap:qcow2:/a,ioemu:hda,w!", "/dev/b,hdb,ro" ]\n'
    spec = XM.read(text.encode(), path="a")
    first, second = spec.devices.disks
    assert (first.driver.name, first.driver.type, first.shareable) == ("tap", "qcow2", True)
    assert (second.type, second.readonly) == ("block", True)
    assert 'disk = [ "tap:qcow2:/a,hda,!", "phy:/dev/b,hdb,r" ]' in XM.write(spec)
    named = attrs.evolve(spec, devices=attrs.evolve(spec.devices, emulator="/a'b\"c"))
    assert 'device_model_override = """/a\'b"c"""' in XM.write(named)
    for wrong, fault in (
        ("serial = ['pty']", "xm had one serial port"),
        ("disk = ['/a']", "should say source, name and mode"),
        ("disk = ['tap:/a,hda,w']", "does not say its format"),
    ):
        with pytest.raises(SpecError, match=fault):
            XM.read(f"{text}{wrong}".encode(), path="a")


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(specs())
def test_any_definition_is_written_or_refused(spec: DomainSpec) -> None:
    """A definition that nobody would think of gives a configuration that reads as itself.

    At the second time: what has no place in a configuration, such as a processor of 32
    bits, is another one by then.
    """
    for format_ in (XL, XM):
        try:
            text = format_.write(spec)
            text = format_.write(format_.read(text.encode(), path="a"))
        except SpecError:
            continue
        assert format_.write(format_.read(text.encode(), path="a")) == text


_PIECES = st.sampled_from(
    [line.strip() + "\n" for line in (
        'disk = [ "/a,raw,xvda,rw", "/b,qcow2,sda,ro" ]',
        'vif = [ "bridge=b,script=s", "ip=1.2.3.4" ]',
        "vcpus = 4", "vcpus = 2", "maxvcpus = 6", 'cpuid = "host,tm=0"', "nestedhvm = 1",
        'pci = [ "1:2.3" ]', 'type = "pvh"', 'builder = "hvm"', 'kernel = "/k"', "hap = 1",
        'root = "/dev/a"', 'extra = "b"', 'cmdline = "c"', 'vfb = [ "type=vnc" ]', "vnc = 1",
        "spice = 1\nspicedisable_ticketing = 1", 'usbdevice = "tablet"', 'serial = "pty"',
        'vnuma = [ [ "pnode=0", "size=64", "vcpus=0", "vdistances=10" ] ]', 'vga = "qxl"',
        'tsc_mode = "3"', "e820_host = 1", "rtc_timeoffset = 4294967295", "maxmem = 512",
    )]
)  # fmt: skip


@given(st.lists(_PIECES, max_size=8))
def test_any_lines_together(lines: list[str]) -> None:
    """Whatever keys meet: what is read is written, and that is read as the same."""
    spec = xl(PV + "".join(lines))
    text = XL.write(spec)
    assert xl(text) == spec
