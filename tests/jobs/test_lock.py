"""What requirements come to on a pod, found by the real uv from a real index before the pod is paid for."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.http_server import Server
from support.package_index import add, hash_of, index, wheel
from support.waiting import wait_until

from kedro_cloudtrain.errors import ConfigError, JobCancelledError, LockError
from kedro_cloudtrain.jobs.lock import lock, unlocked
from kedro_cloudtrain.jobs.requirements import function_requirements, project_requirements
from kedro_cloudtrain.storage import children

WHEELS = dict(
    [
        wheel("alpha", "1.0", ["beta"]),
        wheel("alpha", "2.0", ["beta>=2"]),
        wheel("beta", "1.0"),
        wheel("beta", "2.0"),
        wheel("beta", "3.0"),
        wheel("late", "1.0", python=">=3.99"),
        wheel("windows", "1.0", ["beta<2; sys_platform == 'win32'", "alpha<2; sys_platform == 'linux'"]),
        wheel("cloudpickle", "3.1"),
        wheel("pandas", "3.0"),
        wheel("pyarrow", "20.0"),
    ]
)


@pytest.fixture
def packages() -> Iterator[Server]:
    with index(WHEELS) as server:
        yield server


@pytest.fixture(autouse=True)
def _caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def of(server: Server) -> str:
    return f"--index-url={server.url('simple')}/"


def packages_of(locked: tuple[str, ...]) -> list[str]:
    return [line.partition(" ")[0] for line in locked if not line.startswith("-")]


@pytest.mark.parametrize(
    ("requirements", "wanted"),
    [
        (["alpha"], ["alpha==2.0", "beta==3.0"]),
        (["alpha<2", "beta<3"], ["alpha==1.0", "beta==2.0"]),
        (["alpha", "--constraint=beta<3", "--constraint=late<9"], ["alpha==2.0", "beta==2.0"]),
        (["beta", "alpha; sys_platform == 'win32'"], ["beta==3.0"]),
        (["beta; python_version < '3.12'", "alpha<2; python_version >= '3.12'"], ["alpha==1.0", "beta==3.0"]),
        (["windows"], ["alpha==1.0", "beta==3.0", "windows==1.0"]),
        ([], []),
    ],
    ids=str,
)
def test_each_package_is_found_in_one_release_for_the_pods_platform(requirements: list[str], wanted: list[str], packages: Server) -> None:
    locked = lock([*requirements, of(packages)] if requirements else [], python="3.12")
    assert packages_of(locked) == wanted
    # The machine asks the same index.
    assert [line for line in locked if line.startswith("-")] == ([of(packages)] if requirements else [])


@pytest.mark.parametrize(
    ("requirements", "named"),
    [
        (["alpha==9"], "alpha==9"),
        (["alpha==2.0", "beta<2"], "beta<2"),
        (["alpha", "--constraint=beta<2", "--constraint=alpha>1"], "beta<2"),
        (["nosuchlib"], "nosuchlib was not found"),
        (["late"], "late==1.0 requires Python >=3.99"),
    ],
    ids=str,
)
def test_what_cannot_be_installed_is_named(requirements: list[str], named: str, packages: Server, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"cannot be installed together, for Python 3\.12 on Linux: .*Correct the requirements"
    ) as refused:
        lock([*requirements, of(packages)], python="3.12")
    assert named in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not list((tmp_path / "cache/kedro-cloudtrain").rglob("*.txt"))  # a package may be released tomorrow


def test_a_silent_index_refuses_nothing(packages: Server) -> None:
    packages.__exit__()
    with pytest.raises(LockError, match="Failed to fetch"):
        lock(["alpha", of(packages)], python="3.12")


def test_without_uv_nothing_is_known(packages: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "uv", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LockError, match=r"uv is not installed.*kedro-cloudtrain\[runpod\]"):
        lock(["alpha", of(packages)], python="3.12")


def test_a_lock_is_kept_until_the_requirements_change(packages: Server) -> None:
    first = lock(["alpha", of(packages)], python="3.12")
    add(packages, *wheel("beta", "4.0"))
    asked = len(packages.requests)
    assert lock(["alpha", of(packages)], python="3.12") == first
    assert len(packages.requests) == asked
    assert "beta==4.0" in lock(["alpha", "beta>3", of(packages)], python="3.12")


def test_a_lock_of_nothing_is_kept_as_nothing(packages: Server) -> None:
    # Its only package is for another platform.
    requirements = ["alpha; sys_platform == 'win32'"]
    assert lock(requirements, python="3.12") == ()
    assert lock(requirements, python="3.12") == ()
    assert packages.requests == []


def test_another_order_of_the_indexes_is_another_lock(packages: Server) -> None:
    # The first index that has a package is the one that counts.
    with index(dict([wheel("beta", "9.0")])) as other:
        newer, older = (f"--extra-index-url={server.url('simple')}/" for server in (other, packages))
        assert "beta==9.0" in lock(["beta", newer, older], python="3.12")
        assert "beta==3.0" in lock(["beta", older, newer], python="3.12")


def test_what_this_computer_alone_is_set_to_does_not_count(packages: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with index(dict([wheel("private", "1.0")])) as mine:
        monkeypatch.setenv("UV_EXTRA_INDEX_URL", f"{mine.url('simple')}/")
        monkeypatch.setenv("UV_INDEX", f"{mine.url('simple')}/")
        with pytest.raises(ConfigError, match="private was not found"):
            lock(["private", of(packages)], python="3.12")
        assert mine.requests == []


def test_the_hashes_of_a_requirements_file_go_along(packages: Server, tmp_path: Path) -> None:
    file = "alpha-2.0-py3-none-any.whl"
    (tmp_path / "requirements.txt").write_text(
        f"{of(packages)}\nalpha==2.0 \\\n    --hash={hash_of(WHEELS[file])} \\\n    --hash=sha256:{'0' * 64}\nbeta\n"
    )
    locked = lock(project_requirements(tmp_path), python="3.12", project=tmp_path)
    assert f"alpha==2.0 --hash={hash_of(WHEELS[file])} --hash=sha256:{'0' * 64}" in locked
    assert "beta==3.0" in locked


def test_where_a_file_requires_hashes_every_package_has_one(packages: Server, tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text(f"--require-hashes\n{of(packages)}\nalpha==2.0 --hash=sha256:{'0' * 64}\n")
    locked = lock(project_requirements(tmp_path), python="3.12", project=tmp_path)
    assert f"alpha==2.0 --hash=sha256:{'0' * 64}" in locked  # the project's own, not what the index says today
    assert f"beta==3.0 --hash={hash_of(WHEELS['beta-3.0-py3-none-any.whl'])}" in locked


def uv_locked(project: Path, packages: Server, *dependencies: str, more: str = "") -> Path:
    """Make a project with a `uv.lock` that uv itself has written."""
    project.mkdir(exist_ok=True)
    named = ", ".join(f'"{line}"' for line in dependencies)
    project.joinpath("pyproject.toml").write_text(
        f'[project]\nname = "shop"\nversion = "1"\nrequires-python = ">=3.11"\ndependencies = [{named}]\n{more}'
        f'[[tool.uv.index]]\nname = "mine"\nurl = "{packages.url("simple")}/"\ndefault = true\n'
    )
    subprocess.run([sys.executable, "-m", "uv", "lock", "--quiet"], cwd=project, check=True)
    return project


def test_a_uv_lock_is_what_the_pod_installs(packages: Server, tmp_path: Path) -> None:
    project = uv_locked(tmp_path / "shop", packages, "alpha", "cloudpickle", "pandas", "pyarrow")
    for file, content in (wheel("alpha", "3.0"), wheel("beta", "4.0"), wheel("pandas", "4.0")):
        add(packages, file, content)
    requirements = function_requirements(project)
    assert requirements == ("alpha==2.0", "cloudpickle==3.1", "pandas==3.0", "pyarrow==20.0")  # not those of this computer
    locked = lock([*requirements, of(packages)], python="3.12", project=project)
    assert f"alpha==2.0 --hash={hash_of(WHEELS['alpha-2.0-py3-none-any.whl'])}" in locked
    assert f"beta==3.0 --hash={hash_of(WHEELS['beta-3.0-py3-none-any.whl'])}" in locked  # nobody has named it


def test_a_uv_lock_of_several_platforms_is_read_for_the_pods(packages: Server, tmp_path: Path) -> None:
    project = uv_locked(tmp_path / "shop", packages, "alpha<2; sys_platform == 'win32'", "alpha>=2; sys_platform == 'linux'", "beta<3")
    locked = lock([*project_requirements(project), of(packages)], python="3.12", project=project)
    assert packages_of(locked) == ["alpha==2.0", "beta==2.0"]


def test_the_groups_of_developers_and_what_travels_as_code_are_not_installed(packages: Server, tmp_path: Path) -> None:
    more = '[dependency-groups]\ndev = ["cloudpickle"]\n[build-system]\nrequires = []\nbuild-backend = "x"\n'
    project = uv_locked(tmp_path / "shop", packages, "beta", more=more)
    assert packages_of(lock([*project_requirements(project), of(packages)], python="3.12", project=project)) == ["beta==3.0"]


def test_a_uv_lock_that_is_older_than_the_project_says_so(packages: Server, tmp_path: Path) -> None:
    project = uv_locked(tmp_path / "shop", packages, "alpha<2")
    file = project / "pyproject.toml"
    file.write_text(file.read_text().replace("alpha<2", "alpha>=2"))
    with pytest.raises(ConfigError, match=r"alpha.*write it again: uv lock"):
        lock([*project_requirements(project), of(packages)], python="3.12", project=project)


@pytest.mark.parametrize("text", ["version = [", 'version = 1\n[[package]]\nversion = "1"\n', "package = 5\n"])
def test_a_broken_uv_lock_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "uv.lock").write_text(text)
    with pytest.raises(ConfigError, match=r"uv\.lock cannot be read: .* Write it again: uv lock"):
        function_requirements(tmp_path)


def test_without_a_lock_a_pod_is_given_what_was_asked_for() -> None:
    assert unlocked(["alpha", "--constraint=beta<3", "--require-hashes", "--no-index"]) == ("alpha", "beta<3", "--no-index")


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("--no-binary :all:", "--no-binary=:all:"),
        ("--only-binary=numpy", "--only-binary=numpy"),
        ("--no-index", "--no-index"),
        ("-i https://example.org/simple", "--index-url=https://example.org/simple"),
        ("-f https://example.org/wheels", "--find-links=https://example.org/wheels"),
        ("-e ./mine", None),
        ("--pre", "--pre"),
        ("--trusted-host example.org", "--trusted-host"),
        ("--prefer-binary", "--prefer-binary"),
        ("numpy --global-option=x", "--global-option"),
        ("numpy --config-settings a=b", "--config-settings"),
    ],
)
def test_an_option_of_a_requirements_file_is_followed_or_refused_by_name(line: str, wanted: str | None, tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text(f"scipy\n{line}\n")
    if wanted is None:
        assert project_requirements(tmp_path) == ("scipy",)
    elif "=" in wanted or wanted == "--no-index":
        assert project_requirements(tmp_path) == ("scipy", wanted)
    else:
        with pytest.raises(ConfigError, match=rf"requirements\.txt, line 2: no machine is given the option {wanted}\."):
            project_requirements(tmp_path)


@pytest.fixture
def silent_index() -> Iterator[str]:
    with socket.socket() as deaf:  # It takes a connection, and never answers.
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        yield f"--index-url=http://127.0.0.1:{deaf.getsockname()[1]}/simple/"


def test_an_index_that_is_silent_is_named_and_uv_ends_with_the_client(
    silent_index: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("kedro_cloudtrain.storage.silence._FIRST_LINE_S", 0.2)
    monkeypatch.setattr("kedro_cloudtrain.storage.silence._LOOK_EVERY_S", 0.1)
    errors: list[BaseException] = []

    def ask() -> None:
        try:
            lock(["alpha", silent_index], python="3.12")
        except JobCancelledError as error:
            errors.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    wait_until(lambda: "has not answered for" in caplog.text)
    (process,) = children._running.values()
    children.end_children()
    asking.join(60)
    assert [str(error) for error in errors] == ["Its packages were not locked: the run is over."]
    assert process.returncode == -signal.SIGKILL
    assert "The package index 127.0.0.1 has not answered" in caplog.text


def test_a_child_ends_with_all_that_it_has_started(tmp_path: Path) -> None:
    command = ["sh", "-c", "sleep 600 & echo $! > child; wait"]
    with pytest.raises(subprocess.TimeoutExpired):
        children.run_child(command, folder=tmp_path, environment=os.environ, text="", timeout_s=0.5)
    pid = int((tmp_path / "child").read_text())
    wait_until(lambda: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2])
    assert children._running == {}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_process_without_a_run_that_is_ended_ends_its_child_first(number: signal.Signals, tmp_path: Path) -> None:
    # Where `nohup` runs the tests, SIGHUP would be ignored.
    program = (
        "import os, pathlib, signal; from kedro_cloudtrain.storage.children import run_child\n"
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
        "run_child(['sh', '-c', 'sleep 600 & echo $! > new; mv new child; wait'], folder=pathlib.Path(), environment=os.environ, text='', "
        "timeout_s=60)"
    )
    client = subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path)
    try:
        wait_until((tmp_path / "child").exists)
        client.send_signal(number)
        assert client.wait(60) == -number
        pid = int((tmp_path / "child").read_text())
        wait_until(lambda: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2])
    finally:
        client.kill()


# The program is there, and the thread that has started it does not know of it yet.
UNKNOWN = """
import os, pathlib, subprocess, sys, threading, time
from kedro_cloudtrain.storage import children


