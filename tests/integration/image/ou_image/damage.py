"""Ways to break an image: partition tables, superblocks and boot sectors that lie, corrupt file systems, stores that lead
elsewhere. Each takes a copy of a good image; checksums that a reader could look at are made right again, so that the lie is read."""
from __future__ import annotations

import gzip
import json
import os
import random
import struct
import zlib
from pathlib import Path
from typing import Callable

from . import look

SECTOR = 512
Damage = Callable[[Path], None]


def write_at(image: Path, offset: int, data: bytes) -> None:
    with open(image, "r+b") as file:
        file.seek(offset)
        file.write(data)


def read_at(image: Path, offset: int, size: int) -> bytes:
    with open(image, "rb") as file:
        file.seek(offset)
        return file.read(size)


# Partition tables


def _mbr_entry(number: int, start: int | None = None, sectors: int | None = None, kind: int | None = None) -> Damage:
    def apply(image: Path) -> None:
        at = 446 + 16 * (number - 1)
        if kind is not None:
            write_at(image, at + 4, bytes([kind]))
        if start is not None:
            write_at(image, at + 8, struct.pack("<I", start))
        if sectors is not None:
            write_at(image, at + 12, struct.pack("<I", sectors))
    return apply


def _ebr_loop(image: Path) -> None:
    """The second extended boot record leads to itself."""
    extended = next(part for part in look.partitions(image) if part.name == "extended")
    first = read_at(image, extended.offset, SECTOR)
    second = struct.unpack("<I", first[446 + 16 + 8:446 + 16 + 12])[0]
    write_at(image, extended.offset + second * SECTOR + 446 + 16 + 4, b"\x05" + bytes(3) + struct.pack("<II", second, 1000))


def _gpt(change: Callable[[bytearray, bytearray], None]) -> Damage:
    """Changes header and entries of the first table, and makes their checksums right; the second is wiped."""
    def apply(image: Path) -> None:
        header, entries = bytearray(read_at(image, SECTOR, 92)), bytearray(read_at(image, 2 * SECTOR, 128 * 128))
        change(header, entries)
        header[88:92] = struct.pack("<I", zlib.crc32(entries))
        header[16:20] = bytes(4)
        header[16:20] = struct.pack("<I", zlib.crc32(header))
        write_at(image, SECTOR, bytes(header))
        write_at(image, 2 * SECTOR, bytes(entries))
        write_at(image, image.stat().st_size - SECTOR, bytes(SECTOR))
    return apply


def _gpt_header(offset: int, form: str, value: int) -> Damage:
    return _gpt(lambda header, _: struct.pack_into(form, header, offset, value))


def _gpt_entry(number: int, first: int | None = None, last: int | None = None) -> Damage:
    def change(_: bytearray, entries: bytearray) -> None:
        at = 128 * (number - 1)
        if first is not None:
            struct.pack_into("<Q", entries, at + 32, first)
        if last is not None:
            struct.pack_into("<Q", entries, at + 40, last)
    return _gpt(change)


