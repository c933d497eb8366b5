"""A release with every oddity that a layer can have: what tar allows, written by hand, and what a real engine makes of changes
in a running container."""
from __future__ import annotations

import io
import json
import os
import struct
import tarfile
import tempfile
from pathlib import Path

from ou_device import disk
from ou_device.parts import cached, digest, run
from ou_lab import images
from ou_lab.engine import Engine

from . import hostapps
from .hostapps import CACHE, noise

OLD = 86_400  # 1970-01-02
CHECK_APPLETS = ["stat", "readlink", "id", "grep", "find", "sort", "cut", "md5sum"]
# VFS_CAP_REVISION_2, effective, CAP_NET_BIND_SERVICE (bit 10). capability.h of Linux.
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)


class Layer:
    """A tar being written entry by entry."""

    def __init__(self, kind: int = tarfile.PAX_FORMAT):
        self._out = io.BytesIO()
        self._tar = tarfile.open(fileobj=self._out, mode="w", format=kind, encoding="utf-8", errors="surrogateescape")

    def add(self, name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, mode: int = 0o644, link: str = "",
            owner: tuple[int, int] = (0, 0), mtime: float = 1_600_000_000, device: tuple[int, int] = (0, 0),
            xattrs: dict[str, bytes] | None = None) -> None:
        entry = tarfile.TarInfo(name)
        entry.type, entry.mode, entry.linkname, entry.mtime = kind, mode, link, mtime
        (entry.uid, entry.gid), (entry.devmajor, entry.devminor) = owner, device
        entry.size = len(content) if kind == tarfile.REGTYPE else 0
        entry.pax_headers = {f"SCHILY.xattr.{key}": value.decode("utf-8", "surrogateescape")
                             for key, value in (xattrs or {}).items()}
        self._tar.addfile(entry, io.BytesIO(content))

    def directory(self, name: str, mode: int = 0o755, **more) -> None:
        self.add(name, kind=tarfile.DIRTYPE, mode=mode, **more)

    def link(self, name: str, to: str) -> None:
        self.add(name, kind=tarfile.LNKTYPE, link=to)

    def symlink(self, name: str, to: str, **more) -> None:
        self.add(name, kind=tarfile.SYMTYPE, mode=0o777, link=to, **more)

    def whiteout(self, name: str) -> None:
        folder, _, last = name.rpartition("/")
        self.add(f"{folder}/.wh.{last}" if folder else f".wh.{last}")

    def opaque(self, name: str) -> None:
        self.add(f"{name}/.wh..wh..opq")

    def bytes(self) -> bytes:
        self._tar.close()
        return self._out.getvalue()


def kinds_layer() -> bytes:
    """Every kind of entry, owner, mode and time."""
    layer, tool = Layer(), (hostapps.debian_tree() / "usr/bin/id").read_bytes()
    layer.directory("odd")
    layer.directory("odd/sticky", 0o1777)
    layer.directory("odd/group", 0o2775, owner=(1000, 50))
    layer.add("odd/setuid-id", tool, mode=0o4755)
    layer.add("odd/setgid-id", tool, mode=0o2755, owner=(0, 4242))
    reader = (hostapps.debian_tree() / "usr/bin/cat").read_bytes()
    layer.add("odd/capable-cat", reader, mode=0o755, xattrs={"security.capability": CAPABILITY})
    layer.add("odd/attributes", b"x", xattrs={"user.comment": b"two\nlines", "user.empty-ish": b"0", "user.bytes": bytes(range(1, 200))})
    layer.directory("odd/attributed", xattrs={"user.note": b"on a directory"})
    layer.add("odd/fifo", kind=tarfile.FIFOTYPE, mode=0o620)
    layer.add("odd/null", kind=tarfile.CHRTYPE, mode=0o666, device=(1, 3))
    layer.add("odd/large-minor", kind=tarfile.CHRTYPE, mode=0o600, device=(4095, 1048575))
    layer.add("odd/loop", kind=tarfile.BLKTYPE, mode=0o660, device=(7, 200), owner=(0, 6))
    layer.add("odd/empty")
    for size in (1, 511, 512, 513, 4095, 4096, 4097, 70_000, 5_000_000):
        layer.add(f"odd/size-{size}", noise(f"size{size}", size))
    layer.add("odd/zeros", bytes(3_000_000))
    layer.add("odd/no-mode", b"secret", mode=0)
    layer.add("odd/others", b"o", owner=(4_000_000_000, 3_999_999_999), mode=0o604)
    for name, mtime in (("epoch", 0), ("old", OLD), ("later", 4_102_444_800), ("fraction", 1_600_000_000.123456789)):
        layer.add(f"odd/time-{name}", b"t", mtime=mtime)
    layer.directory("odd/frozen", 0o500, mtime=OLD)
    layer.add("odd/frozen/inside", b"in a directory that is not writable")
    return layer.bytes()


