"""The names that client and machine share: a job folder's files, and a job's environment variables.

Client and machine never talk: they share a folder, and each of its names stands in this module once. `bootstrap.py` and `courier.py`
run on a pod before anything can be imported: they spell the names out, and a test compares them with this module.
"""

from __future__ import annotations

# Folders on the volume; a group's begins so.
JOBS = ".cloudtrain/jobs"
INPUTS = ".cloudtrain/inputs"
# Made by jobs: tables of text as parquet, by names that their content gives them.
TABLES = ".cloudtrain/tables"
GROUP_PREFIX = "group-"
# Made by pods: a Python environment for each set of requirements, as NAME.tar, with its size and last use in NAME.json.
ENVIRONMENTS = ".cloudtrain/environments"

# Files of a job folder that the client writes.
SPEC = "job.json"
SCRIPT = "train.py"
ARCHIVE = "worker.zip"
CODE = "code.zip"
MEMBERS = "members.zip"
MACHINE = "machine.json"
BOOTSTRAP = "bootstrap.py"
POD_ARCHIVE = "pod.zip"
COURIER = "courier.py"
STORE = "store.json"
# The client writes it to end a trial that is not worth going on with: the fit looks for it.
PRUNE = "prune"
# Files of a job folder that the machine writes.
LOG = "log.txt"
PROGRESS = "progress.jsonl"
HEARTBEAT = "heartbeat.json"
RESULT = "result.json"
# On a pod without a volume: the courier has delivered the result, and the pod may end.
DELIVERED = "delivered"
# A bucket holds each of these folders as one file.
OUTPUTS_ZIP = "outputs.zip"
CHECKPOINT_ZIP = "checkpoint.zip"
# Folders of a job folder.
OUTPUTS = "outputs"
SENT = "inputs"
CHECKPOINT = "checkpoint"
LATEST = "latest.json"
# What describes a model, beside its library's file in its folder.
MODEL = "model.json"
# The state of a job that ended by PRUNE.
PRUNED = "pruned"
# Marks an attempt that has started: the attempt's eight digits follow.
STARTED = "started-"
# Where the machines of an attempt find one another: its eight digits follow. In it, with a number or a machine's own: what the job asks of
# them, what one cannot do, and their logs.
CLUSTER = "cluster-"
ASKED = "asked-"
FAILED = "failed-"
MEMBER_LOG = "log-"
# What the client adds to the folder of a machine that is kept: further batches, each with a number, and what closes the machine.
CLOSE = "close.json"
# In a job's folder: its machine ends the job.
END = "end.json"
# The client's own notes, which are sent to no machine.
FINGERPRINT = "fingerprint.json"
WHY = "why.json"
SAVED = "saved.json"

# Each file that a job may have on a volume, except its outputs, its checkpoint and the markers of its attempts.
ON_VOLUME = (
    RESULT,
    SPEC,
    SCRIPT,
    ARCHIVE,
    CODE,
    BOOTSTRAP,
    POD_ARCHIVE,
    MACHINE,
    HEARTBEAT,
    LOG,
    PROGRESS,
    COURIER,
    STORE,
    MEMBERS,
    PRUNE,
    CLOSE,
    END,
    OUTPUTS_ZIP,
    CHECKPOINT_ZIP,
)

# The packages in the archives: a script and the bootstrap import them by these names.
PACKAGE = "cloudtrain_worker"
POD_PACKAGE = "cloudtrain_pod"

