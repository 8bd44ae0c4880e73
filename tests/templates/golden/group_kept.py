"""Run the jobs of the group segments, one after another. By hand: python train.py"""

import sys
from pathlib import Path

# The archive beside this script holds cloudtrain_worker: it runs each job in its own process.
sys.path.insert(0, str(Path(__file__).with_name("worker.zip")))

from cloudtrain_worker import run_group

RUN = "2026-01-31T12.00.00.000Z"
JOBS = {
    "segment-1-0123456789ab": {"CLOUDTRAIN_CHECKPOINT_EVERY_S": "60.0"},
    "segment-2-0123456789ab": {"CLOUDTRAIN_CHECKPOINT_EVERY_S": "60.0"},
}

# Then it waits so many seconds for more jobs.
KEEP_S = 60.0

run_group(__file__, RUN, JOBS, KEEP_S)