def names_layer() -> bytes:
    """Links, and names that are long, deep, in other scripts or in none, in GNU's form."""
    layer = Layer(tarfile.GNU_FORMAT)
    layer.directory("./")
    layer.directory("./names")
    for name in ("ünïcödé", "u\u0308 decomposed", "日本語", "🚀", " leading", "trailing ", "new\nline", "back\\slash", "quote\"'`",
                 "-rf", "*?[a]", "\x7f\x01", "not-utf8-\udcff\udcfe", "L" * 255, "名" * 85):
        layer.add(f"./names/{name}", name.encode("utf-8", "surrogateescape"))
    deep = "./names"
    for level in range(60):
        deep += f"/level-{level}"
        layer.directory(deep)
    layer.add(deep + "/bottom", b"deep")
    layer.add("./implied/parents/of/a/file", b"no entries for the directories", mode=0o640, owner=(33, 33))
    layer.directory("./links")
    layer.add("./links/one", b"three names", mode=0o640, owner=(7, 8))
    layer.link("./links/two", "./links/one")
    layer.directory("./links/elsewhere")
    layer.link("./links/elsewhere/three", "./links/one")
    layer.symlink("./links/absolute", "/etc/hosts")
    layer.symlink("./links/dangling", "no/such/thing")
    layer.symlink("./links/self", "self")
    layer.symlink("./links/up", "../../../../../../etc/passwd")
    layer.symlink("./links/short", "s" * 59)
    layer.symlink("./links/edge", "e" * 60)
    layer.symlink("./links/long", "/".join(["long"] * 200), owner=(9, 10), mtime=OLD)
    layer.link("./links/to-a-link", "./links/dangling")
    layer.add("./links/pipe", kind=tarfile.FIFOTYPE)
    layer.link("./links/pipe-too", "./links/pipe")
    return layer.bytes()


def lower_layer() -> bytes:
    """What the next layer removes or replaces."""
    layer, folders = Layer(), set()
    layer.directory("white")
    for name in ("file", "tree/a", "tree/b/c", "opaque/old", "opaque/sub/old", "emptied/old", "becomes-file/x", "becomes-link/x",
                 "becomes-directory", "kept/a", "kept/b", "readded", "merged/lower", "touched"):
        for folder in reversed(Path(name).parents[:-1]):
            if folder not in folders:
                layer.directory(f"white/{folder}")
                folders.add(folder)  # an engine refuses a name that comes twice
        layer.add(f"white/{name}", b"lower " + name.encode())
    return layer.bytes()


def white_layer() -> bytes:
    """Whiteouts and opaque directories."""
    layer = Layer(tarfile.USTAR_FORMAT)
    layer.directory("white", 0o755, owner=(3, 4))
    layer.whiteout("white/file")
    layer.whiteout("white/tree")
    layer.directory("white/opaque", 0o750, owner=(11, 12))
    layer.opaque("white/opaque")
    layer.add("white/opaque/new", b"new")
    layer.directory("white/emptied")
    layer.opaque("white/emptied")
    layer.whiteout("white/kept/a")
    layer.whiteout("white/was-never-there")
    layer.add("white/becomes-file", b"a file now")
    layer.symlink("white/becomes-link", "kept")
    layer.directory("white/becomes-directory")
    layer.add("white/becomes-directory/x", b"x")
    layer.whiteout("white/readded")
    layer.add("white/readded", b"again")
    layer.add("white/merged/upper", b"upper")
    layer.add("white/touched", b"lower touched", mode=0o600, mtime=OLD)
    return layer.bytes()


def tool_layer() -> bytes:
    layer = Layer()
    for name in CHECK_APPLETS:
        layer.symlink(f"bin/{name}", "busybox")
    return layer.bytes()


def change(root: Path) -> None:
    """What a running container does to its files, through its merged directory."""
    (root / "white/kept/b").unlink()
    (root / "links/one").write_bytes(b"changed below three names")  # overlayfs copies it up, and its links
    for path in (root / "white/merged").iterdir():
        path.unlink()
    (root / "white/merged").rmdir()
    (root / "white/merged").mkdir()  # opaque
    (root / "white/merged/fresh").write_bytes(b"fresh")
    made = root / "made"
    made.mkdir()
    (made / "a").write_bytes(b"linked")
    (made / "sub").mkdir()
    os.link(made / "a", made / "sub/b")
    os.mknod(made / "device", 0o020640, os.makedev(5, 1))
    os.mkfifo(made / "fifo")
    (made / "capable").write_bytes(b"\x7fELF")
    os.setxattr(made / "capable", "security.capability", CAPABILITY)
    os.setxattr(made / "capable", "user.kept", b"not by this engine")
    os.chown(made / "sub", 1234, 5678)
    (made / "sticky").mkdir()
    (made / "sticky").chmod(0o3777)
    os.utime(made / "a", (OLD, OLD))
    (root / "odd/size-4096").rename(root / "odd/moved")


