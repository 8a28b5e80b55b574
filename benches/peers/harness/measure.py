"""Runs one server under one load: the server on a core of its own, the generator on another."""

import argparse
import contextlib
import json
import os
import resource
import shlex
import socket
import subprocess
import sys
import time

LISTENS_WITHIN_SECS = 10
# Beyond measuring and warming up, a run opens its sessions, thousands of them at times.
ENDS_WITHIN_SECS = 60


class Failed(Exception):
    """A run that gave no figures."""


def add_arguments(parser: argparse.ArgumentParser, secs: float) -> None:
    parser.add_argument("--secs", type=float, default=secs, help="length of a measurement (default %(default)s)")
    parser.add_argument("--warmup", type=float, default=0.4, help="load before it (default %(default)s)")
    parser.add_argument("--server-cpu", default="0", help="the server's core (default %(default)s)")
    parser.add_argument("--generator-cpu", default="1", help="the generator's core (default %(default)s)")
    parser.add_argument("--nice", type=int, default=0, help="-10 pushes other jobs aside; as root only")
    parser.add_argument("--built", action="store_true", help="do not build")


def prepare(arguments: argparse.Namespace) -> None:
    """Raises the limit of descriptors and, if asked to, the priority, of this process and its children."""
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit("a server and a generator need a core each; this process may use only one")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if arguments.nice:
        os.setpriority(os.PRIO_PROCESS, 0, arguments.nice)
        # Sessions of a terminal are weighed against each other before the processes in them are.
        with contextlib.suppress(OSError), open("/proc/self/autogroup", "w", encoding="ascii") as group:
            group.write(str(arguments.nice))


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@contextlib.contextmanager
def server(command: list[str], cpus: str):
    """A fresh server on a free port. Yields its process and its address, and ends it."""
    address = free_address()
    command = [word.replace("{addr}", address) for word in command]
    if address not in command:
        command += ["--addr", address]
    process = subprocess.Popen(
        ["taskset", "--cpu-list", cpus, *command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        wait_until_it_listens(process, address)
        yield process, address
    finally:
        process.kill()
        process.communicate()


def wait_until_it_listens(process: subprocess.Popen, address: str) -> None:
    host, port = address.split(":")
    limit = time.monotonic() + LISTENS_WITHIN_SECS
    while time.monotonic() < limit:
        if process.poll() is not None:
            raise Failed(f"the server ended: {process.stderr.read().strip()[-300:]}")
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=1):
            return
        time.sleep(0.01)
    raise Failed(f"the server does not listen on {address} after {LISTENS_WITHIN_SECS} s")


def load(generator: list[str], workload: str, process: subprocess.Popen, address: str, arguments) -> dict:
    """What the generator reports of its load on that server."""
    command = ["taskset", "--cpu-list", arguments.generator_cpu, *generator, "--addr", address,
               "--server-pid", str(process.pid), "--secs", str(arguments.secs), "--warmup", str(arguments.warmup),
               *shlex.split(workload)]
    limit = arguments.secs + arguments.warmup + ENDS_WITHIN_SECS
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        raise Failed(f"the generator did not end within {limit:.0f} s") from None
    if result.returncode != 0:
        raise Failed(result.stderr.strip()[-300:])
    return json.loads(result.stdout)


def run(generator: list[str], command: list[str], workload: str, arguments) -> dict:
    """Starts a server, loads it, and ends it. A failure is a report with the field `failure`."""
    try:
        with server(command, arguments.server_cpu) as (process, address):
            return load(generator, workload, process, address, arguments)
    except Failed as failure:
        return {"failure": str(failure)}
