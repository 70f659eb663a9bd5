"""A private watchman, the peer of the watch bench: its own process, socket and state; spoken to in JSON lines."""
import json
import shutil
import socket
import subprocess
import time
from pathlib import Path

START_LIMIT = 20  # seconds
ANSWER_LIMIT = 300  # seconds
READ_BYTES = 1 << 20


class Watchman:
    def __init__(self, folder: Path):
        self.folder, self.path = folder, folder / "w"
        argv = ["watchman", "--foreground", "--no-save-state", f"--sockname={self.path}", f"--logfile={folder}/log",
                f"--pidfile={folder}/pid", f"--statefile={folder}/state"]
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + START_LIMIT
        while True:
            try:
                self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                self.socket.connect(str(self.path))
                break
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"watchman did not start; its log is {folder}/log") from None
                time.sleep(0.02)
        self.socket.settimeout(ANSWER_LIMIT)
        self.rest = b""

    @property
    def pid(self) -> int:
        return self.process.pid

    def line(self) -> bytes:
        """The next line that watchman sends, not parsed: its time is part of what is measured."""
        parts = [self.rest]
        while b"\n" not in parts[-1]:
            parts.append(self.socket.recv(READ_BYTES))
            if not parts[-1]:
                raise RuntimeError("watchman hung up")
        line, self.rest = b"".join(parts).split(b"\n", 1)
        return line

    def ask(self, *command) -> bytes:
        self.socket.sendall(json.dumps(command).encode() + b"\n")
        return self.line()

    def asked(self, *command) -> dict:
        answer = json.loads(self.ask(*command))
        if "error" in answer:
            raise RuntimeError(f"watchman: {answer['error']}")
        return answer

    def stop(self) -> None:
        self.socket.close()
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
