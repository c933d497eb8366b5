"""A disk that writes down what is done to it: an NBD server for one client, whose log says when each write and each flush came.
From the log the disk can be made again as a power cut at any moment would have left it, as often as one likes.

It answers one request after the other, and promises nothing but flushes (no FUA, no discards): so a flush in the log covers just
the writes before it, and what follows the last flush is what a disk's own cache may lose."""
from __future__ import annotations

import mmap
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

HEADER = struct.Struct("=dcQI")  # monotonic time, kind, offset and length; the data of a write follows
WRITE, FLUSH = b"W", b"F"
BLOCK = 4096  # what a disk writes as a whole

OPTION_MAGIC, REPLY_MAGIC = 0x49484156454F5054, 0x3E889045565A9
EXPORT_NAME, ABORT, INFO, GO = 1, 2, 6, 7
ACK, INFO_REPLY, UNSUPPORTED = 1, 3, (1 << 31) + 1
HAS_FLAGS, SEND_FLUSH = 1, 4
REQUEST = struct.Struct(">IHHQQI")
COMMAND_READ, COMMAND_WRITE, COMMAND_DISCONNECT, COMMAND_FLUSH = 0, 1, 2, 3
INVALID = 22

NOTHING, SOME, ALL = "nothing", "some", "all"  # what a power cut leaves of the writes that were not flushed


class Server:
    """`image` has every write at once, the log too: what dies with the power is decided later."""

    def __init__(self, image: Path, log: Path):
        self.disk = os.open(image, os.O_RDWR)
        self.size = os.fstat(self.disk).st_size
        self.log = open(log, "ab", buffering=0)

    @staticmethod
    def _receive(client: socket.socket, length: int) -> bytearray:
        data = bytearray(length)
        view, done = memoryview(data), 0
        while done < length:
            count = client.recv_into(view[done:])
            if count == 0:
                raise EOFError
            done += count
        return data

    def _export(self) -> bytes:
        return struct.pack(">QH", self.size, HAS_FLAGS | SEND_FLUSH)

    def _negotiate(self, client: socket.socket) -> bool:
        client.sendall(b"NBDMAGIC" + struct.pack(">QH", OPTION_MAGIC, 3))
        self._receive(client, 4)

        def reply(option: int, kind: int, data: bytes = b"") -> None:
            client.sendall(struct.pack(">QIII", REPLY_MAGIC, option, kind, len(data)) + data)
        while True:
            _, option, length = struct.unpack(">QII", self._receive(client, 16))
            self._receive(client, length)
            if option == EXPORT_NAME:
                client.sendall(self._export())
                return True
            if option in (INFO, GO):
                reply(option, INFO_REPLY, struct.pack(">H", 0) + self._export())
                reply(option, ACK)
                if option == GO:
                    return True
            elif option == ABORT:
                reply(option, ACK)
                return False
            else:
                reply(option, UNSUPPORTED)

    def _note(self, kind: bytes, offset: int = 0, data: bytes = b"") -> None:
        self.log.write(HEADER.pack(time.monotonic(), kind, offset, len(data)) + data)

    def serve(self, client: socket.socket) -> None:
        if not self._negotiate(client):
            return
        while True:
            _, _, command, handle, offset, length = REQUEST.unpack(self._receive(client, REQUEST.size))
            error, answer = 0, b""
            if command == COMMAND_DISCONNECT:
                return
            if command == COMMAND_READ:
                answer = os.pread(self.disk, length, offset)
            elif command == COMMAND_WRITE:
                data = self._receive(client, length)
                os.pwrite(self.disk, data, offset)
                self._note(WRITE, offset, data)
            elif command == COMMAND_FLUSH:
                self._note(FLUSH)
            else:
                error = INVALID
            client.sendall(struct.pack(">IIQ", 0x67446698, error, handle) + answer)


class RecordedDisk:
    """The server as a program of its own, until stop()."""

    def __init__(self, image: Path, log: Path, path: Path):
        self.path = path
        path.unlink(missing_ok=True)
        self._process = subprocess.Popen([sys.executable, __file__, image, log, path])
        while not path.exists():
            if self._process.poll() is not None:
                raise RuntimeError(f"the recorded disk {image} ended at once")
            time.sleep(0.01)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()


@dataclass(frozen=True)
class Entry:
    time: float
    kind: bytes
    offset: int
    length: int
    data_at: int  # in the log


class Log:
    """A log that was written, to be read."""

    def __init__(self, path: Path):
        with open(path, "rb") as file:
            self.data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if path.stat().st_size else b""
        self.entries: list[Entry] = []
        at = 0
        while at + HEADER.size <= len(self.data):
            entry = Entry(*HEADER.unpack_from(self.data, at), at + HEADER.size)
            at = entry.data_at + entry.length
            if at <= len(self.data):
                self.entries.append(entry)

    def time_at(self, position: int) -> float:
        """When the byte at a position of the log was written."""
        return next(entry.time for entry in reversed(self.entries) if entry.data_at <= position)

    def cut(self, image: Path, moment: float, left: str, dice: random.Random) -> None:
        """Brings an image, as it was when the log began, to what a power cut at that moment leaves: all that had been flushed, and
        of the rest `left`. The parts of `some` are blocks: a disk writes its cache in any order."""
        done = [entry for entry in self.entries if entry.time <= moment]
        flushed = next((index for index in reversed(range(len(done))) if done[index].kind == FLUSH), 0)
        with open(image, "r+b") as out:
            for index, entry in enumerate(done):
                size = max(entry.length, 1) if index < flushed else BLOCK
                for part in range(0, entry.length, size):
                    if index < flushed or left == ALL or (left == SOME and dice.random() < 0.5):
                        start = entry.data_at + part
                        out.seek(entry.offset + part)
                        out.write(self.data[start:start + min(size, entry.length - part)])


def main(image: str, log: str, path: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: the machine goes first
    server = Server(Path(image), Path(log))
    partial = path + ".new"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(partial)
        listener.listen()
        os.rename(partial, path)  # whoever sees it can connect
        while True:
            client, _ = listener.accept()
            with client:
                try:
                    server.serve(client)
                except (EOFError, ConnectionError):
                    continue


if __name__ == "__main__":
    main(*sys.argv[1:])
