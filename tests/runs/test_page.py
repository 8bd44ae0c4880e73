"""The page of a run, in a browser: it needs no network, says what failed first, and runs nothing that a job has written."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.kedro_project import Project, make_project, run

from kedro_cloudtrain.jobs.folder import JobFolder
from kedro_cloudtrain.jobs.result import JobState
from kedro_cloudtrain.runs import figures
from kedro_cloudtrain.runs.job_view import Curve, JobView, views_of
from kedro_cloudtrain.runs.ledger import RunLedger
from kedro_cloudtrain.runs.page import render_page, write_page
from kedro_cloudtrain.runs.record import GpuUseRecord, MachineRecord, NodeRecord, RunRecord, RunState

START = 1_795_744_493.0
HOSTILE = "</script><script>window.hostile = 1</script><img src=x onerror='window.hostile = 2'>{{ 7 * 7 }}"


def node(number: int, **fields: Any) -> NodeRecord:
    """A training on a pod: 10 s for a slot, 30 s to start, 60 s of fit."""
    begins = START + 20 * number
    given = {
        "kind": "training",
        "model": "xgboost_binary_classification",
        "where": "runpod",
        "state": "succeeded",
        "job": f"train_{number}-0123456789ab",
        "started_at": begins,
        "finished_at": begins + 100,
        "waited_s": 10.0,
        "total_s": 100.0,
        "seconds": {"render": 0.5, "start": 30.0, "read": 9.0, "fit": 60.0, "save": 0.5},
        "machines": [MachineRecord(pod=f"p{number}", machine="NVIDIA L4", usd_per_hour=0.43, seconds=95.0, cost_usd=0.011, ended="done")],
        "scores": {"roc_auc": 0.9 + number / 1000},
    }
    return NodeRecord(node=f"segments.station_{number:03d}.train_the_segment", **(given | fields))


def record(nodes: list[NodeRecord], day: int = 27, **fields: Any) -> RunRecord:
    given = {
        "id": f"2026-11-{day:02d}T01.54.51.364Z",
        "project": "shop-123456",
        "pipeline": "segments",
        "max_cost_usd": 5.0,
        "env": "runpod",
    }
    return RunRecord(nodes=nodes, started_at=START, finished_at=START + 400, **({"state": RunState.SUCCEEDED} | given | fields))


def used(*percent: float) -> GpuUseRecord:
    """A GPU that was looked at every 10 s of a job."""
    return GpuUseRecord(seconds=[10.0 * (index + 1) for index in range(len(percent))], percent=list(percent))


def view(rounds: int = 300) -> JobView:
    steps = tuple(range(0, rounds, 2))
    metrics = {f"{part}_logloss": tuple(round(0.7 * 0.99**step, 5) for step in steps) for part in ("train", "validation")}
    return JobView(
        script="import xgboost\n" * 60,
        parameters=json.dumps({"a": list(range(20))}, indent=1),
        log="round\n" * 60,
        curve=Curve(steps, metrics, steps[-1]),
        confusion=(("no", "yes"), ((340.0, 12.0), (25.0, 120.0))),
        importance=tuple((f"feature_{number}", 1 / (number + 1)) for number in range(15)),
    )


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    chromium, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("the page is looked at in a browser: apt-get install chromium chromium-driver")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1280,1000"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield opened
    opened.quit()


def look(browser: Any, file: Path, width: int = 1280) -> None:
    """Open a page in a window of a width; it has to fit, ask for nothing, and complain of nothing."""
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    )
    browser.get(file.as_uri())
    assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert [entry["message"] for entry in browser.get_log("browser")] == []


def cut_labels(browser: Any) -> list[str]:
    """The labels of axes that reach out of their figure, lie across, or run into the one before."""
    return browser.execute_script(
        """
        var cut = [];
        document.querySelectorAll(".figure[data-drawn]").forEach(function (figure) {
          var frame = figure.getBoundingClientRect();
          ["xtick", "ytick"].forEach(function (kind) {
            var before = null;
            figure.querySelectorAll("." + kind + " text").forEach(function (label) {
              var box = label.getBoundingClientRect();
              var outside = box.left < frame.left - 1 || box.right > frame.right + 1 || box.bottom > frame.bottom + 1;
              var across = /rotate\\((?!0,)/.test(label.getAttribute("transform") || "");
              var meets = kind === "xtick" && before && box.left < before.right && box.top < before.bottom;
              if (outside || across || meets) { cut.push(figure.dataset.figure + ": " + label.textContent); }
              before = box;
            });
          });
        });
        return cut;
        """
    )


def drawn(browser: Any) -> int:
    return len(browser.find_elements("css selector", ".figure .main-svg:first-child"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with a run."""
    project = make_project(tmp_path_factory.mktemp("page"))
    project.output = run(project, "--runner-params=report=true")
    return project


def test_the_last_line_of_a_run_names_its_page(finished: Project) -> None:
    (page,) = (finished.path / ".cloudtrain/reports").glob("*.html")
    last = "".join(finished.output.split("Pipeline execution completed")[1].split())
    assert "Therun'spage:" in last
    assert "".join(str(page).split()) in last


@pytest.mark.parametrize("width", [390, 768, 1280])
def test_the_page_of_a_real_run_can_be_clicked_through(finished: Project, browser: Any, width: int) -> None:
    done = finished.kedro("cloudtrain", "report", "latest", "--output", "run.html")
    assert done.returncode == 0, done.stdout + done.stderr
    look(browser, finished.path / "run.html", width)
    assert browser.title.startswith("__default__ · done")
    assert drawn(browser) == 1  # the timeline; the others wait until they are shown
    summary = browser.find_elements("css selector", "details.node > summary")[0]
    browser.execute_script("arguments[0].click()", summary)
    browser.execute_async_script("requestAnimationFrame(() => setTimeout(arguments[0], 0))")
    assert drawn(browser) == 2  # and its rounds
    for inner in browser.find_elements("css selector", "details.node[open] details.inner > summary"):
        browser.execute_script("arguments[0].click()", inner)
    text = browser.find_element("tag name", "main").text
    for part in ("train_mass", "rmse", "data/06_models/mass", "import xgboost", "body_mass_g", "best round"):
        assert part in text
    assert browser.get_log("browser") == []


@pytest.mark.parametrize(("width", "name"), [(390, "failed"), (768, "failed"), (1280, "failed"), (390, "short")])
def test_no_label_is_cut_and_rows_that_open_have_a_mark(tmp_path: Path, browser: Any, width: int, name: str) -> None:
    names = ("train_xgboost_multiclass_classification_model", "train_mass", "evaluate")
    nodes = [node(number).model_copy(update={"node": name}) for number, name in enumerate(names)]
    error = f"FileNotFoundError: {'/very/long/path' * 9}"
    failed = nodes[1].model_copy(update={"state": "failed", "error": error, "seconds": {"render": 2.9}, "total_s": 196.0})
    runs = {
        "failed": record([nodes[0], failed, NodeRecord(node="summarise")], state=RunState.FAILED),
        # Of parts of seconds the labels are the longest.
        "short": record([NodeRecord(node=names[0], started_at=START, total_s=3.1, state="failed")], state=RunState.FAILED),
    }
    earlier = [record(nodes, day) for day in range(26, 16, -1)]
    write_page(tmp_path / "page.html", runs[name], earlier, {nodes[0].job: view()})
    look(browser, tmp_path / "page.html", width)
    browser.execute_script("document.querySelectorAll('details.node').forEach(function (node) { node.open = true; })")
    browser.execute_async_script("requestAnimationFrame(() => setTimeout(arguments[0], 0))")
    assert drawn(browser) == {"failed": 7, "short": 1}[name]
    assert cut_labels(browser) == []
    assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    mark = "return getComputedStyle(document.querySelector('details.node > summary'), '::before').content"
    is_open = browser.execute_script(mark)
    browser.execute_script("document.querySelector('details.node > summary').click()")
    assert (is_open, browser.execute_script(mark)) == ('"▼"', '"▶"')
    if width == 1280:  # The whole table is in sight.
        hidden = "var table = document.querySelector('#receipt .scroll'); return table.scrollWidth - table.clientWidth"
        assert browser.execute_script(hidden) <= 0


def test_what_failed_comes_first_and_nothing_that_a_job_wrote_is_run(tmp_path: Path, browser: Any) -> None:
    failed = node(2, state="failed", error=f"JobFailedError: {HOSTILE}", outputs={HOSTILE: HOSTILE}, device=HOSTILE)
    jobs = {failed.job: JobView(HOSTILE, HOSTILE, HOSTILE, Curve((1, 2), {f"validation_{HOSTILE}": (1.0, 2.0)}), ((HOSTILE,), ((1.0,),)))}
    nodes = [node(1), failed, NodeRecord(node=HOSTILE)]
    write_page(
        tmp_path / "page.html",
        record(nodes, state=RunState.FAILED, error=HOSTILE, command=HOSTILE, parameters={HOSTILE: HOSTILE}),
        (),
        jobs,
    )
    look(browser, tmp_path / "page.html")
    assert browser.execute_script("return window.hostile") is None
    sections = [section.get_attribute("id") for section in browser.find_elements("css selector", "section")]
    assert sections[0] == "failures"
    rows = [row.text for row in browser.find_elements("css selector", "#receipt tbody tr td:first-child")]
    assert rows[0] == failed.node
    (shown,) = browser.find_elements("css selector", "details.node[open]")
    assert failed.error in shown.text
    assert "{{ 7 * 7 }}" in shown.text


def test_a_page_of_200_nodes_is_small_and_draws_what_is_shown(tmp_path: Path, browser: Any) -> None:
    nodes = [node(number, gpu_use=used(*range(100), *range(100))) for number in range(200)]
    earlier = [record([node(number, scores={"roc_auc": 0.5}) for number in range(200)], day) for day in range(26, 20, -1)]
    write_page(tmp_path / "page.html", record(nodes), earlier, {each.job: view() for each in nodes})
    assert (tmp_path / "page.html").stat().st_size < 8_000_000
    look(browser, tmp_path / "page.html")
    assert drawn(browser) == 3  # timeline, dollars and the use of the GPUs
    browser.find_element("css selector", "input[type=search]").send_keys("station_123")
    (element,) = [each for each in browser.find_elements("css selector", "details.node") if each.is_displayed()]
    element.find_element("css selector", "summary").click()
    browser.execute_async_script("requestAnimationFrame(() => setTimeout(arguments[0], 0))")
    assert drawn(browser) == 7
    assert "best so far" in browser.find_element("css selector", "#receipt").text
    assert browser.get_log("browser") == []


def test_the_page_follows_the_colours_of_its_reader_and_prints_whole(tmp_path: Path, browser: Any) -> None:
    write_page(tmp_path / "page.html", record([node(1), node(2)]), (), {node(1).job: view()})
    look(browser, tmp_path / "page.html")
    background = "return getComputedStyle(document.body).backgroundColor"
    light = browser.execute_script(background)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]})
    assert browser.execute_script(background) != light
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    browser.execute_script("window.dispatchEvent(new Event('beforeprint'))")
    browser.execute_async_script("requestAnimationFrame(() => setTimeout(arguments[0], 0))")
    assert len(browser.find_elements("css selector", "details.node[open]")) == 2
    assert drawn(browser) == 5
    assert browser.get_log("browser") == []


