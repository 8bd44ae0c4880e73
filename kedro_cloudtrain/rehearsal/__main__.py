"""RunPod on this computer, for a command: `python -m kedro_cloudtrain.rehearsal -- kedro run --runner=cloudtrain --env=runpod`."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from kedro_cloudtrain.rehearsal import ACCESS_KEY, API_KEY, SECRET_KEY, RunPodStandIn, S3StandIn


def main() -> int:
    """Start both servers, run the command with their addresses, and terminate all pods."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="runpod-volumes-") as scratch:
        root = Path(arguments.root or scratch).resolve()
        volumes = dict(pair.split("=", 1) for pair in arguments.volume or ["abc123xyz=EU-RO-1"])
        for pair in arguments.seed or ():
            key, _, source = pair.partition("=")
            for volume_id in volumes:
                target = root / volume_id / key
                target.parent.mkdir(parents=True, exist_ok=True)
                (shutil.copytree if Path(source).is_dir() else shutil.copy)(source, target)
        with RunPodStandIn(root, volumes, quota_per_minute=arguments.quota) as runpod, S3StandIn(root) as s3:
            addresses = {
                "RUNPOD_API_BASE_URL": runpod.base_url,
                "RUNPOD_API_KEY": API_KEY,
                "RUNPOD_S3_ENDPOINT_URL": s3.endpoint_url,
                "RUNPOD_S3_ACCESS_KEY": ACCESS_KEY,
                "RUNPOD_S3_SECRET_KEY": SECRET_KEY,
            }
            if not arguments.command:
                try:
                    for name, value in addresses.items():
                        print(f"export {name}={shlex.quote(value)}", flush=True)
                    threading.Event().wait()
                except KeyboardInterrupt:
                    return 0
            # The programs beside this Python come first, as in an activated environment.
            path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
            program = shutil.which(arguments.command[0], path=path) or arguments.command[0]
            command = [program, *arguments.command[1:]]
            status = subprocess.run(command, env={**os.environ, "PATH": path, **addresses}, check=False).returncode
            left = len(runpod.living)
        print(f"The stand-in made {len(runpod.pods)} pods; {left} had to be ended by it.", file=sys.stderr)
        return status


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m kedro_cloudtrain.rehearsal", description=__doc__)
    parser.add_argument("--root", help="the folder of the network volumes; a temporary one by default")
    parser.add_argument("--volume", action="append", metavar="ID=DATA_CENTER", help="a network volume (default: abc123xyz=EU-RO-1)")
    parser.add_argument("--seed", action="append", metavar="KEY=FILE", help="a file that the volumes have from the start")
    parser.add_argument("--quota", type=int, help="calls per minute")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="the command; without one, the addresses are printed and served")
    arguments = parser.parse_args()
    arguments.command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    return arguments


if __name__ == "__main__":
    sys.exit(main())
