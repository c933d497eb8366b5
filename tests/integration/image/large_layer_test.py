"""bundle-tool image preload of a layer of 3 GiB: in bounded memory, in one pass."""
import hashlib
import io
import json
import os
import subprocess
import tarfile
import unittest

from ou_image import hostapps, look, shapes, stores
from ou_image.case import TOOL, ImageTest, image_name

GIB = 1 << 30
MAX_MEMORY = 256 << 20
ROOM = 64 << 20
BLOCK = hostapps.noise("block", 1 << 20)


class Content:
    """Bytes that do not repeat within a file and cost nothing to make."""

    def __init__(self, size: int):
        self.size, self.at = size, 0

    def read(self, count: int) -> bytes:
        end = min(self.at + count, self.size)
        pieces = []
        while self.at < end:
            start = self.at % len(BLOCK)
            piece = bytearray(BLOCK[start:start + end - self.at])
            piece[:8] = self.at.to_bytes(8, "big")[:len(piece)]
            self.at += len(piece)
            pieces.append(bytes(piece))
        return b"".join(pieces)


class Hashing:
    def __init__(self, file):
        self.file, self.digest = file, hashlib.sha256()

    def write(self, data):
        self.digest.update(data)
        return self.file.write(data)


def write_archive(path):
    """A docker-archive with one layer of 3 GiB in three files and a few more, written without holding it."""
    layer = path.with_suffix(".layer")
    with open(layer, "wb") as raw:
        out = Hashing(raw)
        with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as tar:
            for number, size in enumerate((2 * GIB + 1, GIB - 4097, 12345)):
                entry = tarfile.TarInfo(f"large/{number}")
                entry.size = size
                tar.addfile(entry, Content(size))
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["/large/0"]},
                         "rootfs": {"type": "layers", "diff_ids": ["sha256:" + out.digest.hexdigest()]}}).encode()
    manifest = json.dumps([{"Config": "config.json", "RepoTags": None, "Layers": ["0/layer.tar"]}]).encode()
    with tarfile.open(path, "w") as tar:
        for name, content in (("config.json", config), ("manifest.json", manifest)):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        tar.add(layer, "0/layer.tar")
    layer.unlink()
    return look.Digests(look.sha256(config), ("sha256:" + out.digest.hexdigest(),))


class LargeLayer(ImageTest):

    def test_a_layer_of_three_gigabytes(self):
        """The program stays below 256 MiB, the image grows by little more than the layer, and an engine gives the layer back."""
        image, archive = self.copy(shapes.TINY_X86), self.dir / "large.tar"
        expected, before = write_archive(archive), image.stat().st_size
        # Without room of its own no engine starts; on a device the partition grows to the end of the disk first.
        arguments = [*self.preload_arguments(image, {"large": archive}), "--additional-space", ROOM]
        process = subprocess.Popen([TOOL, *map(str, arguments)], stdin=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        self.assertEqual(process.returncode, 0)
        self.assertLess(used.ru_maxrss * 1024, MAX_MEMORY)
        archive.unlink()
        self.assertLess(image.stat().st_size - before, 3 * GIB + 200 * (1 << 20) + ROOM)
        self.check_clean(image)
        with stores.on_data_partition(image) as (engine, _):
            self.assertEqual(look.saved(engine, image_name("large")), expected)


if __name__ == "__main__":
    unittest.main()
