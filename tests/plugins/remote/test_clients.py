"""Other programs that speak to libvirt, with polyvisord in libvirtd's place."""

from __future__ import annotations

import os
import re
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from beside import running, virtual_screen, wait_for
from served import Served, need, run, served
from wire_client import WireClient

pytestmark = pytest.mark.real

UUID = "6695eb01-f6a4-8304-79aa-97f2502e193f"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Served]:
    """Return a daemon, with somebody connected so that the test driver's host stays."""
    with served(tmp_path / "h") as daemon, WireClient(daemon.socket, "test:///default"):
        yield daemon


def test_virt_install_imports_a_guest(host: Served, tmp_path: Path) -> None:
    """It defines and starts a guest with the disk that it was given, and says so."""
    image = tmp_path / "d.img"
    image.write_bytes(bytes(1 << 20))
    done = run(
        need("virt-install", "virtinst"),
        *("--connect", host.uri(), "--import", "--name", "new", "--memory", "64"),
        *("--vcpus", "2", "--disk", f"{image},format=raw", "--osinfo", "generic"),
        *("--graphics", "none", "--network", "network=default", "--noautoconsole"),
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Domain creation completed" in done.stdout
    virsh = need("virsh", "libvirt-clients")
    assert re.search(r"new +running", run(virsh, "-c", host.uri(), "list").stdout)
    listed = run(virsh, "-c", host.uri(), "domblklist", "new").stdout
    assert str(image) in listed
    assert "Max memory:     65536 KiB" in run(virsh, "-c", host.uri(), "dominfo", "new").stdout


def test_virt_install_prints_what_the_daemon_defines(host: Served, tmp_path: Path) -> None:
    """What it would define, of what the daemon says that it can, is defined as it is."""
    image, file = tmp_path / "d.img", tmp_path / "printed.xml"
    image.write_bytes(bytes(1 << 20))
    done = run(
        need("virt-install", "virtinst"),
        *("--connect", host.uri(), "--import", "--name", "printed", "--memory", "64"),
        *("--vcpus", "3", "--disk", f"{image},format=raw", "--osinfo", "generic"),
        *("--graphics", "none", "--network", "network=default", "--print-xml"),
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    file.write_text(done.stdout)
    virsh = need("virsh", "libvirt-clients")
    assert "printed" not in run(virsh, "-c", host.uri(), "list", "--all", "--name").stdout
    defined = run(virsh, "-c", host.uri(), "define", str(file))
    assert defined.returncode == 0, defined.stderr
    assert run(virsh, "-c", host.uri(), "vcpucount", "printed", "--config").stdout.strip() == "3"
    assert str(image) in run(virsh, "-c", host.uri(), "domblklist", "printed").stdout
    assert run(virsh, "-c", host.uri(), "undefine", "printed").returncode == 0


PERL = """use Sys::Virt;
my $host = Sys::Virt->new(uri => $ARGV[0]);
foreach my $domain ($host->list_all_domains()) {
  my $info = $domain->get_info();
  print join(" ", $domain->get_name(), $domain->get_uuid_string(), $info->{state},
    $info->{memory}, $info->{nrVirtCpu}), "\\n";
}
foreach my $one ($host->get_all_domain_stats(Sys::Virt::Domain::STATS_STATE)) {
  print "stats ", $one->{data}->{"state.state"}, "\\n";
}
foreach my $one ($host->list_all_networks()) { print "network ", $one->get_name(), "\\n"; }
"""


def test_sys_virt_lists_domains(host: Served) -> None:
    """Perl's binding tells names, figures, statistics and networks."""
    done = run(need("perl", "perl"), "-e", PERL, host.uri())
    if "Can't locate Sys/Virt.pm" in done.stderr:
        need("Sys::Virt", "libsys-virt-perl")
    assert done.stdout.splitlines() == [
        f"test {UUID} 1 2097152 2",
        "stats 1",
        "network default",
    ], done.stderr


def test_the_exporter_tells_prometheus(host: Served, tmp_path: Path) -> None:
    """A scrape has the domain with its memory and vCPUs, and says that all went well."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    exporter = need("prometheus-libvirt-exporter", "prometheus-libvirt-exporter")
    options = (f"--libvirt.uri={host.uri()}", f"--web.listen-address=127.0.0.1:{port}")
    with running(exporter, *options, log=tmp_path / "exporter.log"):

        def scrape() -> str | None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as told:
                    return str(told.read().decode())
            except OSError:
                return None

        told = wait_for(scrape, "answer of the exporter")
    figures = dict(line.rsplit(" ", 1) for line in told.splitlines() if line[:7] == "libvirt")
    which = f'{{domain="test",uuid="{UUID}"}}'
    assert figures["libvirt_up"] == "1", (tmp_path / "exporter.log").read_text()
    assert figures["libvirt_domains_number"] == "1"
    assert float(figures[f"libvirt_domain_info_memory_usage_bytes{which}"]) == 2 << 30
    assert figures[f"libvirt_domain_info_virtual_cpus{which}"] == "2"
    assert figures[f"libvirt_domain_state_code{which}"] == "1"


COLLECTD = """Hostname "h"
FQDNLookup false
Interval 1
BaseDir "{folder}"
PIDFile "{folder}/pid"
PluginDir "/usr/lib/collectd"
TypesDB "/usr/share/collectd/types.db"
LoadPlugin csv
LoadPlugin virt
<Plugin csv>
  DataDir "{folder}/csv"
</Plugin>
<Plugin virt>
  Connection "{uri}"
  RefreshInterval 1
  HostnameFormat name
  ExtraStats "domain_state memory"
</Plugin>
"""


def test_collectd_reads_figures(host: Served, tmp_path: Path) -> None:
    """Its plugin writes memory, time and state of the domain, again and again."""
    collectd = need("collectd", "collectd-core")
    (tmp_path / "conf").write_text(COLLECTD.format(folder=tmp_path, uri=host.uri()))
    folder = tmp_path / "csv" / "test" / "virt"

    def rows(name: str) -> list[str] | None:
        found = [line for file in folder.glob(f"{name}-*") for line in file.read_text().split()]
        return found[1:] if len(found) > 2 else None

    with running(collectd, "-f", "-C", str(tmp_path / "conf"), log=tmp_path / "log"):
        memory = wait_for(lambda: rows("memory-total"), "figure of memory")
        times = wait_for(lambda: rows("virt_cpu_total"), "figure of time")
        states = wait_for(lambda: rows("domain_state"), "state")
    assert all(float(row.split(",")[1]) == 2 << 30 for row in memory)
    assert len(times) >= 2
    assert all(row.split(",")[1].startswith("1.") for row in states)


def test_libvirt_dbus_has_objects(tmp_path: Path) -> None:
    """It finds polyvisord where libvirtd's socket is, and shows its domains on the bus."""
    service = need("libvirt-dbus", "libvirt-dbus")
    need("dbus-run-session", "dbus")
    need("gdbus", "libglib2.0-bin")
    need("unshare", "util-linux")
    if os.geteuid() != 0:
        pytest.skip("only root can put a socket where libvirtd's is, in a namespace of its own")
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    # Its test driver is libvirt's own, in its own process; so what it is shown is QEMU's.
    with served(tmp_path / "h", "--listen", f"unix:{run_dir}/libvirt-sock") as host:
        xml = tmp_path / "d.xml"
        xml.write_text(GUEST.format(name="d", graphics=""))
        virsh, uri = need("virsh", "libvirt-clients"), host.uri("qemu", "/session")
        assert run(virsh, "-c", uri, "define", str(xml)).returncode == 0
        uuid = run(virsh, "-c", uri, "domuuid", "d").stdout.strip()
        call = "gdbus call --session -d org.libvirt -o /org/libvirt/QEMU -m "
        script = (
            f"mkdir -p /run/libvirt && mount --bind {run_dir} /run/libvirt && "
            f"exec dbus-run-session -- sh -c '{service} --session & "
            f"gdbus wait --session --timeout 30 org.libvirt; "
            f"{call}org.libvirt.Connect.ListDomains 0; "
            f"{call}org.freedesktop.DBus.Properties.Get org.libvirt.Connect Hostname; kill $!'"
        )
        done = run("unshare", "--mount", "sh", "-c", script, timeout=120)
    domain = f"/org/libvirt/QEMU/domain/_{uuid.replace('-', '_')}"
    assert domain in done.stdout, done.stdout + done.stderr
    assert socket.gethostname() in done.stdout


GUEST = """<domain type='qemu'><name>{name}</name><memory unit='MiB'>16</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='pc'>hvm</type></os><devices>{graphics}</devices></domain>"""


def test_virt_viewer_shows_a_guests_screen(tmp_path: Path) -> None:
    """It asks polyvisord where the screen of a guest of QEMU is, and shows it."""
    need("qemu-system-x86_64", "qemu-system-x86")
    viewer = need("virt-viewer", "virt-viewer")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    graphics = f"<graphics type='vnc' port='{port}' autoport='no' listen='127.0.0.1'/>"
    graphics += "<video><model type='vga'/></video>"
    (tmp_path / "v.xml").write_text(GUEST.format(name="v", graphics=graphics))
    virsh = need("virsh", "libvirt-clients")
    with served(tmp_path / "h") as host, virtual_screen() as display:
        uri = host.uri("qemu", "/system")
        done = run(virsh, "-c", uri, "create", str(tmp_path / "v.xml"))
        assert done.returncode == 0, done.stderr
        try:
            settings = {"DISPLAY": display, "HOME": str(tmp_path), "GSETTINGS_BACKEND": "memory"}
            options = ("--connect", uri, "--debug", "v")
            log = tmp_path / "viewer.log"
            with running(viewer, *options, log=log, **settings):

                def shown() -> str | None:
                    found = re.search(r"desktop resize (\d+x\d+)", log.read_text())
                    return None if found is None else found[1]

                # What the firmware shows: text of 80 by 25.
                assert wait_for(shown, f"screen; {log}") == "720x400"
                assert f"Guest graphics address is 127.0.0.1:{port}" in log.read_text()
        finally:
            assert run(virsh, "-c", uri, "destroy", "v").returncode == 0
