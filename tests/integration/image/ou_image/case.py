"""What the tests of the image commands share: a scratch directory that is gone afterwards, copies of the images, the real
program, and what has to be true of an image after any change."""
from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
import unittest
from pathlib import Path

from bundles import FLEET, TOOL
from ou_lab.device import APP_ID

from . import look, shapes

COMMIT = "46ba751f55679ce8fbf2d4266f1fc6b9"
INPUT_ERROR = 4  # exit status for an input that is not usable; docs/bundle-tool.md
REGISTRY = "registry2.balena-cloud.com/v2/"
NOBODY = 65534


def run(*arguments: object, check: bool = True, seconds: int = 250, **options) -> subprocess.CompletedProcess:
    """Runs bundle-tool. With check, a failure fails the test and shows what it said."""
    done = subprocess.run([TOOL, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          errors="replace", timeout=seconds, check=False, **options)
    if check and done.returncode != 0:
        raise AssertionError(f"{arguments}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def image_name(service: str) -> str:
    """Under which the release has a service's image, without digest."""
    return REGISTRY + look.sha256(service.encode())[7:39]


def apps_json(services: list[str], digests: dict[str, str] | None = None) -> dict:
    """A target state in the form of supervisors since 13 (engine-and-supervisor.md section 1)."""
    digests = digests or {}
    return {"config": {"RESIN_SUPERVISOR_POLL_INTERVAL": "900000"}, "apps": {FLEET: {
        "id": APP_ID, "name": "test-fleet", "class": "fleet", "is_host": False, "releases": {COMMIT: {
            "id": 2345678, "volumes": {"data": {}}, "networks": {},
            "services": {name: {
                "id": 100 + index, "image_id": 200 + index, "running": True,
                "image": image_name(name) + "@" + digests.get(name, look.sha256(name.encode())),
                "environment": {"LOG_LEVEL": "info"}, "labels": {"io.balena.features.supervisor-api": "1"},
                "composition": {"restart": "always", "volumes": ["data:/data"]}} for index, name in enumerate(services)}}}}}}


class ImageTest(unittest.TestCase):
    maxDiff = 4000

    def setUp(self) -> None:
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        # Not below the build directory: an unprivileged user has to get there.
        self.dir = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ou-image-", dir="/var/tmp")))

    def copy(self, shape: shapes.Shape, name: str = "disk.img") -> Path:
        return look.copy(shapes.image(shape), self.dir / name)

    def expect(self, status: int, *arguments: object, **options) -> subprocess.CompletedProcess:
        done = run(*arguments, check=False, **options)
        self.assertEqual(done.returncode, status, f"{arguments}\n{done.stdout}{done.stderr}")
        return done

    def inner(self, flasher: Path, name: str = "inner.img") -> Path:
        """A copy of the image that a flasher carries."""
        with look.mounted(flasher, "rootA") as root:
            found, = (root / "opt").glob("*.balenaos-img")
            return look.copy(found, self.dir / name)

    def with_partitions(self, shape: shapes.Shape, image: Path) -> Path:
        """The image that has slots and data: itself, or the one inside a flasher."""
        return self.inner(image) if shape.flasher else image

    def write_apps(self, services: list[str]) -> Path:
        path = self.dir / "apps.json"
        path.write_text(json.dumps(apps_json(services)))
        return path

    def preload_arguments(self, image: Path, archives: dict[str, Path]) -> list[object]:
        sources = [word for name, archive in archives.items() for word in ("--image", f"{name}=docker-archive:{archive}")]
        return ["image", "preload", image, "--target-state", self.write_apps(list(archives)), *sources]

    def preload(self, image: Path, archives: dict[str, Path], *more: object, **options) -> subprocess.CompletedProcess:
        return run(*self.preload_arguments(image, archives), *more, **options)

    def check_clean(self, image: Path) -> None:
        """Partition table and every file system are in order."""
        verified = subprocess.run(["sfdisk", "--verify", image], capture_output=True, text=True, check=False)
        self.assertEqual(verified.returncode, 0, verified.stdout + verified.stderr)
        self.assertIn("No errors detected", verified.stdout + verified.stderr)
        parts = [part for part in look.partitions(image) if part.name != "extended"]
        self.assertLessEqual(max(part.offset + part.size for part in parts), image.stat().st_size)
        for part in parts:
            suffix = part.name.rpartition("-")[2]
            look.fsck_fat(image, suffix) if suffix == "boot" else look.fsck_ext(image, suffix)

    def assert_unchanged(self, image: Path, shape: shapes.Shape) -> None:
        self.assertEqual(image.stat().st_size, shapes.image(shape).stat().st_size)
        self.assertEqual(look.digest_of(image), look.digest_of(shapes.image(shape)))
