"""What can go wrong: one class for each thing that a user does about it.

```
CloudTrainError
├── ConfigError             a setting or a parameter is wrong: names file, key, allowed values and the nearest name
│   ├── HyperparameterError a library has refused a hyperparameter, on the machine
│   └── MaxWorkersError     max_workers is not a number of threads
├── TemplateError           no such template, an undefined name, a script that does not compile
├── SourceError             a bad URL or key, unreachable, of another format, without a column
├── DiskError               this computer's disk is full, read-only or not ours, or a file is in a folder's place
├── BackendError            a machine could not be had, or does not answer
│   ├── AuthError           a key is missing or not accepted
│   ├── BalanceError        the account has no money
│   ├── CapacityError       no machine is free: lists what was tried
│   ├── PodsLeftError       a pod could not be ended, and goes on costing money
│   ├── LockError           what a machine would install cannot be found out: an index does not answer, uv is missing
│   └── ApiError            the vendor's API refuses, in its own words
└── JobError
    ├── JobFailedError      the script raised: its traceback, the end of its log, its folder
    ├── JobPrunedError      a search ended it early (pruner)
    ├── JobTimeoutError     its deadline ended it
    ├── JobLostError        its process is gone and left no result
    │   └── UnsignedError   an output is a pickle that is not signed by this client's key
    ├── JobCancelledError   the client ended it: Ctrl-C, or the run is over
    │   └── NotStartedError the run was over before the job had a slot
    └── BudgetExceededError not started: its worst case would cost more than was allowed

click.exceptions.Exit
└── DetachedError           not a failure: the run was left on purpose while its jobs go on
```

Each message says what happened, with which values, where to look, and the next command.
"""

import sys

import click

from kedro_cloudtrain.secrecy import redacted
from kedro_cloudtrain.terminal import for_stream
from kedro_cloudtrain.worker.errors import one_stop

# HTTP: from here on, the server has failed, not the request; and too many requests.
_OUTAGE, _TOO_MANY = 500, 429


class CloudTrainError(click.ClickException):
    """The base class of every error that this package raises on purpose.

    It is a `click.ClickException`: `kedro run` prints the message and exits with 1, and shows no stack for a mistake in a
    configuration file.
    """

    def __init__(self, message: str) -> None:
        super().__init__(redacted(one_stop(message)))

    def __str__(self) -> str:
        return self.message

    def format_message(self) -> str:
        """Return the message as `kedro run` prints it: on a terminal, without the control sequences that a machine wrote into it."""
        return for_stream(self.message, sys.stderr)


class ConfigError(CloudTrainError):
    """A setting or a parameter is not valid."""


class HyperparameterError(ConfigError):
    """A library has refused a hyperparameter, on the machine."""


class MaxWorkersError(ConfigError, ValueError):
    """`max_workers` is not a number of threads; also a ValueError, as Kedro's own runners raise it."""


class TemplateError(CloudTrainError):
    """A training script cannot be rendered."""


class SourceError(CloudTrainError):
    """A dataset is not where, or not what, its entry says."""


class DiskError(CloudTrainError):
    """This computer's disk does not take a file."""


class BackendError(CloudTrainError):
    """A machine could not be had, or does not answer.

    Attributes:
        may_have_created: whether the vendor may have created the machine, or still do so, before it refused.
    """

    may_have_created = False


class AuthError(BackendError):
    """A key is missing or not accepted."""


class BalanceError(BackendError):
    """The account has no money."""


class CapacityError(BackendError):
    """No machine is free."""


class PodsLeftError(BackendError):
    """The run is over, and a pod of it could not be ended."""


class LockError(BackendError):
    """What a machine would install cannot be found out now: an index does not answer, or uv is not installed."""


class ApiError(BackendError):
    """The vendor's API refuses.

    Attributes:
        status: the HTTP status; None if there was no answer.
        detail: the vendor's own words.
    """

    def __init__(self, message: str, status: int | None = None, detail: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.detail = detail

    @property
    def is_outage(self) -> bool:
        """Whether the service gave no answer, or one that says nothing of what was asked: the same question may be answered later."""
        return self.status is None or self.status >= _OUTAGE or self.status == _TOO_MANY


class JobError(CloudTrainError):
    """A job has no outputs."""


class JobFailedError(JobError):
    """The job's script raised."""


class JobPrunedError(JobError):
    """The search that has asked for the job has ended it: by its first rounds, it is not among the best."""


class JobTimeoutError(JobError):
    """The job reached its deadline and was ended."""


class JobLostError(JobError):
    """The job's process is gone and left no result."""


class UnsignedError(JobLostError):
    """An output is a pickle that no machine of this client's key has signed: it is not read."""


class JobCancelledError(JobError):
    """The client ended the job."""


class NotStartedError(JobCancelledError):
    """The run was over before the job had a slot: it was not started."""


class BudgetExceededError(JobError):
    """The job was not started: its worst case would cost more than was allowed."""


class DetachedError(click.exceptions.Exit):
    """The run was left on purpose while its jobs go on; this is not a failure, and the command exits with 0.

    Attributes:
        job: the name of a job that goes on.
    """

    def __init__(self, job: str) -> None:
        super().__init__(0)
        self.job = job
