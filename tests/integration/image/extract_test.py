"""bundle-tool image extract, and images as sources of create: what comes out is what `docker save` gives."""
import json
import tempfile
import unittest
from pathlib import Path

from ou_image import hostapps, look, shapes
from ou_image.case import FLEET, INPUT_ERROR, ImageTest, run
from ou_device import disk

COMPRESSIONS = ["zip", "gz", "bz2", "xz", "zst"]


def saved_by_an_engine(image: Path, suffix: str, root: str) -> look.Digests:
    """What an engine on an image's store says of the one image that is in there."""
    with tempfile.TemporaryDirectory(prefix="ou-extract-", dir="/var/tmp") as directory:
        copy = look.copy(image, Path(directory) / "copy.img")
        with look.mounted(copy, suffix, write=True) as mounted, disk.engine_on(mounted / root) as engine:
            found, = {one["Id"] for one in engine.client.images()}
            return look.saved(engine, found)


class Extract(ImageTest):

    def extract(self, image, name="out", **options):
        directory = self.dir / name
        run("image", "extract", image, "--os", f"oci:{directory}/os", "--supervisor", f"oci:{directory}/supervisor", **options)
        return look.layout_digests(directory / "os"), look.layout_digests(directory / "supervisor")

    def expected(self, shape):
        image = self.with_partitions(shape, shapes.image(shape))
        return saved_by_an_engine(image, "rootA", "balena"), saved_by_an_engine(image, "data", "docker")

    def test_every_shape_gives_what_docker_save_gives(self):
        """The layers and configurations of host OS and supervisor are the engine's, bit for bit, and the image is not touched."""
        for shape in shapes.COMPLETE:
            with self.subTest(shape=shape.name):
                before = look.digest_of(shapes.image(shape))
                self.assertEqual(self.extract(shapes.image(shape), shape.name), self.expected(shape))
                self.assertEqual(look.digest_of(shapes.image(shape)), before)

    def test_compressed_images_are_read_as_they_are(self):
        """zip, gzip, bzip2, xz and zstd, named by what they are and not by their extension."""
        expected = look.archive_digests(hostapps.hostapp(shapes.TINY_PI.slug, "arm64", tiny=True))
        for kind in COMPRESSIONS:
            with self.subTest(kind=kind):
                odd = self.dir / f"{kind}.download"
                odd.symlink_to(shapes.compressed(shapes.TINY_PI, kind))
                self.assertEqual(self.extract(odd, "out-" + kind)[0], expected)

    def test_a_real_image_from_xz(self):
        """The usual download: a compressed image with a whole OS in it."""
        expected = look.archive_digests(hostapps.hostapp(shapes.PI.slug, "arm64"))
        self.assertEqual(self.extract(shapes.compressed(shapes.PI, "xz"))[0], expected)

    def test_a_truncated_download_is_an_error(self):
        """Half a compressed file gives an error that names it, and no OCI layout that looks whole."""
        for kind in COMPRESSIONS:
            with self.subTest(kind=kind):
                whole = shapes.compressed(shapes.TINY_PI, kind).read_bytes()
                half = self.dir / f"half.{kind}"
                half.write_bytes(whole[:len(whole) * 9 // 10])
                done = self.expect(INPUT_ERROR, "image", "extract", half, "--os", f"oci:{self.dir}/half-{kind}")
                self.assertIn(half.name, done.stderr)
                self.assertFalse((self.dir / f"half-{kind}/index.json").exists())

    def test_an_image_is_a_source_of_a_bundle(self):
        """create takes host OS and supervisor from the image, with names and versions, and verify accepts the bundle."""
        for shape in (shapes.PI, shapes.X86, shapes.FLASHER):
            with self.subTest(shape=shape.name):
                bundle, key = self.dir / f"{shape.name}.bundle", self.dir / shape.name
                run("key", "generate", key, "--no-password")
                run("create", "--output", bundle, "--sign-key", f"{key}.key", "--fleet-uuid", FLEET, "--sequence", "8",
                    "--os-image", f"image:{shapes.image(shape)}", "--supervisor-image", f"image:{shapes.image(shape)}")
                run("verify", "--trust", f"{key}.pub", bundle)
                seen = json.loads(run("inspect", "--json", bundle).stdout)
                hostapp, supervisor = self.expected(shape)
                self.assertEqual((seen["os"]["device_type"], seen["os"]["version"], seen["os"]["image_id"]),
                                 (shape.slug, hostapps.OS_VERSION, hostapp.config))
                self.assertEqual(seen["supervisor"], {"name": hostapps.SUPERVISOR_NAME, "version": hostapps.SUPERVISOR_VERSION,
                                                      "image_id": supervisor.config})


if __name__ == "__main__":
    unittest.main()