# Environment variables of a job's process.
ATTEMPT_VARIABLE = "CLOUDTRAIN_ATTEMPT"
VOLUME_VARIABLE = "CLOUDTRAIN_VOLUME"
TIMEOUT_VARIABLE = "CLOUDTRAIN_TIMEOUT_S"
READ_TIMEOUT_VARIABLE = "CLOUDTRAIN_READ_TIMEOUT_S"
CORES_VARIABLE = "CLOUDTRAIN_CORES"
GPU_VARIABLE = "CLOUDTRAIN_GPU"
STAGES_VARIABLE = "CLOUDTRAIN_STAGES"
WORK_VARIABLE = "CLOUDTRAIN_WORK"
CHECKPOINT_VARIABLE = "CLOUDTRAIN_CHECKPOINT"
CHECKPOINT_EVERY_S_VARIABLE = "CLOUDTRAIN_CHECKPOINT_EVERY_S"
CHECKPOINT_EVERY_ROUNDS_VARIABLE = "CLOUDTRAIN_CHECKPOINT_EVERY_ROUNDS"
CHECKPOINT_OF_VARIABLE = "CLOUDTRAIN_CHECKPOINT_OF"
# Secrets: queries and headers by URL, and credentials by catalog entry.
URL_SECRETS_VARIABLE = "CLOUDTRAIN_URL_SECRETS"
CREDENTIALS_VARIABLE = "CLOUDTRAIN_CREDENTIALS"
# How the names begin of those that have the secrets of package indexes.
INDEX_VARIABLES = "CLOUDTRAIN_INDEX_"
SAVE_VERSION_VARIABLE = "CLOUDTRAIN_SAVE_VERSION"
# The key of each of the machine's jobs, by which it signs pickles. They are made of the client's own, which no machine gets.
JOB_KEYS_VARIABLE = "CLOUDTRAIN_JOB_KEYS"
MASTER_KEY_VARIABLE = "CLOUDTRAIN_SIGNING_KEY"
# A socket, by its number, from which a machine on this computer takes the locks of its jobs.
LOCKS_VARIABLE = "CLOUDTRAIN_LOCKS"
# For a pod without a volume: the URLs of its courier and of its list of signed URLs; and, from the courier to the bootstrap, that it runs.
START_VARIABLE = "CLOUDTRAIN_START"
STORE_VARIABLE = "CLOUDTRAIN_STORE"
COURIER_VARIABLE = "CLOUDTRAIN_COURIER"

# On the first of several machines: the folder by which the job finds the others, how many there are with this one, its own address in their
# network, and within how many seconds they have to be there.
CLUSTER_VARIABLE = "CLOUDTRAIN_CLUSTER"
MACHINES_VARIABLE = "CLOUDTRAIN_MACHINES"
ADDRESS_VARIABLE = "CLOUDTRAIN_ADDRESS"
MACHINES_WITHIN_S_VARIABLE = "CLOUDTRAIN_MACHINES_WITHIN_S"

# Each job of a group has these for itself; it shares all other variables with its machine.
PER_JOB_VARIABLES = (CHECKPOINT_EVERY_S_VARIABLE, CHECKPOINT_EVERY_ROUNDS_VARIABLE, CHECKPOINT_OF_VARIABLE)


def batch_file(number: int | str) -> str:
    """Return the name of a further batch of jobs in the folder of a machine that is kept; of all of them, as a pattern, with `*`."""
    return f"batch-{number}.json"


def batch_members(number: int | str) -> str:
    """Return the name of the archive with the folders of a further batch's jobs."""
    return f"batch-{number}.zip"


def member_files(attempt: str, machines: int) -> list[str]:
    """Return the names of the files that the machines of an attempt leave in the job's folder, beside those of the first one."""
    if machines == 1:
        return []
    of_each = (f"{STARTED}{attempt}-", *(f"{CLUSTER}{attempt}/{name}" for name in (FAILED, MEMBER_LOG)))
    return [f"{CLUSTER}{attempt}/{ASKED}1", *(f"{name}{rank}" for name in of_each for rank in range(1, machines))]


def version_key(key: str, version: str) -> str:
    """Return the key of one version of a table on the volume, in the layout of Kedro's own versioned datasets: `KEY/VERSION/NAME`."""
    return f"{key}/{version}/{key.rpartition('/')[2]}"
