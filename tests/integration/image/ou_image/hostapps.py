"""Host OS and supervisor of the images: a Debian root file system (or, for tests that need many copies, only busybox) with
what balenaOS adds to it, as docker-archives."""
from __future__ import annotations

import hashlib
import json
import shutil
import struct
import zlib
from pathlib import Path

from ou_device import parts
from ou_device.parts import cached, digest
from ou_lab import images
from ou_lab.device import BUILD

CACHE = BUILD.parent / "image-cache"
OS_VERSION = "6.5.3"
SUPERVISOR_VERSION = "17.6.23"
SUPERVISOR_NAME = "registry2.balena-cloud.com/v2/0123456789abcdef0123456789abcdef"
SUPERVISOR_CONF = f"SUPERVISOR_IMAGE={SUPERVISOR_NAME}\nSUPERVISOR_VERSION=v{SUPERVISOR_VERSION}\nLED_FILE=/dev/null\n"
# The engine and Python are for the virtual device, which boots; here they would be dead weight.
HEAVY = ["usr/sbin/dockerd", "usr/bin/containerd", "usr/bin/containerd-ctr", "usr/sbin/runc", "usr/bin/docker-proxy",
         "usr/libexec/docker", "usr/lib/python3.11", "usr/lib/python3", "usr/bin/python3.11", "usr/lib/locale",
         "usr/lib/x86_64-linux-gnu/libpython3.11.so.1.0"]
SAMPLE = "[connection]\nid=resin-sample\ntype=wifi\n\n[wifi]\nmode=infrastructure\nssid=My_Wifi_Ssid\n\n[ipv4]\nmethod=auto\n"

def noise(seed: str, size: int) -> bytes:
    """The same bytes for the same seed, which do not compress."""
    return hashlib.shake_128(seed.encode()).digest(size)


def png(shade: int) -> bytes:
    """A picture of one pixel."""
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(bytes([0, shade]))) + chunk(b"IEND", b""))


def debian_tree() -> Path:
    """The directory of a root file system from Debian packages."""
    def make(target: Path) -> None:
        parts.run("cp", "-a", parts.root_tree() / "root", target / "root")
        for name in HEAVY:
            path = target / "root" / name
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
    return cached("debian", digest(HEAVY, parts.PACKAGES, parts.DROPPED, 1), make, CACHE) / "root"


def debian_layer() -> bytes:
    """That root file system as a layer."""
    def make(target: Path) -> None:
        (target / "layer.tar").write_bytes(parts.tar_of(debian_tree()))
    return (cached("debian-layer", digest(HEAVY, parts.PACKAGES, parts.DROPPED, 1), make, CACHE) / "layer.tar").read_bytes()


def device_type(slug: str, architecture: str, flasher: bool) -> bytes:
    kind = "balena-image-flasher" if flasher else "balena-image"
    return json.dumps({
        "slug": slug, "name": slug, "version": 1, "arch": architecture, "state": "released",
        "options": [{"isGroup": True, "name": "network", "message": "Network", "options": []}],
        "yocto": {"machine": slug, "image": kind, "deployArtifact": f"{kind}-{slug}.balenaos-img", "fstype": "balenaos-img",
                  "version": "kirkstone", "compressed": True},
        "configuration": {"config": {"partition": {"primary": 1}, "path": "/config.json"}},
        "initialization": {"options": [], "operations": [{"command": "burn"}]}}).encode()


def grub_block(text: str) -> bytes:
    return ("# GRUB Environment Block\n" + text).ljust(1024, "#").encode()


def boot_files(slug: str, architecture: str, flasher: bool = False) -> dict[str, bytes]:
    """The boot partition as the OS build leaves it (balenaos.md section 1)."""
    files = {
        "device-type.json": device_type(slug, architecture, flasher),
        "os-release": parts.os_release(OS_VERSION, slug).encode(),
        "image-version-info": b"meta-balena 6.5.3\nBuild: test\n",
        "balena-image-flasher" if flasher else "balena-image": b"",
        "config.json": json.dumps({"deviceType": slug, "persistentLogging": False}, indent=2).encode() + b"\n",
        "system-connections/resin-sample.ignore": SAMPLE.encode(),
        "system-proxy/redsocks.conf.ignore": b"base { log_debug = off; }\n",
        "dispatcher.d/.keep": b"",
        "splash/balena-logo.png": png(128),
        "configfs.json": b"{}\n",
    }
    if slug.startswith("raspberrypi"):
        files |= {"config.txt": b"arm_64bit=1\navoid_warnings=1\n#gpu_mem=16\n", "cmdline.txt": b"console=tty1 root=LABEL=resin-rootA\n",
                  "kernel8.img": noise("u-boot", 600_000), "start4.elf": noise("start4", 2_200_000),
                  "bcm2711-rpi-4-b.dtb": noise("dtb", 50_000), "overlays/vc4-kms-v3d.dtbo": noise("overlay", 2_000),
                  "resinOS_uEnv.txt": b"resin_root_part=2\nupgrade_available=0\n", "bootcount.env": noise("count", 64)}
    else:
        name = "BOOTX64.EFI" if architecture == "amd64" else "BOOTAA64.EFI"
        files |= {f"EFI/BOOT/{name}": noise("grub", 900_000), "EFI/BOOT/grub.cfg": b"# STAND-IN\n",
                  "EFI/BOOT/grubenv": grub_block("resin_root_part=2\nupgrade_available=0\nbootcount=0\n"),
                  "EFI/BOOT/grub_extraenv": grub_block("extra_os_cmdline=\n")}
    listing = "".join(f"{hashlib.md5(files[name]).hexdigest()}  {name}\n" for name in sorted(files) if name != "config.json")
    return {**files, "balenaos.fingerprint": listing.encode()}


def os_layer(slug: str, architecture: str) -> bytes:
    """What balenaOS adds to a root file system."""
    files = {"resin-boot/" + name: content for name, content in boot_files(slug, architecture).items() if name != "config.json"}
    files |= {"usr/lib/os-release": parts.os_release(OS_VERSION, slug).encode(),
              "etc/balena-supervisor/supervisor.conf": SUPERVISOR_CONF.encode(),
              "usr/lib/systemd/system/balena.service": b"[Service]\nExecStart=/usr/bin/balenad --storage-driver=overlay2\n",
              "boot/vmlinuz": noise("kernel" + slug, 1_500_000), "boot/init": b"#!/bin/sh\n# STAND-IN for mobynit\n"}
    return images.file_layer(files)


def hostapp(slug: str, architecture: str, tiny: bool = False) -> Path:
    """The archive of a host OS for a device type."""
    def make(target: Path) -> None:
        base = [images.base_layer(), images.file_layer({"etc/os-release": parts.os_release(OS_VERSION, slug).encode()})] \
            if tiny else [debian_layer()]
        images.write_archive(target / "hostapp.tar", [*base, os_layer(slug, architecture)],
                             {"Cmd": ["/bin/sh"], "Labels": {"io.balena.image.class": "hostapp"}}, architecture)
    key = digest(slug, architecture, tiny, os_layer(slug, architecture), HEAVY, parts.PACKAGES, parts.DROPPED, 1)
    return cached("hostapp", key, make, CACHE) / "hostapp.tar"


def supervisor(architecture: str) -> Path:
    return parts.supervisor_image(SUPERVISOR_VERSION, architecture)
