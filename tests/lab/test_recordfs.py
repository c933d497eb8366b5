"""The recording below the lab device's disk: what a cut leaves is what was synced before it, and the rest if that is asked for."""
import os
import random
import time

from ou_lab.power_cut import recorded
from ou_lab.recorded_disk import ALL, NOTHING, Log

SIZE = 64 << 10


def test_a_cut_leaves_what_was_synced(directory):
    image = directory / "disk.img"
    image.write_bytes(bytes(SIZE))
    with recorded(image, directory / "log") as disk:
        file = os.open(disk, os.O_RDWR)
        begin = time.monotonic()
        os.pwrite(file, b"a" * SIZE, 0)
        os.fsync(file)
        os.pwrite(file, b"b" * SIZE, 0)
        before_the_end = time.monotonic()
        os.fsync(file)
        os.close(file)
        assert disk.read_bytes() == b"b" * SIZE
    log = Log(directory / "log")

    def cut(moment, left):
        image.write_bytes(bytes(SIZE))
        log.cut(image, moment, left, random.Random(1))
        return image.read_bytes()
    assert cut(begin, ALL) == bytes(SIZE)
    assert cut(before_the_end, NOTHING) == b"a" * SIZE
    assert cut(before_the_end, ALL) == b"b" * SIZE
    assert cut(time.monotonic(), NOTHING) == b"b" * SIZE