class Slow(subprocess.Popen):
    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        while not pathlib.Path("signalled").exists():
            time.sleep(0.01)


subprocess.Popen = Slow
command = ["sh", "-c", "sleep 600 & echo $! > new; mv new child; wait"]


def run():
    children.run_child(command, folder=pathlib.Path(), environment=os.environ, text="", timeout_s=60)


if sys.argv[1] == "this thread":
    run()
threading.Thread(target=run, daemon=True).start()
with children._ended_by_signals():
    time.sleep(600)
"""


@pytest.mark.parametrize("starter", ["this thread", "another thread"])
def test_a_child_that_is_just_being_started_is_ended_as_well(starter: str, tmp_path: Path) -> None:
    client = subprocess.Popen([sys.executable, "-c", UNKNOWN, starter], cwd=tmp_path)
    try:
        wait_until((tmp_path / "child").exists)
        client.send_signal(signal.SIGTERM)
        (tmp_path / "signalled").touch()
        assert client.wait(60) == -signal.SIGTERM
        pid = int((tmp_path / "child").read_text())
        wait_until(lambda: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2])
    finally:
        client.kill()


def test_handlers_are_as_before_once_a_child_has_ended(tmp_path: Path) -> None:
    own = {signal.SIGTERM: lambda *_: None, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in own.items()}
    try:
        children.run_child(["true"], folder=tmp_path, environment=os.environ, text="", timeout_s=10)
        assert {number: signal.getsignal(number) for number in own} == own
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
