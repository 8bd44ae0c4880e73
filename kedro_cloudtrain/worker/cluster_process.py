"""A process of a cluster: a Dask worker, which ends with what has started it, the job or the program of another machine's pod."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import threading


def serve(scheduler: str, number: int, threads: int, folder: str, memory: str, host: str) -> None:
    """Work for a scheduler until it closes, or the process that has started this one closes its standard input, by its end at the latest.

    Args:
        scheduler: the scheduler's address.
        number: the worker's name, by which XGBoost orders the processes.
        threads: the threads that a library may use.
        folder: the cluster's files, and the worker's own: removed at the end.
        memory: `auto` for a bound by the worker's share of the machine's memory; `0` for none: Dask would pause a worker whose
            library holds its own copy of the rows.
        host: this machine's address, at which the other processes reach this one.
    """
    from distributed import Worker

    # However the job ends, even by SIGKILL, the kernel closes its end; a thread is not held up by a fit.
    threading.Thread(target=_end_with_job, args=(folder,), name="cloudtrain-end", daemon=True).start()

    async def work() -> None:
        options = {
            "nthreads": threads,
            "memory_limit": memory,
            "local_directory": folder,
            "dashboard": False,
            "dashboard_address": f"{host}:0",
            "host": host,
        }
        async with Worker(scheduler, name=number, **options) as worker:
            await worker.finished()

    asyncio.run(work())
    os._exit(0)  # the thread that reads the standard input holds it, and would fail the interpreter's own end


def _end_with_job(folder: str) -> None:
    sys.stdin.buffer.read()
    shutil.rmtree(folder, ignore_errors=True)  # the job may have had no time for it
    os._exit(0)


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5], sys.argv[6])
