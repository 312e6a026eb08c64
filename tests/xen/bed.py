"""The test bed: a disk with Debian's Xen 4.17, its control domain, and guests that count.

Built from Debian's packages alone, unattended, as root, in about a minute; kept in a folder
between runs, under a name that stands for what it was made from. What each flag and each
change to the system is for was found out by trying and is said where it is.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["TOOLS", "Bed", "folder"]

FILES = Path(__file__).parent / "files"
#: Programs that building and booting take, and Debian's packages that have them.
TOOLS = {
    "mmdebstrap": "mmdebstrap",
    "qemu-system-x86_64": "qemu-system-x86",
    "mke2fs": "e2fsprogs",
    "cpio": "cpio",
    "lz4": "lz4",
    "gcc": "gcc",
    "strip": "binutils",
}
PACKAGES = (
    "xen-utils-4.17", "xenstore-utils", "qemu-system-xen",
    "libvirt-daemon", "libvirt-daemon-driver-xen", "libvirt-clients", "python3-libvirt",
    "python3", "python3-cffi", "libxen-dev", "gcc", "libc6-dev", "python3-dev",
    "kmod", "busybox-static", "iproute2", "procps", "zstd", "xz-utils",
)  # fmt: skip
#: Modules for the control domain, beside those that its first ramdisk loads.
MODULES = (
    "virtio_net", "9p", "9pnet_virtio", "loop", "xen-evtchn", "xen-gntdev", "xen-gntalloc",
    "xen-privcmd", "xenfs", "xen-netback", "xen-blkback", "xen-pciback", "bridge", "tun",
)  # fmt: skip
FIRST_MODULES = ("virtio_pci", "virtio_blk", "crc32c_generic", "ext4")
#: For the guests: what sees disks, network interfaces and PCI devices come and go.
GUEST_MODULES = ("xen-blkfront", "xen-netfront", "xen-pcifront")


def folder() -> Path:
    """Return where beds are kept: ``$POLYVISOR_XEN_BED``, or below the user's cache."""
    given = os.environ.get("POLYVISOR_XEN_BED")
    if given:
        return Path(given)
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(cache) / "polyvisor" / "xenbed"


