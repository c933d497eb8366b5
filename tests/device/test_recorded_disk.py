"""The recorded disk itself: what a cut leaves is what was flushed before it, and of the rest as much as is asked for."""
from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest
from ou_lab.recorded_disk import ALL, BLOCK, FLUSH, NOTHING, SOME, Log, RecordedDisk

BLOCKS = 64


@pytest.fixture
def log(tmp_path: Path) -> Log:
    """Of a disk on which `a` was written and flushed, then `b`, then `c` and flushed; each over all of it."""
    image = tmp_path / "image"
    image.write_bytes(bytes(BLOCKS * BLOCK))
    disk = RecordedDisk(image, tmp_path / "log", tmp_path / "socket")
    words = [word for letter in ("0x61", "0x62") for word in ("-c", f"write -P {letter} 0 {BLOCKS * BLOCK}", "-c", "flush")]
    words[-2:] = ["-c", f"write -P 0x63 0 {BLOCKS * BLOCK}", "-c", "flush"]
    # -t none: nothing is flushed that no command flushes, but for the end
    subprocess.run(["qemu-io", "-t", "none", "-f", "raw", f"nbd:unix:{disk.path}", *words], check=True, capture_output=True)
    disk.stop()
    assert image.read_bytes() == b"c" * (BLOCKS * BLOCK), "the machine that runs has every write"
    return Log(tmp_path / "log")


def cut(log: Log, directory: Path, moment: float, left: str) -> bytes:
    image = directory / "cut"
    image.write_bytes(bytes(BLOCKS * BLOCK))
    log.cut(image, moment, left, random.Random(1))
    return image.read_bytes()


def test_a_cut_leaves_what_was_flushed_and_of_the_rest_what_is_asked_for(log: Log, tmp_path: Path) -> None:
    first, second, third = (entry.time for entry in log.entries if entry.length)
    flushes = [entry.time for entry in log.entries if entry.kind == FLUSH]
    full = BLOCKS * BLOCK
    assert cut(log, tmp_path, first, NOTHING) == bytes(full)
    assert cut(log, tmp_path, first, ALL) == b"a" * full
    assert cut(log, tmp_path, second, NOTHING) == b"a" * full
    assert cut(log, tmp_path, third, NOTHING) == b"a" * full
    some = cut(log, tmp_path, third, SOME)
    blocks = {some[at:at + BLOCK] for at in range(0, full, BLOCK)}
    assert blocks == {letter * BLOCK for letter in (b"a", b"b", b"c")}, "blocks are kept or lost as a whole"
    assert flushes[-1] > third
    assert cut(log, tmp_path, flushes[-1], NOTHING) == b"c" * full


def test_a_moment_before_everything_leaves_the_disk_as_it_was(log: Log, tmp_path: Path) -> None:
    assert cut(log, tmp_path, log.entries[0].time - 1, ALL) == bytes(BLOCKS * BLOCK)