@pytest.mark.measured
def test_a_page_needs_neither_the_volume_nor_a_whole_job_folder(finished: Project, tmp_path: Path) -> None:
    project = tmp_path / "shop"
    shutil.copytree(finished.path, project)
    copy = Project(project)
    (job,) = copy.jobs
    for file in ("progress.jsonl", "outputs/metrics.json", "job.json", "log.txt", "train.py"):
        (job / file).write_bytes(b'{"step": 1, "of"\xff')
    done = copy.kedro("cloudtrain", "report", "--output", "broken.html")
    assert done.returncode == 0, done.stdout + done.stderr
    shutil.rmtree(job.parent)
    done = copy.kedro("cloudtrain", "report", "--output", "gone.html")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Of 1 of its jobs the folder is not there" in (project / "gone.html").read_text()


def test_the_timeline_has_all_of_a_nodes_time_and_tells_what_was_lost() -> None:
    lost = node(1, seconds={"start": 250.0, "fit": 60.0}, total_s=310.0)
    lost.machines.insert(0, MachineRecord(pod="x", seconds=200.0, cost_usd=0.02, ended="vanished"))
    figure = figures.timeline(record([lost, NodeRecord(node="here", started_at=START, total_s=2.0), NodeRecord(node="never")]))
    seconds = {trace["name"]: sum(trace["x"]) / 1000 for trace in figure["data"]}
    assert seconds == {"waits for a slot": 10.0, "lost": 200.0, "start": 50.0, "fit": 60.0, "runs here": 2.0}


