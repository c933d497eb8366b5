"""The image files, one per shape: Raspberry Pi, generic x86-64 and aarch64, flasher, signed and encrypted flasher
(balenaos.md section 1). Slots and data partition are made by a real engine."""
from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from ou_device import disk
from ou_device.parts import cached, digest, run

from . import SOURCE, hostapps, look
from .hostapps import CACHE, SUPERVISOR_NAME, SUPERVISOR_VERSION

MIB = 1 << 20
EFI_TYPE = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
START_MIB = GAP_MIB = ALIGNMENT_MIB = 4
SUPERVISOR_DIGEST = "sha256:" + "5" * 64  # of a manifest that only its registry has seen
FACTORY_DATA = ["-T", "default", "-b", "4096", "-i", "8192"]


@dataclass(frozen=True)
class Shape:
    name: str
    slug: str
    architecture: str
    table: str  # "dos" or "gpt"
    tiny: bool = False  # only busybox for an OS, in smaller slots
    kind: str = "raw"  # or "flasher", "signed", "encrypted"

    @property
    def flasher(self) -> bool:
        return self.kind != "raw"

    @property
    def slot_mib(self) -> int:
        return 40 if self.tiny else 320

    @property
    def inner_path(self) -> str:
        return f"opt/balena-image-{self.slug}.balenaos-img"

    def key(self) -> str:
        here = Path(__file__).parent
        sources = [(here / name).read_bytes() for name in ("shapes.py", "hostapps.py")]
        sources += [(SOURCE / "tests/device/ou_device/disk.py").read_bytes(), (SOURCE / "tests/lab/ou_lab/images.py").read_bytes()]
        return digest(self, sources, str(hostapps.supervisor(self.architecture)))


PI = Shape("raspberrypi", "raspberrypi4-64", "arm64", "dos")
X86 = Shape("x86-64", "generic-amd64", "amd64", "gpt")
AARCH64 = Shape("aarch64", "generic-aarch64", "arm64", "gpt")
FLASHER = Shape("flasher", "generic-amd64", "amd64", "gpt", kind="flasher")
SIGNED = Shape("signed", "generic-amd64", "amd64", "gpt", kind="signed")
ENCRYPTED = Shape("encrypted", "generic-amd64", "amd64", "gpt", kind="encrypted")
TINY_PI = Shape("tiny-raspberrypi", "raspberrypi4-64", "arm64", "dos", tiny=True)
TINY_X86 = Shape("tiny-x86-64", "generic-amd64", "amd64", "gpt", tiny=True)
TINY_FLASHER = Shape("tiny-flasher", "generic-amd64", "amd64", "gpt", tiny=True, kind="flasher")

RAW = [PI, X86, AARCH64]
COMPLETE = [*RAW, FLASHER]  # each is changed and read as a whole
REFUSED = [SIGNED, ENCRYPTED]
TINY = [TINY_PI, TINY_X86, TINY_FLASHER]


def image(shape: Shape) -> Path:
    """The image file of a shape. It is shared: tests change copies."""
    def make(target: Path) -> None:
        work = target / "work"
        work.mkdir()
        if shape.kind == "raw":
            _make_raw(shape, work, target / "disk.img")
        else:
            _make_flasher(shape, work, target / "disk.img")
        shutil.rmtree(work)
    return cached("image-" + shape.name, shape.key(), make, CACHE) / "disk.img"


def compressed(shape: Shape, kind: str) -> Path:
    """The image in a "zip", "gz", "bz2", "xz" or "zst" file."""
    source = image(shape)
    commands = {"gz": "gzip -1 -c", "bz2": "bzip2 -1 -c", "xz": "xz -0 -T2 -c", "zst": "zstd -q -1 -c"}

    def make(target: Path) -> None:
        if kind == "zip":
            run("zip", "-q", "-1", "-j", target / "disk.img.zip", source)
        else:
            with open(target / f"disk.img.{kind}", "wb") as out:
                subprocess.run([*commands[kind].split(), source], stdout=out, check=True)
    return cached(f"{kind}-{shape.name}", shape.key(), make, CACHE) / f"disk.img.{kind}"


# File systems


def _make_boot(shape: Shape, work: Path, piece: Path, label: str) -> None:
    tree = work / "boot"
    for name, content in hostapps.boot_files(shape.slug, shape.architecture, shape.flasher).items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(content)
    # On the Raspberry Pi FAT32, with the small clusters that it needs at this size; elsewhere what mkfs.vfat takes.
    disk.make_fat(piece, label, 40, tree, *(["-F", "32", "-s", "1"] if shape.table == "dos" else []))
    shutil.rmtree(tree)


def _make_state(piece: Path, label: str) -> None:
    disk.make_ext4(piece, label, 20)
    with disk.mounted(piece) as state:
        (state / "remove_me_to_reset").touch()


