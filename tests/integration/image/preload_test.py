"""bundle-tool image preload: what it writes is what a real engine would have written, on every shape of image."""
import json
import os
import shutil
import subprocess
import time
import unittest
from pathlib import Path

from ou_image import hostapps, look, oddities, shapes, stores
from ou_image.case import COMMIT, FLEET, INPUT_ERROR, NOBODY, TOOL, ImageTest, image_name, run
from ou_lab import images

MIB = 1 << 20
ALIGNMENT = 4 * MIB


def free_bytes(image: Path) -> int:
    """What is free in the data partition's file system, the blocks kept for root too."""
    with look.mounted(image, "data") as data:
        info = os.statvfs(data)
        return info.f_bfree * info.f_frsize


class Preload(ImageTest):

    def small_release(self):
        """Two images of a few hundred kilobytes that share a layer."""
        found = {}
        for name in ("web", "job"):
            found[name] = images.write_image(self.dir / f"{name}.tar", [images.base_layer()], f"echo {name}; exec sleep 1000000\n")
        return found

    def check_store(self, image, archives, checks=()):
        """A real engine lists and saves the release and still has the supervisor; containers see what they should."""
        with stores.on_data_partition(image) as (engine, data):
            apps = json.loads((data / "apps.json").read_text())
            (app,) = apps["apps"].values()
            services = app["releases"][COMMIT]["services"]
            self.assertEqual(services.keys(), archives.keys())
            listed = {image["Id"]: image for image in engine.client.images()}
            for name, archive in archives.items():
                expected = look.archive_digests(archive)
                reference = services[name]["image"]
                self.assertEqual(reference.split("@")[0], image_name(name))
                self.assertEqual(engine.client.image(reference)["Id"], expected.config)
                self.assertIn(image_name(name) + ":latest", listed[expected.config]["RepoTags"])
                self.assertIn(reference, listed[expected.config]["RepoDigests"])
                self.assertEqual(look.saved(engine, image_name(name)), expected)
            supervisor = engine.client.image(f"balena_supervisor:v{hostapps.SUPERVISOR_VERSION}")
            for reference in (hostapps.SUPERVISOR_NAME, f"{hostapps.SUPERVISOR_NAME}@{shapes.SUPERVISOR_DIGEST}"):
                self.assertEqual(engine.client.image(reference)["Id"], supervisor["Id"])
            for name in checks:
                command, expected = oddities.CHECKS[name]
                user = "1000:1000" if name in ("setuid", "setgid", "capability") else "0:0"
                printed = stores.run_in(engine, image_name("worker"), command, user)
                self.assertEqual(printed.rstrip("\n"), expected, name)

    def test_every_shape_is_accepted_by_an_engine(self):
        """Images with all oddities, on every shape: listed with tag and digest, saved with the same digests, run; the other
        partitions, the table and all file systems are in order."""
        for shape in shapes.COMPLETE:
            with self.subTest(shape=shape.name):
                image, archives = self.copy(shape), oddities.archives(shape.architecture)
                if shape is not shapes.X86:
                    del archives["main"]  # worker has all of its layers
                outer = look.contents(image, "rootA" if shape.flasher else "data")
                inner = look.contents(self.with_partitions(shape, image), "data")
                self.preload(image, archives)
                self.check_clean(image)
                self.assertEqual(look.contents(image, "rootA" if shape.flasher else "data"), outer)
                changed = self.with_partitions(shape, image)
                self.check_clean(changed)
                self.assertEqual(look.contents(changed, "data"), inner)
                self.check_store(changed, archives, oddities.CHECKS if shape is shapes.X86 else ["whiteout", "capability"])

    def test_layers_are_those_that_an_engine_writes(self):
        """Each file of each layer is what a real engine makes of the same archive: kind, mode, owner, time, attributes, device,
        link target, content and hard links; and so are the layer database's facts."""
        image, archives, since = self.copy(shapes.TINY_X86), oddities.archives(), time.time() - 1
        self.preload(image, archives)
        with look.mounted(image, "data") as data, stores.with_archives(self.dir / "peer", archives):
            mine, peers = stores.layers(data / "docker"), stores.layers(self.dir / "peer/data")
            for chain, peer in peers.items():
                self.assertIn(chain, mine)
                for fact in ("diff", "size", "parent"):
                    self.assertEqual(mine[chain].get(fact), peer.get(fact), fact)
                mine_tree, peer_tree = (stores.tree(one["directory"] / "diff") for one in (mine[chain], peer))
                self.assertEqual(stores.differences(mine_tree, peer_tree, since), [], chain)
                self.assertEqual((mine[chain]["directory"] / "lower").exists(), (peer["directory"] / "lower").exists())

    def test_a_supervisor_starts_the_release_with_no_network(self):
        """The stand-in supervisor takes the target from apps.json, finds every image and starts every service."""
        image, archives = self.copy(shapes.TINY_X86), self.small_release()
        self.preload(image, archives, "--pin")
        with stores.on_data_partition(image) as (engine, data), stores.supervisor(engine, data) as supervisor:
            running = supervisor.wait_for_release(COMMIT)
            self.assertEqual({name: container["Image"] for name, container in running.items()},
                             {name: look.archive_digests(archive).config for name, archive in archives.items()})
            self.assertEqual(json.loads((data / "apps.json").read_text()), {})
            self.assertTrue((data / "apps.json.preloaded").exists())
            pinned, = supervisor.rows("SELECT value FROM config WHERE key = 'pinDevice'")
            self.assertEqual(json.loads(pinned[0])["commit"], COMMIT)

    def test_a_bundle_is_preloaded(self):
        """A bundle gives the engine the same images as their archives do, under the names of the bundle."""
        archives, image = self.small_release(), self.copy(shapes.TINY_PI)
        (self.dir / "compose.yml").write_text("services:\n" + "".join(f"  {name}:\n    restart: always\n" for name in archives))
        run("create", "--output", self.dir / "a.bundle", "--unsigned", "--fleet-uuid", FLEET, "--device-type", shapes.TINY_PI.slug,
            "--sequence", "7", "--compose", self.dir / "compose.yml",
            *[word for name, archive in archives.items() for word in ("--image", f"{name}=docker-archive:{archive}")])
        manifest = json.loads((self.dir / "a.bundle/manifest.json").read_text())
        (commit, release), = manifest["release"][FLEET]["releases"].items()
        run("image", "preload", image, "--bundle", self.dir / "a.bundle")
        self.check_clean(image)
        with stores.on_data_partition(image) as (engine, data), stores.supervisor(engine, data) as supervisor:
            for name, archive in archives.items():
                self.assertEqual(engine.client.image(release["services"][name]["image"])["Id"], look.archive_digests(archive).config)
                self.assertEqual(look.saved(engine, release["services"][name]["image"].split("@")[0]), look.archive_digests(archive))
            self.assertEqual(supervisor.wait_for_release(commit).keys(), archives.keys())

    def test_room_is_made_as_asked_and_no_more(self):
        """What fits makes no image larger. What does not, and room that is asked for, makes data larger by what is missing,
        rounded up to the alignment and what the file system itself needs for it."""
        before = shapes.image(shapes.TINY_X86).stat().st_size
        small = self.copy(shapes.TINY_X86, "small.img")
        self.preload(small, self.small_release())
        self.assertEqual(small.stat().st_size, before)
        for asked in (0, 300 * MIB):
            with self.subTest(asked=asked):
                image, archives = self.copy(shapes.TINY_X86, f"{asked}.img"), self.small_release()
                if asked == 0:
                    layers = [images.base_layer(), images.file_layer({"bulk": hostapps.noise("bulk", 250 * MIB)})]
                    archives["bulk"] = images.write_image(self.dir / "bulk.tar", layers, "exec sleep 1000000\n")
                self.preload(image, archives, "--additional-space", str(asked))
                grown = image.stat().st_size - before
                part = look.partition(image, "data")
                with look.loop(image, part) as device:
                    facts = dict(line.split(":", 1) for line in shapes.run("dumpe2fs", "-h", device).stdout.splitlines() if ":" in line)
                self.assertEqual(grown % ALIGNMENT, 0)
                self.assertEqual(part.size - look.partition(shapes.image(shapes.TINY_X86), "data").size, grown)
                self.assertGreater(grown, 0)
                self.assertEqual(int(facts["Block count"]) * int(facts["Block size"]), part.size)  # it fills its partition
                free = free_bytes(image)
                self.assertGreaterEqual(free, asked)
                self.assertLess(free - asked, ALIGNMENT + grown // 20 + 2 * MIB)
                self.check_clean(image)

    def test_without_any_privilege(self):
        """The same bytes as uid 65534 without capabilities, groups or new privileges."""
        archives = self.small_release()
        privileged, unprivileged = self.copy(shapes.TINY_X86, "root.img"), self.copy(shapes.TINY_X86, "nobody.img")
        self.preload(privileged, archives)
        program = shutil.copy(TOOL, self.dir / "bundle-tool")
        for path in (self.dir, unprivileged, self.write_apps(list(archives)), *archives.values()):
            os.chown(path, NOBODY, NOBODY)
        arguments = self.preload_arguments(unprivileged, archives)
        done = subprocess.run(["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs", "--bounding-set=-all",
                               "--inh-caps=-all", program, *map(str, arguments)], capture_output=True, text=True, check=False,
                              cwd=self.dir, env={"PATH": os.environ["PATH"], "TMPDIR": str(self.dir)})
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(look.digest_of(unprivileged), look.digest_of(privileged))

    def test_the_same_inputs_give_the_same_bytes(self):
        """Twice the same preload, of all oddities and with growth: the images do not differ in a bit. In a flasher too."""
        for shape in (shapes.TINY_PI, shapes.TINY_FLASHER):
            with self.subTest(shape=shape.name):
                digests = set()
                for name in ("one.img", "two.img"):
                    image = self.copy(shape, name)
                    self.preload(image, oddities.archives(shape.architecture))
                    digests.add(look.digest_of(image))
                self.assertEqual(len(digests), 1)

    def test_again_writes_no_layer_twice(self):
        """A second preload of the same leaves each layer where it is, and the image's size."""
        image, archives = self.copy(shapes.TINY_X86), oddities.archives()

        def seen():
            with look.mounted(image, "data") as data:
                found = stores.layers(data / "docker")
                return {chain: (one["directory"].name, (one["directory"] / "diff").stat().st_ino) for chain, one in found.items()}
        self.preload(image, archives)
        first, size = seen(), image.stat().st_size
        self.preload(image, archives)
        self.assertEqual(seen(), first)
        self.assertEqual(image.stat().st_size, size)
        self.check_clean(image)
        self.check_store(image, archives)

    def test_killed_midway(self):
        """SIGKILL at any moment leaves the image as it was, or, where all was done, as it should be."""
        archives, whole = oddities.archives("arm64"), self.copy(shapes.TINY_PI, "whole.img")
        started = time.monotonic()
        self.preload(whole, archives)
        took, good, outcomes = time.monotonic() - started, look.digest_of(whole), []
        before = look.digest_of(shapes.image(shapes.TINY_PI))
        image = self.copy(shapes.TINY_PI)
        for fraction in (0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0):
            with subprocess.Popen([TOOL, *map(str, self.preload_arguments(image, archives))], stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL) as process:
                with self.subTest(fraction=fraction):
                    try:
                        process.wait(took * fraction)
                    except subprocess.TimeoutExpired:
                        process.kill()
                    outcomes.append(process.wait())
                    self.assertIn(look.digest_of(image), (before, good) if outcomes[-1] else (good,))
            if look.digest_of(image) != before:
                look.copy(shapes.image(shapes.TINY_PI), image)
        self.assertIn(-9, outcomes)

    def test_a_flasher_gets_a_larger_inner_image(self):
        """The image inside grows with its data partition, flash-rootA with it, and what lies behind moves with its content."""
        image, archives = self.copy(shapes.TINY_FLASHER), oddities.archives()
        before, inner = look.partitions(image), self.inner(image)
        self.preload(image, archives, "--additional-space", str(300 * MIB))
        after = {part.name: part for part in look.partitions(image)}
        grown = [part.name for part in before if after[part.name].size != part.size]
        self.assertEqual(grown, ["flash-rootA"])
        self.assertEqual(image.stat().st_size - shapes.image(shapes.TINY_FLASHER).stat().st_size,
                         after["flash-rootA"].size - next(part.size for part in before if part.name == "flash-rootA"))
        changed = self.inner(image, "changed.img")
        self.assertGreater(changed.stat().st_size, inner.stat().st_size)
        with look.mounted(image, "rootA") as root:
            self.assertEqual([path.name for path in (root / "opt").iterdir()], [Path(shapes.TINY_FLASHER.inner_path).name])
            self.assertIn(shapes.TINY_FLASHER.slug, (root / "usr/lib/os-release").read_text())
        self.check_store(changed, archives)

    def test_signed_and_encrypted_images_are_refused(self):
        """With the advice to carry the applications in a bundle, and not one byte changed."""
        for shape in shapes.REFUSED:
            with self.subTest(shape=shape.name):
                image = self.copy(shape)
                done = self.expect(INPUT_ERROR, *self.preload_arguments(image, self.small_release()))
                self.assertIn("bundle", done.stderr)
                self.assertIn(shape.kind, done.stderr)
                self.assert_unchanged(image, shape)

    def test_compressed_images_are_refused(self):
        """An image that has to be unpacked first, with the advice to do so."""
        packed = self.dir / "disk.img.zst"
        shutil.copy(shapes.compressed(shapes.TINY_PI, "zst"), packed)
        done = self.expect(INPUT_ERROR, *self.preload_arguments(packed, self.small_release()))
        self.assertIn("unpack", done.stderr)
        self.assertEqual(packed.read_bytes(), shapes.compressed(shapes.TINY_PI, "zst").read_bytes())

    def test_a_hundred_thousand_small_files(self):
        """Inodes are counted: the factory's data partition has too few."""
        layer = oddities.Layer()
        for folder in range(100):
            layer.directory(f"many/{folder}")
            for number in range(1000):
                layer.add(f"many/{folder}/file-{number}", b"%d\n" % number)
        archive = images.write_image(self.dir / "many.tar", [images.base_layer(), layer.bytes()], "exec sleep 1000000\n")
        image = self.copy(shapes.TINY_X86)
        self.preload(image, {"many": archive})
        self.check_clean(image)
        with stores.on_data_partition(image) as (engine, _):
            self.assertEqual(look.saved(engine, image_name("many")), look.archive_digests(archive))
            self.assertEqual(stores.run_in(engine, image_name("many"), "ls /many/99 | wc -l; cat /many/42/file-999").split(), ["1000", "999"])


if __name__ == "__main__":
    unittest.main()
