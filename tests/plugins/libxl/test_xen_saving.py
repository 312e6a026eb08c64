"""Saving and restoring on Xen, where something fails or others take part."""

from __future__ import annotations

import struct
import threading

import pytest

from polyvisor import saveimage
from polyvisor.driver import SaveOptions
from polyvisor.errors import Cancelled, HypervisorError, PolyvisorError, SaveImageError
from polyvisor.jobs import Job
from polyvisor.states import DomainState
from polyvisor_libxl.streams import compose


def test_the_header_says_what_libxl_writes(domain, tmp_path):
    """An image is libvirt's, of version 2, with the definition and its NUL."""
    image = tmp_path / "image"
    domain.save(image)
    head = image.read_bytes()[:64]
    magic, version, length = struct.unpack_from("=16sII", head)
    assert (magic, version) == (b"libvirt-xml\n \0 \r", 2)
    xml = image.read_bytes()[64 : 64 + length]
    assert xml.endswith(b"\0")
    assert b"<name>guest</name>" in xml
    assert image.read_bytes()[64 + length :].startswith(b"LibxlFmt")


@pytest.mark.parametrize("fault", ["libxl_domain_suspend -8", "stream -3"])
def test_a_failed_save_leaves_it_running(domain, hosts, tmp_path, fault):
    """Whether libxl fails before or in the stream, the guest counts on and the image is whole."""
    image = tmp_path / "image"
    image.write_bytes(b"earlier")
    hosts.fault(fault)
    with pytest.raises(HypervisorError, match="ERROR_"):
        domain.save(image)
    assert domain.state is DomainState.RUNNING
    assert hosts.counts_on(domain)
    assert image.read_bytes() == b"earlier"


def test_a_failed_save_leaves_it_paused(domain, hosts, tmp_path):
    """A paused guest, which is woken to be saved, is paused again if that fails."""
    domain.suspend()
    hosts.fault("stream -3")
    with pytest.raises(HypervisorError):
        domain.save(tmp_path / "image")
    assert domain.state is DomainState.PAUSED
    hosts.fault()
    domain.resume()
    assert hosts.counts_on(domain)


def test_a_failed_restore_keeps_the_image(domain, host, hosts, tmp_path):
    """The image stays and can be restored later."""
    image = tmp_path / "image"
    domain.save(image)
    hosts.fault("libxl_domain_create_restore -3")
    with pytest.raises(HypervisorError, match="ERROR_FAIL"):
        host.domains.restore(image)
    assert domain.state is DomainState.SHUTOFF
    hosts.fault()
    host.domains.restore(image)
    assert hosts.counts_on(domain)


@pytest.mark.parametrize("version", [1, 2])
def test_a_restore_is_cancelled(domain, host, hosts, tmp_path, version):
    """Libxl is given the end of the stream instead of a word; the image can be restored later."""
    image = tmp_path / "image"
    domain.save(image)
    if version == 1:
        labelled(image, 1, compose.legacy(compose.Guest(pages=4096)))
    hosts.fault("delay 150000")
    part = host.driver.save
    with Job("restore") as job:
        waiter = threading.Timer(0.1, job.cancel)
        waiter.start()
        with pytest.raises(Cancelled):
            part.restore(str(image), SaveOptions(), job)
    waiter.join()
    assert domain.state is DomainState.SHUTOFF
    assert not hosts.beside().domains.summaries()
    hosts.fault()
    host.domains.restore(image)
    assert domain.state is DomainState.RUNNING
    if version == 2:
        assert hosts.counts_on(domain)


def test_an_image_without_a_stream(domain, host, tmp_path):
    """An image that ends with its definition is refused; libxl is not asked."""
    image = tmp_path / "image"
    domain.save(image)
    labelled(image, 2, b"")
    with pytest.raises(SaveImageError, match="empty"):
        host.domains.restore(image)
    assert domain.state is DomainState.SHUTOFF