def _make_data(shape: Shape, piece: Path, label: str) -> None:
    """The factory's data partition: the supervisor under its three names (balenaos.md section 8)."""
    disk.make_ext4(piece, label, 192, *FACTORY_DATA)
    with disk.mounted(piece) as data:
        with disk.engine_on(data / "docker") as engine:
            image_id = disk.load(engine, hostapps.supervisor(shape.architecture))
            for repository, tag in ((SUPERVISOR_NAME, "latest"), ("balena_supervisor", "v" + SUPERVISOR_VERSION)):
                engine.client.call("POST", f"/images/{image_id}/tag?repo={repository}&tag={tag}")
        # An engine makes names by digest only when it pulls; nothing can be pulled here.
        names = data / "docker/image/overlay2/repositories.json"
        repositories = json.loads(names.read_text())
        repositories["Repositories"][SUPERVISOR_NAME][f"{SUPERVISOR_NAME}@{SUPERVISOR_DIGEST}"] = image_id
        names.write_text(json.dumps(repositories, separators=(",", ":")))
        (data / "resin-data").mkdir()
        (data / "remove_me_to_reset").touch()


# Whole images


def _lay_out(shape: Shape, sizes: dict[str, int], prefix: str) -> tuple[str, dict[str, int], int]:
    """sfdisk's script, the partitions' offsets in MiB by name, and the size of the disk."""
    at, offsets, lines = START_MIB, {}, [f"label: {shape.table}"]
    for number, (name, size) in enumerate(sizes.items(), start=1):
        if shape.table == "dos" and number >= 4:
            if number == 4:
                rest = sum(list(sizes.values())[3:]) + GAP_MIB * (len(sizes) - 3)
                lines.append(f"4 : start={at}MiB, size={rest}MiB, type=f")
            at += GAP_MIB
            number += 1
        kind = {("dos", 1): "c, bootable", ("gpt", 1): EFI_TYPE}.get((shape.table, number), "L")
        title = f", name={prefix}-{name}" if shape.table == "gpt" else ""
        lines.append(f"{number} : start={at}MiB, size={size}MiB, type={kind}{title}")
        offsets[name] = at
        at += size
    return "\n".join(lines) + "\n", offsets, at + (ALIGNMENT_MIB if shape.table == "gpt" else 0)


def _put_together(shape: Shape, target: Path, pieces: dict[str, Path], prefix: str) -> None:
    sizes = {name: piece.stat().st_size // MIB for name, piece in pieces.items()}
    script, offsets, size = _lay_out(shape, sizes, prefix)
    disk.put_together(target, size, script, {offsets[name]: piece for name, piece in pieces.items()})


def _pieces(work: Path) -> dict[str, Path]:
    return {name: work / f"{name}.img" for name in ("boot", "rootA", "rootB", "state", "data")}


def _make_raw(shape: Shape, work: Path, target: Path) -> None:
    pieces = _pieces(work)
    _make_boot(shape, work, pieces["boot"], "resin-boot")
    disk.make_ext4(pieces["rootA"], "resin-rootA", shape.slot_mib)
    disk.make_slot(pieces["rootA"], hostapps.hostapp(shape.slug, shape.architecture, shape.tiny))
    disk.make_ext4(pieces["rootB"], "resin-rootB", shape.slot_mib)
    _make_state(pieces["state"], "resin-state")
    _make_data(shape, pieces["data"], "resin-data")
    _put_together(shape, target, pieces, "resin")


def _make_flasher(shape: Shape, work: Path, target: Path) -> None:
    """Its slot is no engine's store but a plain root file system, with a raw image of the same type in /opt."""
    raw = Shape("tiny-x86-64" if shape.tiny else "x86-64", shape.slug, shape.architecture, shape.table, shape.tiny)
    inner = look.copy(image(raw), work / "inner.img")
    if shape.kind == "encrypted":
        _encrypt(inner)
    pieces = _pieces(work)
    _make_boot(shape, work, pieces["boot"], "flash-boot")
    used = inner.stat().st_blocks * 512 // MIB
    # Little room beside the inner image: one that has grown does not fit.
    disk.make_ext4(pieces["rootA"], "flash-rootA", used + (20 if shape.tiny else 180), "-m", "0")
    with disk.mounted(pieces["rootA"]) as root:
        if not shape.tiny:
            run("cp", "-a", f"{hostapps.debian_tree()}/.", root)
        subprocess.run(["tar", "-C", root, "-xf", "-"], input=hostapps.os_layer(shape.slug, shape.architecture), check=True)
        (root / "opt").mkdir(exist_ok=True)
        look.copy(inner, root / shape.inner_path)
        if shape.kind == "signed":
            (root / (shape.inner_path + ".sig")).write_bytes(hostapps.noise("signature", 512))
    inner.unlink()
    disk.make_ext4(pieces["rootB"], "flash-rootB", 8)
    _make_state(pieces["state"], "flash-state")
    disk.make_ext4(pieces["data"], "flash-data", 8)
    _put_together(shape, target, pieces, "flash")


def _encrypt(inner: Path) -> None:
    """LUKS 2 headers in place of the file systems, as libblkid and cryptsetup know them. What they would hold stays as it is."""
    for part in look.partitions(inner)[1:]:
        header = struct.pack(">6sHQQ48s32s64s40s48sQ184s64s", b"LUKS\xba\xbe", 2, 16384, 1, b"", b"sha256", bytes(64),
                             b"ba1eadef-0000-4000-8000-00000000000" + str(part.number).encode(), b"", 0, b"", bytes(64))
        with open(inner, "r+b") as file:
            file.seek(part.offset)
            file.write(header.ljust(16384, b"\0"))


if __name__ == "__main__":
    for one in (COMPLETE + REFUSED + TINY):
        if len(sys.argv) == 1 or one.name in sys.argv[1:]:
            print(one.name, image(one), flush=True)