def _committed(engine: Engine, image: str) -> str:
    """Runs the image, changes its files and gives back the image that the engine makes of it."""
    call = engine.client.call
    container = call("POST", "/containers/create", {"Image": image, "Cmd": ["/bin/sleep", "1000"], "HostConfig": {"NetworkMode": "none"}})["Id"]
    call("POST", f"/containers/{container}/start")
    detail = call("GET", f"/containers/{container}/json")
    change(Path(detail["GraphDriver"]["Data"]["MergedDir"]))
    call("POST", f"/containers/{container}/kill")
    made = call("POST", f"/commit?container={container}", detail["Config"])["Id"]
    call("DELETE", f"/containers/{container}?force=1")
    return made


# The checks that containers make of themselves: shell text and what it has to print.
CHECKS = {
    "whiteout": ("ls /white | sort | tr '\\n' ' '",
                 "becomes-directory becomes-file becomes-link emptied kept merged opaque readded touched "),
    "opaque": ("ls -A /white/opaque /white/emptied /white/merged | tr '\\n' ' '", "/white/emptied:  /white/merged: fresh  /white/opaque: new "),
    "hard links": ("stat -c %h /links/one /links/elsewhere/three /made/a /made/sub/b | tr '\\n' ' '", "1 3 2 2 "),
    "readded": ("cat /white/readded /links/two", "againthree names"),
    "setuid": ("/odd/setuid-id -u", "0"),
    "setgid": ("/odd/setgid-id -g", "4242"),
    "capability": ("/odd/capable-cat /proc/self/status | grep CapEff | cut -f2", "0000000000000400"),
    "owner": ("stat -c %u:%g:%a /odd/others /white /made/sub /odd/group | tr '\\n' ' '",
              "4000000000:3999999999:604 3:4:755 1234:5678:755 1000:50:2775 "),
    "device": ("stat -c %F:%t:%T /odd/null /odd/large-minor /odd/loop /odd/fifo /made/device | tr '\\n' ' '",
               "character special file:1:3 character special file:fff:fffff block special file:7:c8 fifo:0:0 character special file:5:1 "),
    "links": ("readlink /links/absolute; readlink /links/dangling; readlink /links/long | cut -c1-20", "/etc/hosts\nno/such/thing\nlong/long/long/long/"),
}


def archives(architecture: str = "amd64") -> dict[str, Path]:
    """The release's images as docker-archives: "main" has all oddities, "worker" is the same with a layer that an engine has
    made, "plain" shares only the base with them. Other architectures than this machine's are so in name only."""
    # Debian's /bin is a link, busybox's a directory that takes its place.
    layers = [hostapps.debian_layer(), images.base_layer(), tool_layer(), kinds_layer(), names_layer(), lower_layer(), white_layer()]
    config = {"Cmd": ["/bin/sh", "-c", "exec sleep 1000000"], "Env": ["PATH=/bin:/usr/bin"]}

    def make(target: Path) -> None:
        images.write_archive(target / "main.tar", layers, config)
        images.write_image(target / "plain.tar", layers[:2], "exec sleep 1000000\n")
        with tempfile.TemporaryDirectory(prefix="commit-", dir=target) as directory:
            with disk.engine_on(Path(directory) / "data") as engine:
                made = _committed(engine, disk.load(engine, target / "main.tar"))
                run("docker", "-H", f"unix://{engine.socket_path}", "save", "-o", target / "worker.tar", made)

    def relabel(target: Path) -> None:
        for name, archive in archives().items():
            with tarfile.open(archive) as tar:
                manifest, = json.load(tar.extractfile("manifest.json"))
                image = json.load(tar.extractfile(manifest["Config"]))
                images.write_archive(target / f"{name}.tar", [tar.extractfile(layer).read() for layer in manifest["Layers"]],
                                     image["config"], architecture)

    key = digest(layers, config, Path(__file__).read_bytes(), Path(images.__file__).read_bytes(), 1)
    files = cached("release-" + architecture, key, make if architecture == "amd64" else relabel, CACHE)
    return {name: files / f"{name}.tar" for name in ("main", "worker", "plain")}
