"""The record of each layer's archive that bundle-tool image preload writes is the one that a real engine writes."""
import gzip
import json
import unittest
from pathlib import Path

from ou_image import look, oddities, shapes, stores
from ou_image.case import ImageTest


def entries(root: Path, chain: str) -> list[dict]:
    """The lines of a layer's record, but for zeros at the archive's end, which engines cut differently, and positions."""
    lines = gzip.decompress((root / "image/overlay2/layerdb/sha256" / chain / "tar-split.json.gz").read_bytes()).splitlines()
    found = [json.loads(line) for line in lines]
    positions = [entry.pop("position") for entry in found]
    assert positions == list(range(len(positions))), "positions do not count up"
    while found and found[-1]["type"] == 2:
        found.pop()
    return found


class Record(ImageTest):

    def test_records_are_an_engines(self):
        """Segments, names, sizes and checksums of every layer, in the same JSON."""
        image, archives = self.copy(shapes.TINY_X86), oddities.archives()
        self.preload(image, archives)
        compared = 0
        with look.mounted(image, "data") as data, stores.with_archives(self.dir / "peer", archives):
            for chain in stores.layers(self.dir / "peer/data"):
                mine, theirs = entries(data / "docker", chain), entries(self.dir / "peer/data", chain)
                self.assertEqual(mine, theirs, chain)
                compared += len(mine)
        self.assertGreater(compared, 20)


if __name__ == "__main__":
    unittest.main()
