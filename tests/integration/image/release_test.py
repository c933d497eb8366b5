"""bundle-tool image extract --release, and services of a preloaded image as sources of create: an image that a real engine has
preloaded gives back what `docker save` gives; a store that is not right gives nothing."""
import gzip
import json
import subprocess
import unittest

from ou_image import look, oddities, shapes, stores
from ou_image.case import COMMIT, FLEET, INPUT_ERROR, ImageTest, apps_json, image_name, run
from ou_device import disk
from ou_lab import images

EXISTS = 6  # exit status for an output that is there already; docs/bundle-tool.md


def layout_images(directory):
    """Digests of the images in an OCI layout by their names."""
    found = {}
    for entry in json.loads((directory / "index.json").read_text())["manifests"]:
        manifest = json.loads(look._blob(directory, entry["digest"]))
        name = entry["annotations"]["org.opencontainers.image.ref.name"]
        found[name] = look.Digests(look.sha256(look._blob(directory, manifest["config"]["digest"])),
                                   tuple(look._layer(directory, layer["digest"]) for layer in manifest["layers"]))
        if [layer["digest"] for layer in manifest["layers"]] != list(found[name].layers):
            raise AssertionError(f"{name}: a layer is not named by its diff ID")
    return found


class Release(ImageTest):

    def preloaded(self, archives, shape=shapes.TINY_X86):
        """An image that a real engine has loaded these archives into, and what it saves them as."""
        image, saved = self.copy(shape), {}
        with stores.on_data_partition(image) as (engine, data):
            for name, archive in archives.items():
                identity = disk.load(engine, archive)
                subprocess.run(["docker", "-H", f"unix://{engine.socket_path}", "tag", identity, image_name(name) + ":latest"], check=True)
                saved[name] = look.saved(engine, image_name(name))
            (data / "apps.json").write_text(json.dumps(apps_json(list(archives))))
        return image, saved

    def small_archives(self):
        return {name: images.write_image(self.dir / f"{name}.tar", [images.base_layer()], f"echo {name}; exec sleep 1000000\n")
                for name in ("web", "job")}

    def create(self, bundle, *arguments):
        run("create", "--output", self.dir / bundle, "--unsigned", "--sequence", "1", "--device-type", shapes.TINY_X86.slug, *arguments)
        return json.loads(run("inspect", "--json", self.dir / bundle).stdout)

    def assert_nothing_left(self, name):
        self.assertEqual([path.name for path in self.dir.glob(name + "*")], [])

    def test_every_oddity_comes_out_as_docker_save_gives_it(self):
        """Long names, hard links, sparse files, padding, whiteouts, layers that an engine has committed: the digests are the same."""
        image, saved = self.preloaded(oddities.archives())
        run("image", "extract", image, "--release", f"oci:{self.dir}/release")
        self.assertEqual(layout_images(self.dir / "release"), saved)

    def test_an_extracted_release_makes_a_bundle(self):
        """apps.json and layout go into create as they are; --image SERVICE=image:IMG gives the same bundle without the detour."""
        image, saved = self.preloaded(self.small_archives())
        done = json.loads(run("image", "extract", image, "--json", "--release", f"oci:{self.dir}/release").stdout)
        release = done["release"]
        self.assertEqual((release["commit"], release["fleet_uuid"], set(release["services"])), (COMMIT, FLEET, set(saved)))
        state = ["--target-state", release["target_state"]]
        sources = {"detour": f"oci:{self.dir}/release:{{}}", "direct": f"image:{image}"}
        made = {way: self.create(way + ".bundle", *state, *[word for name in saved for word in ("--image", f"{name}=" + source.format(name))])
                for way, source in sources.items()}
        for way, seen in made.items():
            self.assertEqual(seen["commit"], COMMIT, way)
        read = [(self.dir / f"{way}.bundle/manifest.json").read_text() for way in sources]
        pictures = [sorted(entry["id"] for entry in json.loads(text)["images"]) for text in read]
        self.assertEqual(pictures[0], sorted(one.config for one in saved.values()))
        self.assertEqual(pictures[0], pictures[1])

    def test_a_changed_file_is_found_and_nothing_is_left(self):
        """One other byte in one file of a layer: the error names it, and there is no directory, whole or unfinished."""
        image, _ = self.preloaded(self.small_archives())
        with look.mounted(image, "data", write=True) as data:
            file = next(path for path in (data / "docker/overlay2").glob("*/diff/bin/*") if path.is_file() and not path.is_symlink())
            content = bytearray(file.read_bytes())
            content[len(content) // 2] ^= 1
            file.write_bytes(content)
        done = self.expect(INPUT_ERROR, "image", "extract", image, "--release", f"oci:{self.dir}/out")
        self.assertIn(f"bin/{file.name} has been changed", done.stderr)
        self.assert_nothing_left("out")

    def test_a_record_that_fits_the_files_and_not_the_layer_is_found(self):
        """Only the diff ID tells that a header is another one."""
        image, _ = self.preloaded(self.small_archives())
        with look.mounted(image, "data", write=True) as data:
            for record in (data / "docker/image/overlay2/layerdb/sha256").glob("*/tar-split.json.gz"):
                lines = gzip.decompress(record.read_bytes()).splitlines(keepends=True)
                first = json.loads(lines[0])
                first["payload"] = first["payload"][:8] + ("AAAA" if first["payload"][8:12] != "AAAA" else "BBBB") + first["payload"][12:]
                record.write_bytes(gzip.compress(json.dumps(first).encode() + b"\n" + b"".join(lines[1:])))
        done = self.expect(INPUT_ERROR, "image", "extract", image, "--release", f"oci:{self.dir}/out")
        self.assertIn("the layer hashes to", done.stderr)
        self.assert_nothing_left("out")

    def test_a_service_that_is_not_there_is_named(self):
        """apps.json names an image that the store does not have."""
        image, _ = self.preloaded(self.small_archives())
        with look.mounted(image, "data", write=True) as data:
            (data / "apps.json").write_text(json.dumps(apps_json(["web", "job", "ghost"])))
        done = self.expect(INPUT_ERROR, "image", "extract", image, "--release", f"oci:{self.dir}/out")
        self.assertIn("service ghost", done.stderr)
        self.assert_nothing_left("out")

    def test_what_is_there_is_not_touched(self):
        """An output that exists is refused, and stays as it is."""
        (self.dir / "out").mkdir()
        (self.dir / "out/mine").write_text("mine")
        done = self.expect(EXISTS, "image", "extract", shapes.image(shapes.TINY_X86), "--os", f"oci:{self.dir}/new", "--supervisor", f"oci:{self.dir}/out")
        self.assertIn("out is there already", done.stderr)
        self.assertEqual((self.dir / "out/mine").read_text(), "mine")
        self.assert_nothing_left("new")


if __name__ == "__main__":
    unittest.main()
