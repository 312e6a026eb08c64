"""What ``[plugins.qemu]`` can say; named as in libvirt's ``qemu.conf`` where it has it."""

from __future__ import annotations

from polyvisor.driver import Setting
from polyvisor.local import SETTINGS as LOCAL

__all__ = ["SETTINGS"]

SETTINGS = (
    Setting(
        "emulator",
        str,
        None,
        "the emulator for guests of the host's architecture: a program of `$PATH` or its path; "
        "`qemu-system-ARCH` if not said",
    ),
    Setting(
        "layout",
        str,
        None,
        '`"libvirt"`: definitions get the devices, models and addresses that libvirt\'s QEMU '
        "driver would give them, so that guests can move between it and here",
    ),
    Setting(
        "save_image_format",
        str,
        "raw",
        "what save images are compressed with: `raw` (not at all), `gzip`, `bzip2`, `xz`, `lzop` "
        "or `zstd`",
    ),
    Setting(
        "user",
        str,
        None,
        "the user that guests of `qemu:///system` run as, by name or as `+UID`; root if not said",
    ),
    Setting("group", str, None, "its group, by name or as `+GID`; the user's own if not said"),
    Setting(
        "dynamic_ownership",
        bool,
        True,
        "whether images are given to that user while a guest uses them",
    ),
    Setting("answer_timeout", float, 30.0, "seconds that QEMU has for an answer on its monitor"),
    Setting("ovs_timeout", int, 5, "seconds that Open vSwitch has for an answer"),
    Setting("network_bridges", dict, None, "the bridge of each network that interfaces may name"),
    Setting(
        "virtiofsd",
        str,
        None,
        "the program that shares folders; `/usr/libexec/virtiofsd` or `/usr/lib/qemu/virtiofsd` "
        "if not said",
    ),
    Setting("vnc_password", str, None, "for VNC displays that have none of their own"),
    Setting("vnc_sasl", bool, False, "whether clients of VNC authenticate with SASL"),
    Setting(
        "vnc_tls_x509_cert_dir",
        str,
        None,
        "folder with certificates for VNC; without it there is no TLS",
    ),
    Setting("vnc_tls_x509_verify", bool, False, "whether clients of VNC need a certificate"),
    Setting("vnc_tls_x509_secret_uuid", str, None, "the secret with the password of VNC's key"),
    Setting("spice_password", str, None, "for SPICE displays that have none of their own"),
    Setting("spice_sasl", bool, False, "whether clients of SPICE authenticate with SASL"),
    Setting(
        "spice_tls_x509_cert_dir",
        str,
        None,
        "folder with certificates for SPICE; without it there is no TLS",
    ),
    Setting("chardev_tls", bool, False, "TLS for ports over TCP whose definition does not say it"),
    Setting(
        "chardev_tls_x509_cert_dir",
        str,
        None,
        "folder with certificates for ports over TCP; without it there is no TLS",
    ),
    Setting(
        "chardev_tls_x509_verify",
        bool,
        None,
        "whether the other end of a port over TCP needs a certificate that is trusted; if not "
        "said, servers do and clients do not",
    ),
    Setting("chardev_tls_x509_secret_uuid", str, None, "the secret with the password of that key"),
    Setting(
        "nbd_tls_x509_cert_dir", str, "/etc/pki/qemu", "folder with certificates for disks over NBD"
    ),
    Setting("gluster_debug_level", int, 4, "how much disks over Gluster log: 0 (nothing) to 9"),
    Setting("nbd_tls_x509_secret_uuid", str, None, "the secret with the password of that key"),
    Setting(
        "migration_ports", list, [49152, 49215], "first and last TCP port for streams of migrations"
    ),
    Setting("migration_address", str, None, "address to listen on for them; all if not said"),
    Setting(
        "migration_host",
        str,
        None,
        "host that sources are told to connect to: `migration_address` if that is one address, "
        "else the host's name",
    ),
    Setting(
        "default_tls_x509_cert_dir",
        str,
        "/etc/pki/qemu",
        "folder with certificates for encrypted migrations and backups, if "
        "`migrate_tls_x509_cert_dir` or `backup_tls_x509_cert_dir` is not said",
    ),
    Setting(
        "migrate_tls_x509_cert_dir", str, None, "folder with certificates for encrypted migrations"
    ),
    Setting(
        "migrate_tls_x509_verify",
        bool,
        True,
        "whether sources of encrypted migrations need a certificate",
    ),
    Setting("migrate_tls_x509_secret_uuid", str, None, "the secret with the password of that key"),
    Setting(
        "backup_tls_x509_cert_dir",
        str,
        None,
        "folder with certificates for encrypted servers that backups are pulled from",
    ),
    Setting(
        "backup_tls_x509_verify",
        bool,
        True,
        "whether those who pull from encrypted servers need a certificate",
    ),
    Setting("backup_tls_x509_secret_uuid", str, None, "the secret with the password of that key"),
    *LOCAL,
)
