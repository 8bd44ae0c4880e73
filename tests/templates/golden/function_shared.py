"""Call count of shop.nodes. By hand: python train.py"""

import sys
from pathlib import Path

# The archive beside this script holds cloudtrain_worker: loading, saving.
sys.path.insert(0, str(Path(__file__).with_name("worker.zip")))

from cloudtrain_worker import FunctionJob, unpacked_code

sys.path.insert(0, unpacked_code(__file__))  # the project's own package, out of code.zip
from shop.nodes import count

LIMIT = 3
RETURNS = None
MACHINES = 4

if __name__ == "__main__":  # a process that the function spawns imports this file
    with FunctionJob(__file__, RETURNS) as job:
        job.share(MACHINES)  # a Dask cluster: distributed.Client() connects to it
        with job.stage("call"):
            returned = count(limit=LIMIT)

        job.save(returned)
