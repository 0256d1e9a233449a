"""Hosts of a cluster on one machine: namespaces of network, processes and names, joined by cables that can be pulled.

Processes of two hosts cannot see each other, as on two machines; they share the file system, as over NFS.
"""

import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

# The first process of a host; all others end with it, and then the kernel removes its network.
_START = 'hostname "$0" && ip link set lo up && echo up && exec sleep infinity'
# Each other's names, without a name server.
_KNOW = 'file=$(mktemp) && printf %s "$0" >"$file" && mount --bind "$file" /etc/hosts && rm "$file"'
_SPACES = ("--net", "--pid", "--uts", "--mount")


class Host:
    def __init__(self, name: str, address: str = "") -> None:
        self.name, self.address = name, address
        command = ["unshare", *_SPACES, "--mount-proc", "--fork", "--kill-child", "sh", "-c", _START, name]
        self._unshare = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self._unshare.stdout
        if self._unshare.stdout.readline() != "up\n":
            raise NoHostsError(self._unshare.communicate()[1].strip())
        children = Path(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children")
        self.pid = int(children.read_text())

    def run(self, *command: str) -> None:
        subprocess.run(self._inside(*command), check=True, capture_output=True)

    def start(self, *command: str, environ: Mapping[str, str], folder: Path, output: TextIO) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            self._inside("env", f"--chdir={folder}", *command),
            env=environ,
            stdout=output,
            stderr=output,
            text=True,
            start_new_session=True,
        )

    def kill(self) -> None:
        """As a power cut does; again is no harm."""
        if self._unshare.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
            self._unshare.communicate()

    def _inside(self, *command: str) -> list[str]:
        return ["nsenter", "--target", str(self.pid), *_SPACES, *command]


class NoHostsError(Exception):
    """This machine, or its user, cannot make namespaces."""


class Network:
    """Hosts with the addresses 10.83.0.1, .2 and so on, each with a cable to one switch."""

    def __init__(self, num_hosts: int) -> None:
        self._switch = Host("switch")
        self.hosts = [Host(f"host{number}", f"10.83.0.{number + 1}") for number in range(num_hosts)]
        try:
            self._switch.run("ip", "link", "add", "switch", "type", "bridge")
            self._switch.run("ip", "link", "set", "switch", "up")
            for host in self.hosts:
                self._plug_in(host)
        except subprocess.CalledProcessError as error:
            self.end()
            raise NoHostsError(error.stderr.decode().strip()) from error

    def _plug_in(self, host: Host) -> None:
        cable = f"ip link add {host.name} netns {self._switch.pid} type veth peer name eth0 netns {host.pid}"
        subprocess.run(cable.split(), check=True, capture_output=True)
        self._switch.run("ip", "link", "set", host.name, "master", "switch", "up")
        host.run("ip", "address", "add", f"{host.address}/24", "dev", "eth0")
        host.run("ip", "link", "set", "eth0", "up")
        host.run(
            "sh", "-c", _KNOW, "127.0.0.1 localhost\n" + "".join(f"{each.address} {each.name}\n" for each in self.hosts)
        )

    def pull(self, host: Host) -> None:
        """Pull the host's cable out."""
        self._switch.run("ip", "link", "set", host.name, "down")

    def plug(self, host: Host) -> None:
        self._switch.run("ip", "link", "set", host.name, "up")

    def end(self) -> None:
        for host in [*self.hosts, self._switch]:
            host.kill()
