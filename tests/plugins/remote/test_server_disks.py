"""What clients ask of disks, checkpoints, tuning groups and figures of devices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from wire_client import REMOTE, WireClient

from polyvisor_remote.wire import mapping, params

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Daemon

TEST = "test:///default"
INVALID_ARG, NO_SUPPORT, INVALID, UNSUPPORTED = 8, 3, 55, 84
LIVE, CONFIG = 1, 2
UNLIMITED = 9007199254740991

DISKS = """<domain type='test'><name>d</name><memory unit='MiB'>8</memory><vcpu>2</vcpu>
<os><type>hvm</type></os><devices>
<disk type='file'><source file='/x'/><target dev='vda' bus='virtio'/></disk>
<interface type='network'><mac address='52:54:00:aa:bb:cc'/><source network='default'/></interface>
</devices></domain>"""


def test_values_are_set_and_read_by_libvirts_names(daemon: Daemon) -> None:
    """Each group says how many values it has, gives them, and takes some of them."""
    with WireClient(daemon.path, TEST) as client:
        dom = client.call("domain_define_xml", DISKS).dom
        mac = "52:54:00:aa:bb:cc"
        groups = (
            ("memory_parameters", (), 3, {"hard_limit": 4096}, {"swap_hard_limit": UNLIMITED}),
            ("blkio_parameters", (), 6, {"weight": 500}, {"device_weight": ""}),
            ("numa_parameters", (), 2, {"numa_nodeset": "0", "numa_mode": 1}, {}),
            ("block_io_tune", ("vda",), 20, {"total_bytes_sec": 9}, {"group_name": ""}),
            ("interface_parameters", (mac,), 7, {"inbound.average": 7}, {"outbound.peak": 0}),
        )
        for name, device, count, given, unset in groups:
            told = client.call(f"domain_get_{name}", dom, *device, 0, CONFIG)
            assert (told.nparams, told.params) == (count, []), name
            client.call(f"domain_set_{name}", dom, *device, params(given), CONFIG)
            told = client.call(f"domain_get_{name}", dom, *device, count, CONFIG)
            found = mapping(told.params)
            assert len(found) == count
            assert {**found, **given, **unset} == found
        xml = client.call("domain_get_xml_desc", dom, 2).xml
        assert "<hard_limit unit='KiB'>4096</hard_limit>" in xml
        assert "<memory mode='preferred' nodeset='0'" in xml
        client.call("domain_set_memory_parameters", dom, params({"hard_limit": UNLIMITED}), 2)
        assert "hard_limit" not in client.call("domain_get_xml_desc", dom, 2).xml


def test_values_that_are_none_are_refused(daemon: Daemon) -> None:
    """Unknown names and words, both sides at once, a disk that is not there."""
    with WireClient(daemon.path, TEST) as client:
        dom = client.call("domain_define_xml", DISKS).dom
        refused = client.refused
        assert refused("domain_set_memory_parameters", dom, params({"x": 1}), 2).code == INVALID_ARG
        bad = params({"numa_mode": 9})
        assert refused("domain_set_numa_parameters", dom, bad, 2).code == INVALID_ARG
        assert refused("domain_get_blkio_parameters", dom, 6, 3).code == INVALID_ARG
        assert refused("domain_get_block_io_tune", dom, "vdz", 20, CONFIG).code
        assert refused("domain_get_memory_parameters", dom, 3, LIVE).code == INVALID
        assert refused("domain_get_memory_parameters", dom, 3, 64).code == INVALID_ARG


@pytest.mark.parametrize(
    ("procedure", "arguments"),
    [
        ("domain_get_block_info", ("vda", 0)),
        ("domain_block_pull", ("vda", 0, 0)),
        ("domain_block_commit", ("vda", None, None, 0, 0)),
        ("domain_block_rebase", ("vda", "/base", 0, 0)),
        ("domain_block_copy", ("vda", "<disk/>", [], 0)),
        ("domain_get_block_job_info", ("vda", 0)),
        ("domain_block_job_set_speed", ("vda", 1, 0)),
        ("domain_block_job_abort", ("vda", 0)),
        ("domain_block_resize", ("vda", 1, 0)),
        ("domain_get_time", (0,)),
        ("domain_set_time", (1, 0, 0)),
        ("domain_fsfreeze", ([], 0)),
        ("domain_fsthaw", ([], 0)),
        ("domain_fstrim", (None, 0, 0)),
        ("domain_get_fsinfo", (0,)),
        ("domain_get_guest_info", (0, 0)),
        ("domain_set_user_password", ("u", "p", 0)),
    ],
)
def test_what_a_driver_has_no_part_for(
    daemon: Daemon, procedure: str, arguments: tuple[object, ...]
) -> None:
    """The answer is libvirt's own word for it, with the function's name."""
    with WireClient(daemon.path, TEST) as client:
        dom = client.call("domain_lookup_by_name", "test").dom
        error = client.refused(procedure, dom, *arguments)
        assert error.code == NO_SUPPORT
        assert error.message.startswith("this function is not supported by the connection driver: ")


def test_figures_of_one_kind(daemon: Daemon) -> None:
    """Memory and vCPUs of a domain that runs; of none that does not."""
    with WireClient(daemon.path, TEST) as client:
        dom = client.call("domain_lookup_by_name", "test").dom
        assert dict(client.call("domain_memory_stats", dom, 16, 0).stats)[6] == 2097152
        told = client.call("domain_get_vcpus", dom, 8, 2)
        assert [one.number for one in told.info] == [0, 1]
        assert len(told.cpumaps) == 4
        found = client.call("domain_get_cpu_stats", dom, 4, -1, 1, 0)
        assert mapping(found.params)["cpu_time"] > 0
        assert client.refused("domain_get_cpu_stats", dom, 4, 0, 1, 0).code == NO_SUPPORT
        off = client.call("domain_define_xml", DISKS).dom
        assert client.refused("domain_memory_stats", off, 16, 0).code == INVALID
        assert client.refused("domain_get_vcpus", off, 8, 2).code == INVALID


def test_words_about_a_domain_are_an_event(daemon: Daemon) -> None:
    """Whoever asked with a number hears of titles and elements; the old way has no such event."""
    with WireClient(daemon.path, TEST) as client:
        dom = client.call("domain_lookup_by_name", "test").dom
        assert client.refused("connect_domain_event_register_any", 23).code
        client.call("connect_domain_event_callback_register_any", 23, None)
        client.call("domain_set_metadata", dom, 1, "words", None, None, 0)
        client.call("domain_set_metadata", dom, 2, "<a/>", "x", "urn:x", 0)
        heard = [client.event() for _ in range(2)]
        codec = REMOTE["domain_event_callback_metadata_change"].arguments.codec
        assert [codec.decode(one.payload)[2:] for one in heard] == [(1, None), (2, "urn:x")]


def test_snapshots_are_put_back(daemon: Daemon) -> None:
    """What one printed is defined anew, as current or not; their data may be left alone."""
    with WireClient(daemon.path, TEST) as client:
        dom = client.call("domain_lookup_by_name", "test").dom
        create = "domain_snapshot_create_xml"
        for name in ("a", "b"):
            client.call(create, dom, f"<domainsnapshot><name>{name}</name></domainsnapshot>", 0)
        b = client.call("domain_snapshot_lookup_by_name", dom, "b", 0).snap
        xml = client.call("domain_snapshot_get_xml_desc", b, 1).xml
        client.call("domain_snapshot_delete", b, 2)
        assert client.call("domain_snapshot_list_names", dom, 9, 0).names == ["a"]
        client.call(create, dom, xml, 1 | 2)
        assert client.call("domain_snapshot_current", dom, 0).snap.name == "b"
        assert client.call("domain_snapshot_get_parent", b, 0).snap.name == "a"
        assert client.call("domain_snapshot_get_xml_desc", b, 1).xml == xml
        assert client.call(create, dom, "<domainsnapshot><name>c</name></domainsnapshot>", 4)
        assert client.call("domain_snapshot_list_names", dom, 9, 0).names == ["a", "b"]
        assert client.refused(create, dom, xml, 1 | 4).code == INVALID_ARG
        assert client.refused(create, dom, "<domainsnapshot/>", 64).code == INVALID_ARG
        assert client.call("domain_snapshot_num", dom, 1 << 9).num == 0
        assert client.call("domain_snapshot_num", dom, 1 << 8).num == 2


def test_snapshots_and_checkpoints_exclude_each_other(daemon: Daemon) -> None:
    """Refused in libvirt's words, as are a name that there is and a parent that is missing."""
    point = "<domaincheckpoint><name>{}</name>{}</domaincheckpoint>"
    shot = "<domainsnapshot><name>{}</name></domainsnapshot>"
    with WireClient(daemon.path, TEST) as client:
        dom = client.call("domain_define_xml", DISKS).dom
        refused = client.refused
        first = client.call("domain_checkpoint_create_xml", dom, point.format("a", ""), 0)
        client.call("domain_checkpoint_create_xml", dom, point.format("b", ""), 0)
        again = refused("domain_checkpoint_create_xml", dom, point.format("a", ""), 0)
        assert again.message == "operation failed: domain moment a already exists"
        other = refused("domain_snapshot_create_xml", dom, shot.format("s"), 0)
        assert other.code == UNSUPPORTED
        assert "cannot create snapshot while checkpoint exists" in (other.message or "")
        lost = point.format("c", "<parent><name>no</name></parent><disks/>")
        missing = refused("domain_checkpoint_create_xml", dom, lost, 1)
        assert missing.message == "invalid argument: parent no for moment c not found"
        client.call("domain_checkpoint_delete", first.checkpoint, 1)
        assert client.call("domain_list_all_checkpoints", dom, 1, 0).ret == 0
        client.call("domain_snapshot_create_xml", dom, shot.format("s"), 0)
        other = refused("domain_checkpoint_create_xml", dom, point.format("a", ""), 0)
        assert "cannot create checkpoint while snapshot exists" in (other.message or "")