@pytest.mark.parametrize("state", [*JobState])
def test_the_bars_of_a_node_are_as_long_as_it_took_in_every_state(state: str) -> None:
    stages: list[dict[str, float]] = [{"render": 0.1}, {"render": 2.9, "start": 20.0}, {"render": 1.0, "start": 100.0, "fit": 95.0}]
    for seconds, ended in itertools.product(stages, ("done", "jobfailed", "cancelled", "vanished")):
        pod = MachineRecord(pod="p", seconds=107.0, ended=ended)
        shown = figures.timeline(record([node(0, state=str(state), seconds=seconds, total_s=196.0, waited_s=0.0, machines=[pod])]))
        bars = {trace["name"]: trace["x"][0] / 1000 for trace in shown["data"]}
        assert sum(bars.values()) == pytest.approx(196.0, abs=0.1)
        # A pod whose job failed was not lost.
        assert ("lost" in bars) == (ended == "vanished")


def test_the_page_of_a_rehearsal_marks_its_money_and_names_its_volume() -> None:
    failed = node(1, state="failed", machines=[MachineRecord(pod="p", seconds=1.0, cost_usd=0.01, ended="jobfailed")])
    page = render_page(record([failed], state=RunState.FAILED, rehearsed=True)).partition("<script>")[0]
    assert "failed, rehearsed</span></h1>" in page
    for part in ("of play money</b>", "<h2>Dollars of play money</h2>", '<th class="n">play money</th>', "the rehearsal's volume is gone"):
        assert part in page
    assert "the jobs were cleaned" not in page
    assert "jobfailed" not in page
    assert "its job failed" in page
    earnest = render_page(record([failed], state=RunState.FAILED)).partition("<script>")[0]
    assert "play money" not in earnest
    assert "rehears" not in earnest


