"""Images and layers that want to do harm: each command ends with an answer, and changes nothing that is not its own."""
import gzip
import itertools
import json
import os
import resource
import subprocess
import tarfile
import unittest
from pathlib import Path

from ou_image import damage, look, oddities, shapes, stores
from ou_image.case import TOOL, ImageTest, image_name
from ou_image.hostapps import noise
from ou_lab import images

SEEDS = int(os.environ.get("OU_IMAGE_SEEDS", "6"))
REFUSED = 4  # an input is not usable
ANSWERS = (0, REFUSED, 5)  # done, refused, no space
ACCESS = {"inspect": None, "extract": None, "configure": "boot", "preload": "data"}  # what a command may change


def limits():
    """More memory than any image of this size needs; more output than any gives."""
    resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
    resource.setrlimit(resource.RLIMIT_FSIZE, (3 << 30, 3 << 30))


class Hostile(ImageTest):

    def setUp(self):
        super().setUp()
        self.archives = {"web": images.write_image(self.dir / "web.tar", [images.base_layer()], "exec sleep 1000000\n")}
        (self.dir / "config.json").write_text(json.dumps({"applicationId": 1, "deviceType": "raspberrypi4-64", "apiEndpoint": "https://api.example"}))
        self.output = (str(number) for number in itertools.count())

    def arguments(self, command, image):
        out = self.dir / f"out{next(self.output)}"
        return {"inspect": ["image", "inspect", image, "--json"],
                "extract": ["image", "extract", image, "--os", f"oci:{out}/os", "--supervisor", f"oci:{out}/supervisor"],
                "configure": ["image", "configure", image, "--config", self.dir / "config.json"],
                "preload": self.preload_arguments(image, self.archives)}[command]

    def answer(self, *arguments):
        """The exit status; that of a crash or none in time fails the test."""
        done = subprocess.run([TOOL, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              errors="replace", timeout=60, check=False, preexec_fn=limits)
        self.assertIn(done.returncode, ANSWERS, f"{arguments}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
        if done.returncode:
            said = done.stderr + (done.stdout if "--json" in arguments else "")
            self.assertRegex(said, r"\w+ \w+", "it does not say why")
            self.assertLess(len(said), 20_000)
        return done.returncode

    def each_command(self, image, where, commands=tuple(ACCESS)):
        """Runs the commands on copies of a broken image. A refusal leaves every byte as it was; success, all but one partition."""
        answers, broken = {}, look.digest_of(image)
        for command in commands:
            with self.subTest(where=where, command=command):
                copy = look.copy(image, self.dir / "copy.img")
                answers[command] = self.answer(*self.arguments(command, copy))
                if answers[command] or ACCESS[command] is None:
                    self.assertEqual(look.digest_of(copy), broken)
                else:
                    self.assertEqual(look.contents(copy, ACCESS[command]), look.contents(image, ACCESS[command]))
                    look.fsck_ext(copy, "data") if command == "preload" else look.fsck_fat(copy)
        return answers

    def test_partition_tables(self):
        """Tables that lie or lead in circles are refused by every command."""
        for shape, tables in ((shapes.TINY_PI, damage.MBR_TABLES), (shapes.TINY_X86, damage.GPT_TABLES)):
            for name, apply in tables.items():
                image = self.copy(shape)
                apply(image)
                answers = self.each_command(image, f"{shape.table}: {name}")
                with self.subTest(where=f"{shape.table}: {name}"):
                    self.assertEqual(set(answers.values()), {REFUSED})

    def test_no_images(self):
        """Files that are no disk images at all."""
        for name, content in (("empty", b""), ("text", b"hello\n" * 1000), ("zeros", bytes(1 << 20)), ("noise", noise("x", 1 << 20)),
                              ("a few bytes", b"\x1f\x8b\x08"), ("gzip of nothing", gzip.compress(b""))):
            image = self.dir / "none.img"
            image.write_bytes(content)
            answers = self.each_command(image, name)
            with self.subTest(where=name):
                self.assertEqual(set(answers.values()), {REFUSED})

    def test_things_that_are_no_files(self):
        """A directory, a fifo that nobody writes to, a device without end, nothing at all."""
        os.mkfifo(self.dir / "fifo")
        for path in (self.dir, self.dir / "fifo", "/dev/zero", self.dir / "missing"):
            for command in ACCESS:
                with self.subTest(path=str(path), command=command):
                    self.assertEqual(self.answer(*self.arguments(command, path)), REFUSED)

    def test_superblocks_that_lie(self):
        """ext4 superblocks whose checksum is right and whose numbers are not; in the slot for readers, in data for writers."""
        for name, on in damage.SUPERBLOCKS.items():
            for suffix, commands in (("rootA", ("inspect", "extract")), ("data", ("inspect", "preload"))):
                image = self.copy(shapes.TINY_PI)
                on(suffix)(image)
                self.each_command(image, f"{suffix}: {name}", commands)

    def test_a_file_system_larger_than_its_partition(self):
        """It is refused by whoever would change it."""
        image = self.copy(shapes.TINY_X86)
        damage.SUPERBLOCKS["more blocks than partition"]("data")(image)
        self.assertEqual(self.each_command(image, "larger", ("preload",)), {"preload": REFUSED})

    def test_boot_sectors_that_lie(self):
        """FAT parameter blocks with impossible numbers."""
        for shape in (shapes.TINY_PI, shapes.TINY_X86):
            for name, apply in damage.BOOT_SECTORS.items():
                image = self.copy(shape)
                apply(image)
                self.each_command(image, f"{shape.table}: {name}", ("inspect", "configure"))

    def test_random_corruption(self):
        """Real images with random bytes in their file systems. OU_IMAGE_SEEDS says how many; each is the same every time."""
        for suffix, commands in (("boot", ("inspect", "configure")), ("rootA", ("inspect", "extract")), ("data", ("inspect", "extract", "preload"))):
            for seed in range(SEEDS):
                image = self.copy(shapes.TINY_PI if seed % 2 else shapes.TINY_X86)
                damage.corrupted(suffix, seed)(image)
                self.each_command(image, f"{suffix}, seed {seed}", commands)

    def test_stores_that_lead_elsewhere(self):
        """Names in the engine's store that lead out of it, or that claim what is not there, are refused; nothing of this machine
        gets into the output."""
        secret = Path("/etc/passwd").read_bytes()
        for name, apply in damage.STORES.items():
            with self.subTest(store=name):
                image, out = self.copy(shapes.TINY_PI), self.dir / f"store{next(self.output)}"
                apply(image)
                self.assertEqual(self.answer("image", "extract", image, "--os", f"oci:{out}"), REFUSED)
                for path in out.rglob("*") if out.exists() else ():
                    self.assertFalse(path.is_file() and secret in path.read_bytes(), path)
                self.answer("image", "inspect", image)

    def hostile_layers(self):
        """Layers by name; what is created in or through them is called `evil`."""
        def one(*entries, form=tarfile.PAX_FORMAT):
            layer = oddities.Layer(form)
            for entry in entries:
                entry(layer)
            return layer.bytes()

        def add(name, content=b"evil"):
            return lambda layer: layer.add(name, content)
        evil = noise("evil", 100)
        return {
            "up": one(add("../../../../evil", evil)), "up inside": one(add("a/../../../evil", evil)), "dots": one(add("..", evil)),
            "up as a directory": one(lambda layer: layer.directory("../../../evil")),
            "through a link": one(lambda layer: layer.symlink("exit", "../../../.."), add("exit/evil", evil)),
            "through an absolute link": one(lambda layer: layer.symlink("exit", "/"), add("exit/evil", evil)),
            "through a file": one(add("file"), add("file/evil", evil)),
            "hard link out": one(lambda layer: layer.link("passwd", "../../../../etc/passwd")),
            "hard link to nothing": one(lambda layer: layer.link("a", "b")),
            "hard link to itself": one(lambda layer: layer.link("a", "a")),
            "hard link to a directory": one(lambda layer: layer.directory("d"), lambda layer: layer.link("a", "d")),
            "whiteout of the parent": one(add(".wh...", b"")), "whiteout of itself": one(add(".wh..", b"")), "whiteout of nothing": one(add(".wh.", b"")),
            "whiteout of the parent below": one(lambda layer: layer.directory("d"), add("d/.wh...", b"")),
            "opaque outside": one(add("../.wh..wh..opq", b"")),
            "a file twice": one(add("twice", b"1"), add("twice", b"2")),
            "a name too long": one(add("n" * 256)), "a link too long": one(lambda layer: layer.symlink("l", "x" * 5000)),
            "a device with a huge number": one(lambda layer: layer.add("d", kind=b"3", device=(1 << 30, 1 << 30)), form=tarfile.GNU_FORMAT),
            "cut": one(add("cut", noise("cut", 5000)))[:3000], "a size that lies": damage_size(one(add("a", b"12345"))),
        }

    def test_layers_that_lead_elsewhere(self):
        """Each hostile layer is refused with the image untouched, or stays in its directory in a store that an engine accepts."""
        for name, layer in self.hostile_layers().items():
            with self.subTest(layer=name):
                archive = images.write_archive(self.dir / "evil.tar", [images.base_layer(), layer], {"Cmd": ["/bin/sh"]})
                image = self.copy(shapes.TINY_X86)
                if self.answer(*self.preload_arguments(image, {"evil": archive})):
                    self.assert_unchanged(image, shapes.TINY_X86)
                    continue
                self.check_clean(image)
                with look.mounted(image, "data") as data:
                    outside = [path for path in data.rglob("evil") if "/diff/" not in str(path) and path.name == "evil"]
                    self.assertEqual(outside, [])
                with stores.on_data_partition(image) as (engine, _):
                    self.assertEqual(look.saved(engine, image_name("evil")), look.archive_digests(archive))


def damage_size(layer):
    """The first entry claims to be larger than the archive, with a header checksum that is right."""
    at = layer.index(b"ustar") - 257
    header = bytearray(layer[at:at + 512])
    header[124:136] = b"77777777777\0"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return layer[:at] + bytes(header) + layer[at + 512:]


if __name__ == "__main__":
    unittest.main()
