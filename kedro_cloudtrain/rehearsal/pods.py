"""A pod that really runs: its command as processes that see the volume at the mount path, started again whenever it ends."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import re
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kedro_cloudtrain.rehearsal.faults import PodFault
    from kedro_cloudtrain.rehearsal.schemas import CreatePodRequest

# The pod's own root: this computer's programs, an empty folder in place of each that may hold a client's files, the volume at the mount
# path, and only the pod's own processes.
_BOX = """\
set -e
root=$1; path=$2; volume=$3; hidden=$4; kept=$5; scratch=$6; shift 6
mount -t tmpfs tmpfs "$root"
copy_links() {
  set --
  for entry in /* /.[!.]*; do [ ! -L "$entry" ] || set -- "$@" "$entry"; done
  [ $# = 0 ] || cp -P "$@" "$root"
}
make_folders() {
  set --
  for entry in /* /.[!.]*; do [ -L "$entry" ] || [ ! -d "$entry" ] || set -- "$@" "$root$entry"; done
  mkdir -m 1777 "$@"
}
copy_links
make_folders
for entry in /* /.[!.]*; do
  case ":/proc:$hidden:" in *":$entry:"*) continue;; esac
  if [ -L "$entry" ] || [ ! -e "$entry" ]; then continue; fi
  [ -d "$entry" ] || touch "$root$entry"
  [ ! -e "$root$entry" ] || mount --rbind "$entry" "$root$entry"
done
IFS=:
for place in $hidden; do
  case $place in /*/*) [ ! -d "$root$place" ] || mount -t tmpfs tmpfs "$root$place";; esac
done
mkdir -p "$root$TMPDIR"; mount --bind "$scratch" "$root$TMPDIR"
for place in $kept; do
  mkdir -p "$root$place"; mount --rbind "$place" "$root$place"
done
unset IFS
if [ -n "$volume" ]; then mkdir -p "$root$path"; mount --bind "$volume" "$root$path"; fi
mount -t proc proc "$root/proc"
exec chroot "$root" "$@"
"""
_UNSHARE = ("--mount", "--pid", "--fork", "--kill-child", "--propagation", "private", "sh", "-c", _BOX, "box")

_NVIDIA_SMI = """\
#!/bin/sh
case "$*" in
*--query-gpu=*)
  fields=${*#*--query-gpu=}; fields=${fields%% *}
  gpu=0
  while [ $gpu -lt "${RUNPOD_GPU_COUNT:-1}" ]; do
    line=
    for field in $(echo "$fields" | tr , ' '); do
      case $field in
        name) cell=$STAND_IN_GPU;;
        driver_version) cell=570.86.10;;
        memory.total) cell=$STAND_IN_GPU_MB;;
        memory.used) cell=1024;;
        utilization.gpu) cell=87;;
        *) echo "Field \\"$field\\" is not a valid field to query."; exit 2;;
      esac
      line="$line${line:+, }$cell"
    done
    echo "$line"
    gpu=$((gpu + 1))
  done;;
*) echo "NVIDIA-SMI 570.86.10   Driver Version: 570.86.10   CUDA Version: ${STAND_IN_CUDA:-12.8}";;
esac
"""
# This computer has no GPU. On a host whose CUDA opens, a library is taken to have opened it, and computes on the CPU.
_OPENS = """\
import importlib.abc, importlib.util, sys