def test_what_is_not_counted_is_said_so(daemon: Daemon) -> None:
    """A disk and an interface without figures have -1 for each; others are not known."""
    with WireClient(daemon.path, TEST) as client:
        dom = client.call("domain_create_xml", DISKS, 0).dom
        assert set(client.call("domain_block_stats", dom, "vda")) == {-1}
        assert client.call("domain_block_stats_flags", dom, "/x", 0, 0).nparams == 0
        mac = "52:54:00:aa:bb:cc"
        assert set(client.call("domain_interface_stats", dom, mac)) == {-1}
        assert client.refused("domain_block_stats", dom, "vdz").code == INVALID_ARG
        assert client.refused("domain_interface_stats", dom, "vnet9").code == INVALID_ARG


SIM_GUEST = """<domain type='sim'><name>s</name><memory unit='MiB'>4</memory><vcpu>1</vcpu>
<os><type>hvm</type></os></domain>"""


def test_images_get_other_definitions(daemon: Daemon, tmp_path: Path) -> None:
    """A file and a managed image come back with the title that was put in, paused if said."""
    with WireClient(daemon.path, "sim:///default") as client:
        dom = client.call("domain_define_xml", SIM_GUEST).dom
        dom = client.call("domain_create_with_flags", dom, 0).dom
        image = str(tmp_path / "image")
        client.call("domain_save", dom, image)
        xml = client.call("domain_save_image_get_xml_desc", image, 1).xml
        titled = xml.replace("</name>", "</name><title>put in</title>", 1)
        client.call("domain_save_image_define_xml", image, titled, 4)
        client.call("domain_restore", image)
        assert "<title>put in</title>" in client.call("domain_get_xml_desc", dom, 0).xml
        assert client.call("domain_get_state", dom, 0).state == 3
        assert client.refused("domain_managed_save_define_xml", dom, titled, 0).code == INVALID
        client.call("domain_managed_save", dom, 0)
        other = titled.replace("put in", "put in again")
        client.call("domain_managed_save_define_xml", dom, other, 2)
        told = client.call("domain_managed_save_get_xml_desc", dom, 1).xml
        assert "<title>put in again</title>" in told
        client.call("domain_create", dom)
        assert client.call("domain_get_state", dom, 0).state == 1
        assert client.refused("domain_save_image_define_xml", image, titled, 6).code == INVALID_ARG
        client.call("domain_destroy", dom)


def test_configurations_in_a_hypervisors_own_language(daemon: Daemon) -> None:
    """They are read and written; a format that nobody knows is an error."""
    with WireClient(daemon.path, TEST) as client:
        text = 'name = "x"\nmemory = 64\nvcpus = 2\ntype = "pv"\nkernel = "/k"\n'
        xml = client.call("connect_domain_xml_from_native", "xen-xl", text, 0).domainXml
        assert "<name>x</name>" in xml
        back = client.call("connect_domain_xml_to_native", "xen-xl", xml, 0).nativeConfig
        assert 'kernel = "/k"' in back
        assert client.refused("connect_domain_xml_from_native", "nobodys", text, 0).code
