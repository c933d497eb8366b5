"""The benchmark behind `tests/bench/run.sh flash`: an image onto a loop device, by this tool, dd and bmaptool.

Each run writes to a file full of old data, through a loop device that bypasses the cache of that file.
"""
from __future__ import annotations

import os
import random
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

MIB = 1 << 20
TOOL = Path(os.environ["OU_BUILD_DIR"]) / "bundle-tool/bundle-tool"
SIZE = int(os.environ.get("OU_BENCH_FLASH_BYTES", 768 * MIB))
# In memory, a disk that others use as well does not count.
FOLDER = os.environ.get("OU_BENCH_FLASH_FOLDER", "/dev/shm")
ROUNDS = int(os.environ.get("OU_BENCH_ROUNDS", 5))


def run(*command: str | Path) -> str:
    return subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True).stdout


@dataclass
class Cost:
    wall: float
    cpu: float
    memory: int  # KiB


def measure(*command: str | Path) -> Cost:
    """A child process's own cost; what the kernel's loop thread does is the same work for each program."""
    started = time.monotonic()
    child = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    errors = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    if status != 0:
        raise SystemExit(f"{command[0]} failed: {errors.decode()}")
    child.returncode = 0
    return Cost(time.monotonic() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)


def make_image(path: Path, data_mib: list[tuple[int, int]]) -> int:
    """Writes noise to the (start, length) stretches of a file of SIZE bytes."""
    source = random.Random(4)
    with open(path, "wb") as file:
        for start, length in data_mib:
            file.seek(start * MIB)
            for _ in range(length):
                file.write(source.randbytes(MIB))
        file.truncate(SIZE)
        os.fsync(file.fileno())
    return sum(length for _, length in data_mib)


def refill(backing: Path) -> None:
    """Old data everywhere, and nothing of it in the cache."""
    with open(backing, "r+b") as file:
        piece = b"\xff" * (8 * MIB)
        for _ in range((SIZE + 64 * MIB) // len(piece)):
            file.write(piece)
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main() -> None:
    mib = SIZE // MIB
    shapes = {
        "full": [(0, mib)],
        "sparse": [(start, mib // 32) for start in range(0, mib, mib // 8)],  # a quarter, in eight stretches
    }
    print(f"An image of {mib} MiB to a loop device (direct I/O) on a file full of old data; the least of {ROUNDS} runs.\n")
    print("| image | program | wall | CPU | memory |\n| --- | --- | --: | --: | --: |")
    with tempfile.TemporaryDirectory(dir=FOLDER) as scratch:
        folder = Path(scratch)
        backing = folder / "drive"
        backing.write_bytes(b"")
        os.truncate(backing, SIZE + 64 * MIB)
        for name, stretches in shapes.items():
            image = folder / f"{name}.img"
            data = make_image(image, stretches)
            bmap = folder / f"{name}.bmap"
            bmap.write_text(run("bmaptool", "create", image))
            device = run("losetup", "--find", "--show", "--direct-io=on", backing).strip()
            run("blockdev", "--setrw", device)  # a loop device keeps what an agent protected while it was a medium
            flash = [TOOL, "image", "flash", image, "--drive", device, "--yes", "--allow-fixed", "--quiet"]
            programs = {
                "dd oflag=direct bs=4M conv=fsync":
                    ["dd", f"if={image}", f"of={device}", "oflag=direct", "bs=4M", "conv=fsync"],
                "bmaptool copy --bmap": ["bmaptool", "copy", "--bmap", bmap, image, device],
                "bmaptool copy --nobmap": ["bmaptool", "copy", "--nobmap", image, device],
                "image flash --no-verify": [*flash, "--no-verify"],
                "image flash": flash,
            }
            costs: dict[str, list[Cost]] = {program: [] for program in programs}
            for _ in range(ROUNDS):  # in turns, so that what else the machine does hits all alike
                for program, command in programs.items():
                    refill(backing)
                    costs[program].append(measure(*command))
                    if program.startswith(("dd", "image")):
                        run("cmp", "-n", str(SIZE), image, device)
            for program, of in costs.items():
                wall, cpu, memory = (min(getattr(cost, field) for cost in of)
                                     for field in ("wall", "cpu", "memory"))
                print(f"| {name}, {data} MiB of data | `{program}` | {wall:.2f} s | {cpu:.2f} s | {memory / 1024:.0f} MiB |",
                      flush=True)
            run("losetup", "--detach", device)
            image.unlink()


if __name__ == "__main__":
    main()