def test_the_dollars_rise_to_what_the_run_has_cost_under_its_limit() -> None:
    run_record = record([node(1), node(2)])
    figure = figures.dollars(run_record)
    assert figure is not None
    spent, limit = figure["data"]
    assert spent["y"] == sorted(spent["y"])
    assert spent["y"][-1] == pytest.approx(run_record.cost_usd)
    assert limit["y"] == [5.0, 5.0]
    assert figures.dollars(record([NodeRecord(node="here")])) is None


def test_the_use_of_each_gpu_is_a_line_and_none_is_drawn_where_nothing_is_known(browser: Any, tmp_path: Path) -> None:
    nodes = [node(1, gpu_use=used(0.0, 80.0, 100.0)), node(2, gpu_use=used(50.0)), node(3), NodeRecord(node="here")]
    figure = figures.gpu_use(record(nodes))
    assert figure is not None
    assert [(trace["name"], trace["mode"], trace["y"]) for trace in figure["data"]] == [
        ("station_001", "lines", [0.0, 80.0, 100.0]),
        ("station_002", "markers", [50.0]),
    ]
    # Over the same time as the dollars.
    assert figure["data"][0]["x"][0] == "2026-11-27 01:55:23.000"
    write_page(tmp_path / "page.html", record(nodes))
    look(browser, tmp_path / "page.html", 390)
    assert "GPU use" in browser.find_element("tag name", "main").text
    assert len(browser.find_elements("css selector", "#gpu .scatterlayer .trace")) == 2
    assert len(browser.find_elements("css selector", "#gpu .legendtext")) == 2
    write_page(tmp_path / "page.html", record([node(3)]))
    look(browser, tmp_path / "page.html")
    assert browser.find_elements("css selector", "#gpu") == []


def test_labels_are_short_and_no_two_are_alike() -> None:
    names = [f"segments.station_{number:03d}.train_the_segment_model" for number in range(60)]
    assert figures.labels(names)[:2] == ["station_000", "station_001"]
    for odd in (["a" * 80, "b" * 80], ["train", "train.model.of.everything.that.there.is.to.train"], ["one"]):
        short = figures.labels(odd)
        assert len(set(short)) == len(odd)
        assert max(map(len, short)) <= 26


def test_a_long_curve_is_thinned_and_keeps_its_best_round(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    lines = [
        {"step": step, "of": 5000, "metrics": {"validation_rmse": abs(step - 3337) + 1.0, "train_rmse": None}} for step in range(1, 5001)
    ]
    # A resumed fit goes over some rounds again.
    (tmp_path / "progress.jsonl").write_text("".join(json.dumps(line) + "\n" for line in (*lines[:3000], *lines[2000:])) + '{"step": 5')
    curve = JobView.of(folder).curve
    assert curve is not None
    assert (curve.best, curve.rounds[0], curve.rounds[-1]) == (3337, 1, 5000)
    assert len(curve.rounds) < 170
    assert curve.rounds == tuple(sorted(set(curve.rounds)))
    assert curve.metrics["validation_rmse"][curve.rounds.index(3337)] == 1.0


def test_a_view_has_no_secret_and_no_control_sequence(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text("read https://anna:geheim1@example.org/t.csv?token=abcdef12345\n\x1b[31mred\x1b[0m\n")
    (tmp_path / "train.py").write_text('URL = "https://example.org/t.csv?api_key=geheim2"\n')
    shown = JobView.of(JobFolder(tmp_path))
    assert "geheim" not in shown.log + shown.script
    assert "\x1b" not in shown.log
    assert "red" in shown.log


def test_without_plotly_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from kedro_cloudtrain.errors import ConfigError

    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(ConfigError, match=r'pip install "kedro-cloudtrain\[viz\]"'):
        render_page(record([node(1)]))


def test_the_views_of_a_run_are_those_of_its_jobs(finished: Project) -> None:
    latest = RunLedger(finished.path).find("latest")
    assert set(views_of(latest, finished.path)) == {node.job for node in latest.nodes if node.job}
    assert views_of(latest, finished.path.parent) == {}
