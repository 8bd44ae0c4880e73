"""The names that client and machine share: the files of a job folder, and the environment variables of a job.

The two never talk: they share a folder, and every name in it stands here once. `bootstrap.py` and `courier.py` run on a pod before
anything can be imported; they spell these names out, and a test compares them with this module.
"""

from __future__ import annotations

# Folders on the volume.
JOBS = ".cloudtrain/jobs"
INPUTS = ".cloudtrain/inputs"

# Files of a job folder that the client writes.
SPEC = "job.json"
SCRIPT = "train.py"
ARCHIVE = "worker.zip"
CODE = "code.zip"
MEMBERS = "members.zip"
MACHINE = "machine.json"
BOOTSTRAP = "bootstrap.py"
COURIER = "courier.py"
STORE = "store.json"
# Files of a job folder that the machine writes.
LOG = "log.txt"
PROGRESS = "progress.jsonl"
HEARTBEAT = "heartbeat.json"
RESULT = "result.json"
# A bucket holds a job's folders as one file each.
OUTPUTS_ZIP = "outputs.zip"
CHECKPOINT_ZIP = "checkpoint.zip"
# Folders of a job folder.
OUTPUTS = "outputs"
SENT = "inputs"
CHECKPOINT = "checkpoint"
LATEST = "latest.json"
# Begins the name of the marker that an attempt has started: the eight digits of the attempt follow.
STARTED = "started-"
# Notes that the client keeps for itself; no machine has them.
FINGERPRINT = "fingerprint.json"
WHY = "why.json"
SAVED = "saved.json"

# Every file that a job may have on a volume, besides its outputs, its checkpoint and the markers of its attempts.
ON_VOLUME = (
    RESULT,
    SPEC,
    SCRIPT,
    ARCHIVE,
    CODE,
    BOOTSTRAP,
    MACHINE,
    HEARTBEAT,
    LOG,
    PROGRESS,
    COURIER,
    STORE,
    MEMBERS,
    OUTPUTS_ZIP,
    CHECKPOINT_ZIP,
)

# The folder of a training script's archive, by which it imports what travels with it.
PACKAGE = "cloudtrain_worker"

# Environment variables of a job's process.
ATTEMPT_VARIABLE = "CLOUDTRAIN_ATTEMPT"
VOLUME_VARIABLE = "CLOUDTRAIN_VOLUME"
TIMEOUT_VARIABLE = "CLOUDTRAIN_TIMEOUT_S"
READ_TIMEOUT_VARIABLE = "CLOUDTRAIN_READ_TIMEOUT_S"
STAGES_VARIABLE = "CLOUDTRAIN_STAGES"
WORK_VARIABLE = "CLOUDTRAIN_WORK"
CHECKPOINT_VARIABLE = "CLOUDTRAIN_CHECKPOINT"
CHECKPOINT_EVERY_S_VARIABLE = "CLOUDTRAIN_CHECKPOINT_EVERY_S"
CHECKPOINT_EVERY_ROUNDS_VARIABLE = "CLOUDTRAIN_CHECKPOINT_EVERY_ROUNDS"
CHECKPOINT_OF_VARIABLE = "CLOUDTRAIN_CHECKPOINT_OF"
# Secrets: the queries and headers of URLs, the credentials of catalog entries by the entries' names.
URL_SECRETS_VARIABLE = "CLOUDTRAIN_URL_SECRETS"
CREDENTIALS_VARIABLE = "CLOUDTRAIN_CREDENTIALS"
SAVE_VERSION_VARIABLE = "CLOUDTRAIN_SAVE_VERSION"
# Where the courier of a pod without a volume is read from, and its list of signed URLs.
START_VARIABLE = "CLOUDTRAIN_START"
STORE_VARIABLE = "CLOUDTRAIN_STORE"

# Of a group's jobs, each has these for itself; all other variables are its machine's.
OF_ONE_JOB = (CHECKPOINT_EVERY_S_VARIABLE, CHECKPOINT_EVERY_ROUNDS_VARIABLE, CHECKPOINT_OF_VARIABLE)
