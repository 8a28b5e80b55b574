"""Builds everything that is measured, with cargo, and knows the servers."""

import json
import os
import pathlib
import subprocess

PEERS = pathlib.Path(__file__).resolve().parent.parent
ROOT = PEERS.parent.parent


def target_directory() -> pathlib.Path:
    """Where the library's workspace builds to; the peers build below it."""
    text = subprocess.check_output(
        ["cargo", "metadata", "--no-deps", "--format-version", "1", "--locked"], cwd=ROOT, text=True)
    return pathlib.Path(json.loads(text)["target_directory"])


class Programs:
    """The programs, built unless told that they are."""

    def __init__(self, is_built: bool, with_tool: bool = False):
        target = target_directory()
        self.library, self.peers = target / "release", target / "peers" / "release"
        if is_built:
            return
        cargo = ["cargo", "build", "--release", "--locked"]
        subprocess.check_call(
            [*cargo, "--manifest-path", PEERS / "Cargo.toml"],
            env={**os.environ, "CARGO_TARGET_DIR": str(target / "peers")})
        subprocess.check_call([*cargo, "-p", "fastport", "--example", "frame_echo"], cwd=ROOT)
        if with_tool:
            subprocess.check_call([*cargo, "-p", "fastport-cli"], cwd=ROOT)

    def generator(self) -> list[str]:
        return [str(self.peers / "generator")]

    def peer(self, name: str, *options: str) -> list[str]:
        return [str(self.peers / f"peer-{name}"), *options]

    def frame_echo(self, *options: str) -> list[str]:
        return [str(self.library / "examples" / "frame_echo"), *options]

    def tool(self, *options: str) -> list[str]:
        return [str(self.library / "fastport"), *options]

    def servers(self) -> dict[str, list[str]]:
        """All that are compared, each with its command; `--addr` is put behind it."""
        return {
            "raw": self.peer("raw"),
            "raw-pool": self.peer("raw", "--variant"),
            "fastport": self.frame_echo("--backend", "io_uring"),
            "fastport-in-place": self.frame_echo("--backend", "io_uring", "--in-place"),
            "fastport-epoll": self.frame_echo("--backend", "epoll"),
            "mio": self.peer("mio"),
            "tokio": self.peer("tokio"),
            "tokio-framed": self.peer("tokio", "--variant"),
            "monoio": self.peer("monoio"),
            "compio": self.peer("compio"),
        }