def truncated(parts: int, of: int) -> Damage:
    return lambda image: os.truncate(image, image.stat().st_size * parts // of)


MBR_TABLES: dict[str, Damage] = {
    "no signature": lambda image: write_at(image, 510, b"\0\0"),
    "overlapping": _mbr_entry(2, start=9000),
    "starts in the table": _mbr_entry(1, start=0),
    "past the end": _mbr_entry(3, sectors=0xFFFFFFF0),
    "starts past the end": _mbr_entry(2, start=0xFFFFFF00),
    "boot without a size": _mbr_entry(1, sectors=0),
    "extended past the end": _mbr_entry(4, sectors=0xFFFFFF00),
    "extended nowhere": _mbr_entry(4, start=0xFFFFFF00),
    "two extended": _mbr_entry(3, kind=0x05),
    "logical ones in a circle": _ebr_loop,
    "cut in the middle": truncated(1, 2),
    "cut at the end": truncated(99, 100),
    "only the first sector": lambda image: os.truncate(image, SECTOR),
}
GPT_TABLES: dict[str, Damage] = {
    "no header": lambda image: [write_at(image, SECTOR, bytes(SECTOR)), write_at(image, image.stat().st_size - SECTOR, bytes(SECTOR))],
    "bad checksum": lambda image: [write_at(image, SECTOR + 40, b"\xff"), write_at(image, image.stat().st_size - SECTOR, bytes(SECTOR))],
    "four billion entries": _gpt_header(80, "<I", 0xFFFFFFFF),
    "no entries": _gpt_header(80, "<I", 0),
    "entries of no size": _gpt_header(84, "<I", 0),
    "huge entries": _gpt_header(84, "<I", 0xFFFFFF80),
    "entries past the end": _gpt_header(72, "<Q", 1 << 60),
    "huge header": _gpt_header(12, "<I", 0xFFFFFFFF),
    "overlapping": _gpt_entry(2, first=9000),
    "backwards": _gpt_entry(3, first=200000, last=100000),
    "past the end": _gpt_entry(5, last=(1 << 63) - 1),
    "starts past the end": _gpt_entry(1, first=1 << 62, last=(1 << 62) + 100),
    "in the table": _gpt_entry(1, first=0),
    "cut in the middle": truncated(1, 2),
}

# File systems

_CRC32C = []
for _byte in range(256):
    for _ in range(8):
        _byte = _byte >> 1 ^ (0x82F63B78 if _byte & 1 else 0)
    _CRC32C.append(_byte)


def crc32c(data: bytes) -> int:
    """As ext4 has it: start value all ones, no final inversion."""
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ _CRC32C[(value ^ byte) & 0xFF]
    return value


def superblock(offset: int, form: str, value: int) -> Callable[[str], Damage]:
    """A field of an ext4 superblock, on the partition whose name ends so."""
    def on(suffix: str) -> Damage:
        def apply(image: Path) -> None:
            at = look.partition(image, suffix).offset + 1024
            block = bytearray(read_at(image, at, 1024))
            struct.pack_into(form, block, offset, value)
            struct.pack_into("<I", block, 1020, crc32c(bytes(block[:1020])))
            write_at(image, at, bytes(block))
        return apply
    return on


# \source fs/ext4/ext4.h of Linux, struct ext4_super_block
SUPERBLOCKS = {
    "inodes_count": superblock(0, "<I", 0xFFFFFFFF), "no inodes": superblock(0, "<I", 0), "more blocks than partition": superblock(4, "<I", 1 << 20),
    "no blocks": superblock(4, "<I", 0), "blocks_count_hi": superblock(0x150, "<I", 0xFFFF), "reserved": superblock(8, "<I", 0xFFFFFFFF),
    "free blocks": superblock(12, "<I", 0x7FFFFFFF), "free inodes": superblock(16, "<I", 0x7FFFFFFF),
    "first_data_block": superblock(20, "<I", 0xFFFFFFFF), "log_block_size": superblock(24, "<I", 0x20), "small blocks": superblock(24, "<I", 0),
    "blocks_per_group": superblock(32, "<I", 1), "no blocks_per_group": superblock(32, "<I", 0),
    "inodes_per_group": superblock(40, "<I", 0xFFFFFFFF), "no inodes_per_group": superblock(40, "<I", 0),
    "inode_size": superblock(88, "<H", 65535), "no inode_size": superblock(88, "<H", 0), "unknown feature": superblock(96, "<I", 0x80000242),
    "desc_size": superblock(254, "<H", 65535), "reserved_gdt": superblock(206, "<H", 65535), "journal_inum": superblock(224, "<I", 2),
    "flex groups": superblock(0x174, "<B", 255), "first_ino": superblock(84, "<I", 0xFFFFFFFF), "cluster size": superblock(28, "<I", 31),
    "magic": superblock(56, "<H", 0), "errors found": superblock(58, "<H", 2),
}


def boot_sector(offset: int, data: bytes) -> Damage:
    return lambda image: write_at(image, look.partition(image, "boot").offset + offset, data)


# \source "FAT: General Overview of On-Disk Format", BIOS parameter block
BOOT_SECTORS = {
    "bytes per sector": boot_sector(11, b"\0\0"), "odd bytes per sector": boot_sector(11, b"\x01\x7f"), "sectors per cluster": boot_sector(13, b"\0"),
    "reserved sectors": boot_sector(14, b"\xff\xff"), "no tables": boot_sector(16, b"\0"), "many tables": boot_sector(16, b"\xff"),
    "root entries": boot_sector(17, b"\xff\xff"), "sectors": boot_sector(32, b"\xff\xff\xff\xff"),
    "table size": boot_sector(22, b"\xff\xff"), "large table size": boot_sector(36, b"\xff\xff\xff\x0f"), "root cluster": boot_sector(44, b"\xf0\xff\xff\x0f"),
    "no signature": boot_sector(510, b"\0\0"), "all zeros": boot_sector(0, bytes(SECTOR)), "all ones": boot_sector(0, b"\xff" * 446),
}


def corrupted(suffix: str, seed: int) -> Damage:
    """Some hundred bytes of a partition, among those that are not zero, are something else."""
    def apply(image: Path) -> None:
        chance, part = random.Random(f"{suffix}{seed}"), look.partition(image, suffix)
        pages = []
        with open(image, "rb") as file:
            at = part.offset
            while True:
                try:
                    at = os.lseek(file.fileno(), at, os.SEEK_DATA)
                except OSError:
                    break
                if at >= part.offset + part.size:
                    break
                end = min(os.lseek(file.fileno(), at, os.SEEK_HOLE), part.offset + part.size)
                pages += range(at, end, 4096)
                at = end
        # Metadata comes first in a partition; most of what is hit has to be that.
        early = pages[:max(16, len(pages) // 10)]
        for _ in range(chance.choice((1, 5, 40, 300))):
            page = chance.choice(early if chance.random() < 0.7 else pages)
            data = bytearray(read_at(image, page, 4096))
            places = [place for place, byte in enumerate(data) if byte] or [0]
            place = chance.choice(places)
            size = chance.choice((1, 1, 4, 8, 64))
            data[place:place + size] = chance.choice((chance.randbytes(size), bytes(size), b"\xff" * size))
            write_at(image, page, bytes(data[:4096]))
    return apply


# Engine stores


def store_file(path: str, change: Callable[[Path], None]) -> Damage:
    """Changes one file of the slot's store; a * stands for any name."""
    def apply(image: Path) -> None:
        with look.mounted(image, "rootA", write=True) as root:
            for found in sorted((root / "balena").glob(path)):
                change(found)
    return apply


def text(content: str | bytes) -> Callable[[Path], None]:
    return lambda path: [path.unlink(), path.write_bytes(content.encode() if isinstance(content, str) else content)]


def link(target: str) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        path.rename(path.with_name(path.name + ".away"))
        path.symlink_to(target)
    return apply


def tar_split(change: Callable[[list[dict]], None]) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        rows = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
        change(rows)
        path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    return apply


def _rename_files(name: str) -> Callable[[list[dict]], None]:
    def change(rows: list[dict]) -> None:
        for row in rows:
            if row["type"] == 1 and row.get("payload"):
                row["name"] = name
    return change


def _big_files(rows: list[dict]) -> None:
    for row in rows:
        if row.get("size"):
            row["size"] = (1 << 63) - 1


LAYERS = "image/overlay2/layerdb/sha256/*/"
PASSWD = "../../../../../../../../etc/passwd"
# Each has to be refused by extract: none is what an engine leaves.
STORES: dict[str, Damage] = {
    "cache-id leads out": store_file(LAYERS + "cache-id", text("../../../../../../../../etc")),
    "cache-id is absolute": store_file(LAYERS + "cache-id", text("/etc")),
    "cache-id is long": store_file(LAYERS + "cache-id", text("a" * 100_000)),
    "cache-id is not text": store_file(LAYERS + "cache-id", text(b"\xff\0\n" * 20)),
    "parent leads out": store_file(LAYERS + "parent", text("sha256:" + "../" * 30 + "etc")),
    "layers in a circle": store_file(LAYERS + "parent", lambda path: path.write_text("sha256:" + path.parent.name)),
    "diff is no digest": store_file(LAYERS + "diff", text("sha256:../../../etc/passwd")),
    "layer is a link to the host": store_file("overlay2/*/diff", link("/etc")),
    "layer is a link to itself": store_file("overlay2/*/diff", link("diff")),
    "layer database is a link to the host": store_file("image/overlay2/layerdb", link("/etc")),
    "tar-split leads out": store_file(LAYERS + "tar-split.json.gz", tar_split(_rename_files(PASSWD))),
    "tar-split is absolute": store_file(LAYERS + "tar-split.json.gz", tar_split(_rename_files("/etc/passwd"))),
    "tar-split with huge files": store_file(LAYERS + "tar-split.json.gz", tar_split(_big_files)),
    "tar-split without end": store_file(LAYERS + "tar-split.json.gz", tar_split(lambda rows: rows.extend(rows * 5))),
    "tar-split is a bomb": store_file(LAYERS + "tar-split.json.gz", lambda path: path.write_bytes(gzip.compress(bytes(300 << 20), 9))),
    "tar-split is cut": store_file(LAYERS + "tar-split.json.gz", lambda path: os.truncate(path, path.stat().st_size // 2)),
    "tar-split is missing": store_file(LAYERS + "tar-split.json.gz", Path.unlink),
    "a file has changed": store_file("overlay2/*/diff/bin/busybox", lambda path: path.write_bytes(path.read_bytes()[:-1] + b"!")),
    "a file is missing": store_file("overlay2/*/diff/bin/busybox", Path.unlink),
    "configuration has changed": store_file("image/overlay2/imagedb/content/sha256/*", lambda path: path.write_bytes(path.read_bytes() + b" ")),
    "configuration is deep": store_file("image/overlay2/imagedb/content/sha256/*", text("[" * 200_000)),
    "configuration is empty": store_file("image/overlay2/imagedb/content/sha256/*", text("")),
    "images are a link to the host": store_file("image/overlay2/imagedb/content/sha256", link("/etc")),
    "aufs": store_file("overlay2", lambda path: path.rename(path.with_name("aufs"))),
}
