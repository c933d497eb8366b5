"""Looks at images and engines from outside, with other programs than bundle-tool: partitions by sfdisk, file systems through
loop devices, layers by `docker save`."""
from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator

from ou_device.parts import run
from ou_lab.engine import Engine

SECTOR = 512
PIECE = 1 << 16


@dataclass(frozen=True)
class Partition:
    number: int
    name: str  # GPT: the partition's; MBR: the file system's label
    offset: int
    size: int


def partitions(image: Path) -> list[Partition]:
    """By number; the extended one too."""
    table = json.loads(run("sfdisk", "--json", image).stdout)["partitiontable"]
    found = []
    for row in table["partitions"]:
        number = int(row["node"][len(str(image)):].lstrip("p"))
        offset, size = row["start"] * SECTOR, row["size"] * SECTOR
        extended = table["label"] == "dos" and row["type"] in ("5", "f", "85")
        found.append(Partition(number, row.get("name") or ("extended" if extended else label(image, offset)), offset, size))
    return sorted(found, key=lambda one: one.number)


def label(image: Path, offset: int) -> str:
    done = subprocess.run(["blkid", "-p", "-O", str(offset), "-s", "LABEL", "-o", "value", image], capture_output=True, text=True,
                          check=False)
    return done.stdout.strip()


def partition(image: Path, suffix: str) -> Partition:
    """The partition whose name ends in `suffix`: "boot", "rootA", "data"."""
    return next(one for one in partitions(image) if one.name.endswith("-" + suffix))


@contextlib.contextmanager
def loop(image: Path, part: Partition, write: bool = False) -> Iterator[str]:
    """A loop device of exactly one partition."""
    mode = [] if write else ["-r"]
    device = run("losetup", "--show", "-f", *mode, "-o", part.offset, "--sizelimit", part.size, image).stdout.strip()
    try:
        if write:
            run("blockdev", "--setrw", device)  # a loop device keeps what an agent protected while it was a medium of the lab
        yield device
    finally:
        run("losetup", "-d", device)


@contextlib.contextmanager
def mounted(image: Path, suffix: str, write: bool = False) -> Iterator[Path]:
    """A partition's ext4 file system, at a directory. Without `write` the image does not change."""
    directory = Path(tempfile.mkdtemp(prefix="ou-mnt-"))
    with loop(image, partition(image, suffix), write) as device:
        run("mount", "-o", "rw" if write else "ro,noload", device, directory)
        try:
            yield directory
        finally:
            run("umount", directory)
            directory.rmdir()


def fsck_ext(image: Path, suffix: str) -> None:
    """Raises when e2fsck finds anything."""
    with loop(image, partition(image, suffix)) as device:
        run("e2fsck", "-fn", device)


def fsck_fat(image: Path, suffix: str = "boot") -> None:
    """Raises when fsck.fat finds anything."""
    with loop(image, partition(image, suffix)) as device:
        done = run("fsck.fat", "-n", "-v", device)
    for sign in ("differences", "Free cluster summary wrong", "Dirty bit", "Orphaned", "Reclaimed"):
        if sign in done.stdout:
            raise AssertionError(done.stdout)


def read_boot(image: Path, path: str) -> bytes:
    """A file of the boot partition, by mtools."""
    part = partition(image, "boot")
    return subprocess.run(["mtype", "-i", f"{image}@@{part.offset}", "::/" + path], capture_output=True, check=True).stdout


def digest_of(path: Path, start: int = 0, size: int | None = None) -> str:
    """A digest of a stretch of a file, for comparing: the same for the same bytes, wherever their zeros are holes, which are
    not read."""
    digest, zeros = hashlib.sha256(), bytes(PIECE)
    with open(path, "rb", buffering=0) as file:
        end = os.fstat(file.fileno()).st_size if size is None else start + size
        digest.update(f"{end - start} bytes".encode())
        at = start
        while at < end:
            try:
                data = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:
                break
            at = start + (data - start) // PIECE * PIECE
            hole = min(os.lseek(file.fileno(), data, os.SEEK_HOLE), end)
            while at < hole:
                piece = os.pread(file.fileno(), min(PIECE, end - at), at)
                if piece != zeros[:len(piece)]:
                    digest.update(f"at {at - start}:".encode() + piece)
                at += PIECE
    return digest.hexdigest()


def contents(image: Path, *but: str) -> dict[str, str]:
    """Digest of each partition by name, but for those with these suffixes; and of what lies before the first one, which the
    partition table is a part of, under its boot code."""
    found = partitions(image)
    digests = {one.name: digest_of(image, one.offset, one.size) for one in found
               if one.name != "extended" and not any(one.name.endswith("-" + suffix) for suffix in but)}
    with open(image, "rb") as file:
        digests["boot code"] = hashlib.sha256(file.read(440)).hexdigest()
    return digests


def copy(image: Path, target: Path) -> Path:
    """A sparse copy."""
    run("cp", "--sparse=always", image, target)
    return target


# Container images


@dataclass(frozen=True)
class Digests:
    config: str
    layers: tuple[str, ...]


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def digest_of_stream(file) -> str:
    digest = hashlib.sha256()
    while piece := file.read(1 << 20):
        digest.update(piece)
    return "sha256:" + digest.hexdigest()


def saved(engine: Engine, reference: str) -> Digests:
    """What `docker save` gives for an image."""
    with tempfile.TemporaryDirectory(prefix="save-", dir="/var/tmp") as directory:
        path = Path(directory) / "image.tar"
        run("docker", "-H", f"unix://{engine.socket_path}", "save", "-o", path, reference)
        return archive_digests(path)


def archive_digests(path: Path) -> Digests:
    with tarfile.open(path) as tar:
        manifest, = json.load(tar.extractfile("manifest.json"))
        return Digests(sha256(tar.extractfile(manifest["Config"]).read()),
                       tuple(digest_of_stream(tar.extractfile(name)) for name in manifest["Layers"]))


def layout_digests(directory: Path) -> Digests:
    """The one image of an OCI layout, its layers uncompressed. Each blob has to be what its name says."""
    index = json.loads((directory / "index.json").read_text())
    descriptor, = index["manifests"]
    manifest = json.loads(_blob(directory, descriptor["digest"]))
    return Digests(sha256(_blob(directory, manifest["config"]["digest"])),
                   tuple(_layer(directory, layer["digest"]) for layer in manifest["layers"]))


def _blob(directory: Path, digest: str) -> bytes:
    content = (directory / "blobs/sha256" / digest.removeprefix("sha256:")).read_bytes()
    if sha256(content) != digest:
        raise AssertionError(f"blob {digest} is {sha256(content)}")
    return content


def _layer(directory: Path, digest: str) -> str:
    path = directory / "blobs/sha256" / digest.removeprefix("sha256:")
    with open(path, "rb") as file:
        if digest_of_stream(file) != digest:
            raise AssertionError(f"blob {digest} is something else")
        file.seek(0)
        magic = file.read(4)
        file.seek(0)
        if magic[:2] == b"\x1f\x8b":
            return digest_of_stream(gzip.open(file))
        if magic == b"\x28\xb5\x2f\xfd":
            with subprocess.Popen(["zstd", "-dc", path], stdout=subprocess.PIPE) as process:
                return digest_of_stream(process.stdout)
        return digest_of_stream(file)
