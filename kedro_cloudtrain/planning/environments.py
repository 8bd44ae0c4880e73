"""What pods would install, locked before any of them is asked for."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from kedro_cloudtrain.errors import ConfigError, LockError
from kedro_cloudtrain.jobs.lock import lock
from kedro_cloudtrain.jobs.requirements import own_release, provides
from kedro_cloudtrain.planning.plan import MachinePlan

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from kedro_cloudtrain.planning.plan import NodePlan


@dataclasses.dataclass(frozen=True)
class LockedEnvironments:
    """The environments of the pods of a run.

    Attributes:
        problems: why the packages of a node cannot be installed, by the node's name.
        doubts: why that cannot be told, by the node's name.
    """

    problems: dict[str, str] = dataclasses.field(default_factory=dict)
    doubts: dict[str, str] = dataclasses.field(default_factory=dict)


def lock_environments(plans: Sequence[NodePlan], project: Path) -> LockedEnvironments:
    """Lock what each pod of a run would install; a group's nodes share one environment, as they share one pod.

    Args:
        plans: the planned nodes; those with a problem are left out.
        project: the project's folder.
    """
    environments = LockedEnvironments()
    shared: dict[object, list[MachinePlan]] = {}
    for plan in plans:
        if isinstance(plan, MachinePlan) and plan.where == "runpod" and plan.settings.install and not plan.problems:
            shared.setdefault(plan.group or plan.node, []).append(plan)
    for together in shared.values():
        try:
            for gpu in _kinds(together[0].settings.gpu):
                requirements = dict.fromkeys(line for plan in together for line in plan.requirements(gpu=gpu))
                locked = lock(list(requirements), python=own_release(), project=project)
            for plan in together:
                missing = sorted(module for module in plan.imports() if not provides(locked, module))
                if missing:
                    environments.problems[plan.node.name] = _missing(plan, missing)
        except ConfigError as error:
            environments.problems.update({plan.node.name: error.message for plan in together})
        except LockError as error:
            environments.doubts.update({plan.node.name: error.message for plan in together})
    return environments


def _kinds(gpu: str | tuple[str, ...]) -> tuple[bool, ...]:
    """Return whether a pod has a GPU: for `auto`, it may or may not."""
    return {"none": (False,), "auto": (False, True)}.get(gpu, (True,)) if isinstance(gpu, str) else (True,)


def _missing(plan: MachinePlan, modules: Sequence[str]) -> str:
    names = " and ".join(modules)
    them = "it" if len(modules) == 1 else "them"
    return (
        f"its module {plan.node.func.__module__} imports {names}, which the pod would not have. Add {them} to the project's dependencies, "
        "or to `requirements` of the node in cloudtrain.yml."
    )