class Opener(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "cloudtrain_worker.devices":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def opened(module):
            load(module)
            if module.__name__ != name:  # the loader is that of the whole archive
                return
            # All that is checked before the device opens is checked as on any host.
            choose, module._fault = module.choose_device, lambda library, gpu: None

            def choose_device(*args, **kwargs):
                device = choose(*args, **kwargs)
                return module.Device("cpu", module.cpu().name, device.gpu) if device.kind == "cuda" else device

            module.choose_device = choose_device

        spec.loader.exec_module = opened
        return spec


sys.meta_path.insert(0, Opener())
"""
_RESTART_PAUSE_S = 0.2
# How the line begins that a pod prints right before its job.
_JOB_BEGINS = "cloudtrain: the job has "
# A pod sees what the package tools keep in the user's home, so that it installs as quickly as this computer does.
_OF_HOME = (".cache/uv", ".cache/pip", ".config/uv", ".config/pip", ".pip", ".local/share/uv")
# The folders at the root that every system has; what lies in others, a pod's host does not have.
_OF_A_SYSTEM = {"bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc", "run", "sbin", "sys", "usr", "var"}
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LINES_KEPT = 5000
# The variables that a pod inherits from this computer: how to find programs and packages, and no secret of the user's.
_INHERITED = re.compile(r"^(HOME|LANG|LC_\w+|TZ|PIP_\w+|UV_\w+|XLA_FLAGS|SSL_\w+|REQUESTS_CA_BUNDLE|(https?|no|all)_proxy)$", re.IGNORECASE)


@cache
def _in_namespaces() -> tuple[str, ...] | None:
    """Return the command that runs another one in namespaces of its own; None if this user may have none."""
    with tempfile.TemporaryDirectory() as root, tempfile.TemporaryDirectory() as scratch:
        environment = {**os.environ, "TMPDIR": tempfile.gettempdir()}
        # Root may mount as it is; others may where the kernel lets them be root in a namespace of users.
        for as_user in ((), ("--user", "--map-root-user")):
            command = ("unshare", *as_user, *_UNSHARE)
            arguments = [*command, root, "/stand-in-mount", root, tempfile.gettempdir(), "", scratch, "true"]
            with contextlib.suppress(OSError, subprocess.SubprocessError):
                if subprocess.run(arguments, env=environment, capture_output=True, timeout=30, check=False).returncode == 0:
                    return command
    return None


def namespaces_work() -> bool:
    """Return whether this user may mount in a namespace of their own."""
    return _in_namespaces() is not None


@dataclass
class RunningPod:
    """One pod, from its creation until it is gone.

    Attributes:
        volume: the directory of the network volume that it mounts.
        usd_per_hour: the price of all its GPUs.
        hidden: folders that it does not see, beside those of every client.
        cluster: the id of the cluster that it is a member of; empty for a pod by itself.
        rank: its number there.
        variables: what it finds in its environment beside what every pod does.
        cores: the cores of this computer that it has; empty for all.
        starts: how often its command has started.
    """

    request: CreatePodRequest
    place: str | None
    volume: Path | None
    usd_per_hour: float
    secrets: dict[str, str]
    scratch: Path
    memory_gb: int = 0
    start_delay_s: float = 0.0
    fault: PodFault | None = None
    isolated: bool = True
    hidden: tuple[Path, ...] = ()
    cluster: str = ""
    rank: int = 0
    variables: dict[str, str] = field(default_factory=dict)
    cores: tuple[int, ...] = ()
    id: str = field(default_factory=lambda: secrets.token_hex(7))
    key: str = field(default_factory=lambda: f"rpa_pod_{secrets.token_hex(12)}")
    created_at: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))
    starts: int = 0
    running_since: float | None = None
    lines: list[tuple[str, str, str]] = field(default_factory=list)
    ended_at: float | None = None

    def __post_init__(self) -> None:
        self._born = time.monotonic()
        self._aged_s = 0.0
        self._over = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()
        self.changed = threading.Condition()
        self._folder = self.scratch / self.id
        self._folder.mkdir(parents=True)

    def start(self) -> None:
        """Start running the pod, in the background."""
        threading.Thread(target=self._live, name=f"pod-{self.id}", daemon=True).start()

    def age(self, seconds: float) -> None:
        """Make the pod older than it is."""
        self.created_at -= dt.timedelta(seconds=seconds)
        self._born -= seconds
        self._aged_s = seconds

    @property
    def gone(self) -> bool:
        """Whether it was terminated or has vanished."""
        return self._over.is_set()

    @property
    def status(self) -> str:
        """Its state, in the contract's words."""
        if self.gone:
            return "TERMINATED"
        if self.fault is not None and self.fault.kind == "errors" and self.starts:
            return "ERROR"
        return "PROVISIONING" if self.running_since is None else "RUNNING"

    @property
    def uptime_s(self) -> int:
        """Seconds since its container last started."""
        return 0 if self.running_since is None else int(time.monotonic() - self.running_since + self._aged_s)

    @property
    def cost_usd(self) -> float:
        """Its cost so far, in dollars."""
        return ((self.ended_at or time.monotonic()) - self._born) / 3600 * self.usd_per_hour

    def end(self) -> None:
        """Terminate the pod with everything that it has started."""
        with self._lock:
            if self._over.is_set():
                return
            self._over.set()
            self.ended_at = time.monotonic()
            process = self._process
        if process is not None:
            # It is the first process of its namespace, so the kernel kills all the others with it.
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            if not self.isolated:
                for pid in _pids_of(self.id):
                    with contextlib.suppress(OSError):
                        os.kill(pid, signal.SIGKILL)
            process.wait()
        with self.changed:
            self.changed.notify_all()
        shutil.rmtree(self._folder, ignore_errors=True)

    def freeze(self) -> None:
        """Stop all its processes, as on a host that hangs: the pod exists and does nothing."""
        for pid in _pids_of(self.id):
            os.kill(pid, signal.SIGSTOP)

    def _live(self) -> None:
        if self.fault is not None and self.fault.kind == "never starts":
            self.fault.happened = True
            return
        if self._over.wait(self.start_delay_s):
            return
        if self.fault is not None and self.fault.kind == "vanishes" and not self.fault.in_job:
            threading.Thread(target=self._vanish, args=(self.fault,), daemon=True).start()
        if self.fault is not None and self.fault.kind == "errors":
            self.starts, self.running_since, self.fault.happened = 1, time.monotonic(), True
            return
        while not self._over.is_set():
            with self._lock:
                if self._over.is_set():
                    return
                process = self._process = self._spawn()
            self.starts += 1
            self.running_since = time.monotonic()
            for line in process.stdout or ():
                self._keep(line.rstrip("\n"))
            process.wait()
            self._over.wait(_RESTART_PAUSE_S)

    def _keep(self, line: str) -> None:
        at = dt.datetime.now(dt.UTC).isoformat().replace("+00:00", "Z")
        with self.changed:
            self.lines.append((f"{at}/{len(self.lines)}", at, line))
            del self.lines[:-_LINES_KEPT]
            self.changed.notify_all()
        if self.fault is not None and self.fault.in_job and line.startswith(_JOB_BEGINS):
            self._vanish(self.fault)

    def _vanish(self, fault: PodFault) -> None:
        if fault.when_file is not None and self.volume is not None:
            while not (self.volume / fault.when_file).exists():
                if self._over.wait(0.02):
                    return
        if not self._over.wait(fault.after_s or 0.0):
            fault.happened = True
            self.end()

    def _spawn(self) -> subprocess.Popen[str]:
        environment = self._environment()
        args, mount = self.request.args, self.request.mounts.network
        path = mount[0].path if mount else "/workspace"
        root = self._folder / "root"
        root.mkdir(exist_ok=True)
        if not self.isolated and self.volume is not None:
            # Without namespaces, the mount path is replaced wherever it is named, by a link in a temporary folder.
            link = self._folder / path.strip("/")
            if not link.is_symlink():
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(self.volume)
            args = args.replace(path, str(link))
            environment = {name: value.replace(path, str(link)) for name, value in environment.items()}
        command = shlex.split(args)
        if self.fault is not None and self.fault.kind in ("loops", "no cuda"):
            self.fault.happened = True
        if self.fault is not None and self.fault.kind == "loops":
            command = ["sh", "-c", "echo 'exec format error'; exit 1"]
        if self.isolated:
            command = [*(_in_namespaces() or ()), str(root), path, str(self.volume or ""), *self._hide(), *command]
        if self.cores and (taskset := shutil.which("taskset")) is not None:
            command = [taskset, "--cpu-list", ",".join(str(core) for core in self.cores), *command]
        return subprocess.Popen(
            command,
            env=environment,
            cwd="/",
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def _hide(self) -> list[str]:
        """Return the folders that the pod does not see, those within them that it sees all the same, and its own temporary folder."""
        home, scratch = Path.home().resolve(), self._folder / "tmp"
        scratch.mkdir(exist_ok=True)
        others = {place for place in Path("/").iterdir() if place.is_dir() and not place.is_symlink() and place.name not in _OF_A_SYSTEM}
        hidden = {Path(tempfile.gettempdir()).resolve(), home, Path.cwd(), *others, *(place.resolve() for place in self.hidden)}
        hidden -= {Path("/")}
        # The interpreter with its packages, and the pod's own programs.
        kept = {Path(sys.prefix), Path(sys.base_prefix), self._folder / "bin", *(home / place for place in _OF_HOME)}
        kept = {place for place in kept if place.is_dir() and any(place.is_relative_to(other) for other in hidden)}
        return [":".join(str(place) for place in sorted(places)) for places in (hidden, kept)] + [str(scratch)]

    def _environment(self) -> dict[str, str]:
        gpu, request = self.request.gpu, self.request
        programs = [str(Path(sys.executable).parent)]
        if gpu is not None:
            programs.append(str(_nvidia_smi(self._folder)))
            if self.fault is None or self.fault.kind != "no cuda":
                (self._folder / "bin/sitecustomize.py").write_text(_OPENS)
        inherited = {name: value for name, value in os.environ.items() if _INHERITED.match(name)}
        requested = {name: self._fill_in(value) for name, value in request.env.items()}
        injected = {
            "RUNPOD_POD_ID": self.id,
            "RUNPOD_DC_ID": self.place or "",
            "RUNPOD_GPU_COUNT": str(gpu.count if gpu is not None else 0),
            "RUNPOD_VOLUME_ID": request.mounts.network[0].volume_id if request.mounts.network else "",
            "RUNPOD_API_KEY": self.key,
            **self.variables,
        }
        machine = {
            "PATH": os.pathsep.join([*programs, _PATH if self.isolated else os.environ.get("PATH", os.defpath)]),
            "PYTHONPATH": str(self._folder / "bin"),
            "TMPDIR": tempfile.gettempdir(),
            # All pods share this computer's cores: a thread that waits sleeps instead of spinning.
            "OMP_WAIT_POLICY": "PASSIVE",
            "STAND_IN_GPU": gpu.id if gpu is not None else "",
            "STAND_IN_GPU_MB": str(self.memory_gb * 1024),
        }
        return {**inherited, **machine, **requested, **injected}

    def _fill_in(self, value: str) -> str:
        return re.sub(r"\{\{\s*RUNPOD_SECRET_(\w+)\s*\}\}", lambda match: self.secrets.get(match[1], ""), value)


def _nvidia_smi(folder: Path) -> Path:
    file = folder / "bin" / "nvidia-smi"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(_NVIDIA_SMI)
        file.chmod(0o755)
    return file.parent


def _pids_of(pod_id: str) -> list[int]:
    """Return the processes with a pod's id in their environment, those in sessions of their own included."""
    marker, pids = f"RUNPOD_POD_ID={pod_id}".encode(), []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if folder.name.isdigit() and marker in (folder / "environ").read_bytes().split(b"\0"):
                pids.append(int(folder.name))
    return pids