class Bed:
    """A built test bed.

    Attributes:
        path: its folder; ``xen``, ``vmlinux-dom0``, ``initrd-dom0`` and ``disk`` in it boot.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def ready(cls, where: Path) -> Bed:
        """Return the bed in ``where``; build it if there is none of these sources."""
        made_from = hashlib.sha256(Path(__file__).read_bytes())
        for file in sorted(FILES.iterdir()):
            made_from.update(file.read_bytes())
        path = where / made_from.hexdigest()[:16]
        if not (path / "disk").exists():
            where.mkdir(parents=True, exist_ok=True)
            for old in where.iterdir():
                shutil.rmtree(old)
            work = where / f"{path.name}.new"
            work.mkdir()
            _Build(work).run()
            work.rename(path)
        return cls(path)


class _Build:
    def __init__(self, path: Path) -> None:
        self.path = path

    def run(self) -> None:
        for stage in (self._root, self._kernels, self._ramdisks, self._disk):
            self._timed(stage)
        for name in ("root", "generic", "cloud", "packages", "hypervisor", "first", "guest"):
            shutil.rmtree(self.path / name)

    def _timed(self, stage: Callable[[], None]) -> None:
        started = time.monotonic()
        stage()
        name = stage.__name__.strip("_")
        print(f"test bed: {name}: {time.monotonic() - started:.1f} s", file=sys.stderr)

    def _call(self, *words: str | Path, cwd: Path | None = None, **options: object) -> str:
        done = subprocess.run(
            list(map(str, words)),
            cwd=cwd or self.path,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
            **options,  # type: ignore[call-overload]
        )
        if done.returncode:
            raise RuntimeError(f"{words[0]} failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
        return str(done.stdout)

    def _root(self) -> None:
        """Unpack the control domain's system."""
        sources = next(
            path
            for path in ("/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list")
            if os.path.exists(path)
        )
        slim = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "man", "locale")]
        self._call(
            "mmdebstrap", "--mode=root", "--variant=minbase", "--format=directory",
            f"--include={','.join(PACKAGES)}", '--aptopt=Apt::Install-Recommends "false"', *slim,
            "bookworm", "root", sources,
        )  # fmt: skip

    def _kernels(self) -> None:
        """Unpack Xen and two kernels.

        The control domain needs the generic kernel: the cloud one is built without it in
        mind. Xen boots neither as it is packed, and QEMU not Xen.
        """
        (self.path / "packages").mkdir()
        names = {
            what: self._call("apt-cache", "depends", meta)
            .split("Depends: linux-image-")[1]
            .split()[0]
            for what, meta in (
                ("generic", "linux-image-amd64"),
                ("cloud", "linux-image-cloud-amd64"),
            )
        }
        self._call(
            "apt-get", "download", "xen-hypervisor-4.17-amd64",
            *(f"linux-image-{name}" for name in names.values()), cwd=self.path / "packages",
        )  # fmt: skip
        for what, prefix in (
            ("hypervisor", "xen-hypervisor"),
            *((what, f"linux-image-{name}_") for what, name in names.items()),
        ):
            (package,) = (self.path / "packages").glob(f"{prefix}*")
            self._call("dpkg", "-x", package, what)
        packed = self.path / "hypervisor/boot/xen-4.17-amd64.gz"
        (self.path / "xen").write_bytes(
            subprocess.run(["gunzip", "-c", packed], check=True, capture_output=True).stdout
        )
        for what, name in (("generic", "vmlinux-dom0"), ("cloud", "vmlinux-guest")):
            (image,) = (self.path / what / "boot").glob("vmlinuz-*")
            (self.path / name).write_bytes(_unpacked(image.read_bytes()))
            self._call("strip", name)

    def _modules(self, root: Path, names: tuple[str, ...], version: str) -> list[Path]:
        """Return the files of modules and of those that they need, in order."""
        libraries = self.path / "root/lib/x86_64-linux-gnu"
        # kmod of the unpacked system, since this one may have none.
        kmod = [str(self.path / "root/lib64/ld-linux-x86-64.so.2"), "--argv0"]
        tail = ["--library-path", str(libraries), str(self.path / "root/usr/bin/kmod")]
        if not (root / f"lib/modules/{version}/modules.dep.bin").exists():
            self._call(*kmod, "depmod", *tail, "-b", root, version)
        lines: list[str] = []
        for name in names:
            shown = ("-d", root, "-S", version, "--show-depends", name)
            lines += self._call(*kmod, "modprobe", *tail, *shown).splitlines()
        found = [Path(line.split()[1]) for line in lines if line.startswith("insmod")]
        return list(dict.fromkeys(found))

    def _ramdisks(self) -> None:
        """Make the first ramdisks of the control domain and of the guests."""
        generic = self.path / "generic"
        (modules,) = (generic / "lib/modules").iterdir()
        version = modules.name
        for file in self._modules(generic, MODULES, version):
            target = self.path / "root/lib/modules" / file.relative_to(generic / "lib/modules")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
        for name in ("modules.builtin", "modules.order", "modules.builtin.modinfo"):
            shutil.copy(modules / name, self.path / "root/lib/modules" / version)
        self._modules(self.path / "root", (), version)
        first = self.path / "first"
        for name in ("bin", "proc", "sys", "dev", "lib", "newroot"):
            (first / name).mkdir(parents=True)
        shutil.copy(self.path / "root/bin/busybox", first / "bin")
        shutil.copy(FILES / "initrd_init", first / "init")
        (first / "init").chmod(0o755)
        for number, file in enumerate(self._modules(generic, FIRST_MODULES, version)):
            shutil.copy(file, first / f"lib/{number:02}-{file.name}")
        guest, cloud = self.path / "guest", self.path / "cloud"
        for name in ("dev", "sys", "modules"):
            (guest / name).mkdir(parents=True)
        (modules,) = (cloud / "lib/modules").iterdir()
        for number, file in enumerate(self._modules(cloud, GUEST_MODULES, modules.name)):
            shutil.copy(file, guest / f"modules/{number}")
        self._call(
            "gcc", "-Os", "-static", "-nostdlib", "-ffreestanding", "-fno-builtin",
            "-fno-tree-loop-distribute-patterns", "-fno-stack-protector",
            "-fno-asynchronous-unwind-tables", "-o", "guest/init", FILES / "guest_init.c",
        )  # fmt: skip
        os.mknod(guest / "dev/console", 0o20600, os.makedev(5, 1))
        for what, name in ((first, "initrd-dom0"), (guest, "initrd-guest")):
            self._call(
                "sh", "-c", f"find . | cpio -o -H newc --quiet | gzip -1 > ../{name}", cwd=what
            )

    def _disk(self) -> None:
        """Put everything on the disk."""
        root = self.path / "root"
        shutil.copy(FILES / "dom0_init", root / "sbin/dom0_init")
        (root / "sbin/dom0_init").chmod(0o755)
        (root / "opt/guest").mkdir(parents=True)
        shutil.copy(self.path / "vmlinux-guest", root / "opt/guest/vmlinux")
        # QEMU, which loads the kernel of an HVM guest, wants it packed.
        (packed,) = (self.path / "cloud/boot").glob("vmlinuz-*")
        shutil.copy(packed, root / "opt/guest/vmlinuz")
        shutil.copy(self.path / "initrd-guest", root / "opt/guest/initrd")
        # QEMU emulates no VME: without this change libvirt's Xen driver finds no CPU model
        # that the host is at least, and does not start.
        model = root / "usr/share/libvirt/cpu_map/x86_486.xml"
        lines = [line for line in model.read_text().splitlines() if "name='vme'" not in line]
        model.write_text("\n".join(lines) + "\n")
        drivers = root / "usr/lib/x86_64-linux-gnu/libvirt/connection-driver"
        for driver in drivers.glob("libvirt_driver_*.so"):
            if driver.stem.removeprefix("libvirt_driver_") != "libxl":
                driver.unlink()  # It starts sooner.
        self._call(
            "mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-d", "root", "disk", "2500M"
        )


def _unpacked(image: bytes) -> bytes:
    """Return the kernel in a bzImage; offsets are in Linux' Documentation/x86/boot.rst."""
    setup = image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    packed = image[(setup + 1) * 512 + offset :][:length]
    if packed.startswith(b"\xfd7zXZ\0"):
        return lzma.LZMADecompressor().decompress(packed)
    if packed.startswith(b"\x02\x21\x4c\x18"):
        # The last four bytes are the unpacked size.
        done = subprocess.run(["lz4", "-dc"], input=packed[:-4], capture_output=True, check=False)
        return done.stdout
    raise RuntimeError(f"a kernel is packed in an unknown way: {packed[:8]!r}")