def test_a_foreign_guest_is_saved(host, hosts, tmp_path):
    """What another toolstack started is saved, and restored as ours."""
    hosts.beside().domains.create(hosts.spec("foreign"))
    image = tmp_path / "image"
    domain = host.domains["foreign"]
    domain.save(image)
    assert host.domains.get("foreign") is None
    assert host.domains.restore(image).uuid == domain.uuid
    assert hosts.counts_on(domain)
    hosts.ends(domain, "poweroff")
    assert not list(host.domains)


def test_a_save_cut_short_by_kill(domain, hosts, tmp_path):
    """Killed in the middle of the stream, the guest is brought back and counts on."""
    hosts.fault("delay 2000")
    hosts.run_process(
        """
        import signal, threading
        threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGKILL)).start()
        host.domains["guest"].save(sys.argv[1])
        """,
        str(tmp_path / "image"),
    )
    assert domain.state is DomainState.RUNNING
    assert hosts.counts_on(domain)
    assert not (tmp_path / "image").exists()


def test_a_stream_of_another_version_is_refused(domain, host, tmp_path):
    """A header of a version that nobody knows is refused before libxl sees it."""
    image = tmp_path / "image"
    domain.save(image)
    data = bytearray(image.read_bytes())
    data[16:20] = struct.pack("=I", 3)
    image.write_bytes(data)
    with pytest.raises(PolyvisorError, match="version"):
        host.domains.restore(image)
    assert domain.state is DomainState.SHUTOFF


def test_the_stand_in_writes_sound_streams(domain, tmp_path):
    """What these tests save is a stream that breaks no rule of Xen's specifications."""
    image = tmp_path / "image"
    domain.save(image)
    found = saveimage.verify(image, strict=True)
    assert found.findings == ()
    assert found.complete


def labelled(image, version, stream):
    """Put another stream behind an image's header, with a version."""
    data = image.read_bytes()
    length = struct.unpack_from("=I", data, 20)[0]
    head = data[:16] + struct.pack("=I", version) + data[20 : 64 + length]
    image.write_bytes(head + (data[64 + length :] if stream is None else stream))


def test_a_legacy_image_is_converted(domain, host, hosts, tmp_path):
    """The stream of an old Xen is converted on its way in, and the guest goes on in it."""
    image = tmp_path / "image"
    domain.save(image)
    labelled(image, 1, compose.legacy(compose.Guest(pages=1024)))
    console = hosts.root / f"console-{domain.uuid.hex}"
    console.unlink(missing_ok=True)
    host.domains.restore(image)
    assert domain.state is DomainState.RUNNING
    assert hosts.counted_from(console) == int.from_bytes(compose.contents(0)[:4], "little") + 1


def test_a_legacy_image_that_is_damaged(domain, host, tmp_path):
    """Converting says what is wrong with the stream, rather than libxl that it ended."""
    image = tmp_path / "image"
    domain.save(image)
    labelled(image, 1, compose.legacy(compose.Guest(pages=1024))[:-100])
    with pytest.raises(SaveImageError):
        host.domains.restore(image)
    assert domain.state is DomainState.SHUTOFF


def test_a_new_stream_labelled_old(domain, host, hosts, tmp_path):
    """The stream itself decides: migration V2 under a header of version 1 is restored."""
    image = tmp_path / "image"
    domain.save(image)
    labelled(image, 1, None)
    host.domains.restore(image)
    assert hosts.counts_on(domain)


def test_an_image_of_xls(domain, host, hosts, tmp_path):
    """An image of xl save, whose header holds libxl's JSON, is restored."""
    image, theirs = tmp_path / "image", tmp_path / "xl"
    domain.save(image)
    saveimage.convert(image, theirs, "xl")
    assert theirs.read_bytes().startswith(b"Xen saved domain, xl format")
    host.domains.restore(theirs)
    assert hosts.counts_on(domain)
