"""The report role end to end: a playbook publishes, a browser reads the page."""

from __future__ import annotations

import collections
import datetime
import importlib.util
import itertools
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import typing as t

import pytest

playwright_api = pytest.importorskip("playwright.sync_api")

ROOT = pathlib.Path(__file__).resolve().parents[2]
COLLECTIONS = ROOT / ".build/collections"
CHROMIUM = shutil.which("chromium")
BROWSER_ARGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

_spec = importlib.util.spec_from_file_location("sample_reports", ROOT / "tests/unit/fixtures/sample_reports.py")
assert _spec and _spec.loader
samples = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(samples)

NOW = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
HOSTILE = (
    "<script>window.harm=1</script><img src=x onerror=window.harm=2> \"onmouseover=window.harm=3 ' {{ 7*7 }} </style>"
)

PUBLISH = """
- hosts: localhost
  gather_facts: false
  connection: local
  tasks:
    - ansible.builtin.import_role:
        name: matrixon.ops.report
"""
TEXTFILE = """
- hosts: localhost
  gather_facts: false
  connection: local
  tasks:
    - ansible.builtin.import_role:
        name: matrixon.ops.report
        tasks_from: textfile
"""


class Run(t.NamedTuple):
    """What one run of ansible-playbook did."""

    code: int
    output: dict[str, t.Any]

    @property
    def stats(self) -> dict[str, int]:
        """Return the recap of localhost."""
        found: dict[str, int] = self.output["stats"]["localhost"]
        return found

    def task(self, name: str, host: str = "localhost") -> dict[str, t.Any]:
        """Return the result of a task by a part of its name."""
        for task in self.tasks(host):
            if name in task["task"]["name"]:
                result: dict[str, t.Any] = task["hosts"][host]
                return result
        raise AssertionError(f"no task {name}")

    def tasks(self, host: str) -> list[dict[str, t.Any]]:
        """Return what ran for a host."""
        return [task for play in self.output["plays"] for task in play["tasks"] if host in task["hosts"]]


def ansible(
    folder: pathlib.Path, playbook: str, variables: dict[str, t.Any], *args: str, hosts: str = "localhost"
) -> Run:
    """Run a playbook as a user would, in a directory of its own."""
    (folder / "play.yml").write_text(playbook)
    (folder / "vars.json").write_text(json.dumps(variables))
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")},
        "ANSIBLE_COLLECTIONS_PATH": f"{COLLECTIONS}:{':'.join(path for path in sys.path if 'site-packages' in path)}",
        "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
        "ANSIBLE_HOME": str(folder / "ansible"),
        "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
        "ANSIBLE_SHOW_CUSTOM_STATS": "true",
        "PWD": str(folder),
    }
    command = [str(pathlib.Path(sys.executable).with_name("ansible-playbook")), "-i", f"{hosts},", "play.yml"]
    done = subprocess.run(
        [*command, "-e", "@vars.json", *args], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    start = done.stdout.find("{\n")
    assert start >= 0, done.stdout + done.stderr
    assert "[WARNING]" not in done.stderr and "[DEPRECATION" not in done.stderr, done.stderr
    return Run(done.returncode, json.loads(done.stdout[start:]))


def publish_each(folder: pathlib.Path, cases: t.Mapping[str, dict[str, t.Any]], tasks_from: str = "main") -> Run:
    """Publish several times in one run, each with its variables, for a host and into a directory of its name.

    What fails is rescued, which the recap shows, so that the next goes on; the last one is not.
    """
    publishing = {"ansible.builtin.import_role": {"name": "matrixon.ops.report", "tasks_from": tasks_from}}
    rescued = {"block": [publishing], "rescue": [{"ansible.builtin.debug": {"msg": "It failed."}}]}
    plays = [
        {
            "hosts": name,
            "gather_facts": False,
            "connection": "local",
            "vars": {"report_dir": str(folder / name), **variables},
            "tasks": [rescued if number < len(cases) else publishing],
        }
        for number, (name, variables) in enumerate(cases.items(), 1)
    ]
    return ansible(folder, json.dumps(plays), {}, hosts=",".join(cases))


def tree(folder: pathlib.Path) -> dict[str, bytes]:
    """Return every file below a directory."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# Publishing


def test_publish_writes_everything_once(tmp_path):
    documents, unreachable = samples.troubled_fleet(10)
    variables = {"report_documents": documents, "report_unreachable": unreachable}
    reports = tmp_path / "reports"

    dry = ansible(tmp_path, PUBLISH, variables, "--check", "--diff")
    assert dry.code == 0 and not reports.exists()
    said = dry.task(": Publish the reports of the fleet")
    assert said["changed"] and said["msg"].startswith("Check mode: nothing was written. Would be: create ")

    first = ansible(tmp_path, PUBLISH, variables)
    assert first.code == 0 and first.stats["changed"] == 1
    files = tree(reports)
    assert set(files) == {
        "health-example.org.json", "health-example.org.html",
        *(f"hosts/health-hs{number}.json" for number in range(1, 10)),
        f"history/health-example.org-{samples.MOMENT:%Y%m%dT%H%M%S}250Z.json",
    }  # fmt: skip
    assert {path.stat().st_mode & 0o777 for path in reports.rglob("*") if path.is_file()} == {0o640}
    assert {path.stat().st_mode & 0o777 for path in [reports, *reports.rglob("*")] if path.is_dir()} == {0o750}
    assert b"{{ " not in files["health-example.org.html"]

    fleet = json.loads(files["health-example.org.json"])
    assert fleet["status"] == "critical" and fleet["hosts"][0]["target"] == "hs5"

    again = ansible(tmp_path, PUBLISH, variables)
    assert again.code == 0 and again.stats["changed"] == 0
    assert tree(reports) == files
    assert (
        ansible(tmp_path, PUBLISH, variables, "--check").task(": Publish the reports of the fleet")["changed"] is False
    )


def test_artifacts_are_small_and_say_what_changed(tmp_path):
    documents, unreachable = samples.troubled_fleet(10, NOW)
    earlier = samples.healthy_fleet(9, NOW - datetime.timedelta(hours=1))
    ansible(tmp_path, PUBLISH, {"report_documents": earlier})
    run = ansible(tmp_path, PUBLISH, {"report_documents": documents, "report_unreachable": unreachable})
    summary = run.output["global_custom_stats"]["matrixon_health_summary"]
    assert len(json.dumps(summary)) < 3000
    assert (summary["status"], summary["previous_status"], summary["status_changed"]) == ("critical", "ok", True)
    assert summary["worst"][0]["check"] == "postgres_connect"
    assert pathlib.Path(summary["paths"]["page"]).exists()
    # The documents must not come back in the result, which a job controller stores.
    assert len(json.dumps(run.task(": Publish the reports of the fleet"))) < 6000


def test_unreachable_host_keeps_its_last_report_as_baseline(tmp_path):
    ansible(tmp_path, PUBLISH, {"report_documents": samples.healthy_fleet(2)})
    baseline = (tmp_path / "reports/hosts/health-hs2.json").read_bytes()
    lost = {
        "report_documents": samples.healthy_fleet(1, NOW),
        "report_unreachable": [{"target": "hs2", "message": "gone"}],
    }
    ansible(tmp_path, PUBLISH, lost)
    assert (tmp_path / "reports/hosts/health-hs2.json").read_bytes() == baseline
    assert json.loads((tmp_path / "reports/health-example.org.json").read_text())["status"] == "unknown"


def test_history_keeps_the_newest_and_survives_a_broken_file(tmp_path):
    hours = [samples.MOMENT + datetime.timedelta(hours=hour) for hour in range(4)]
    reports = {"report_dir": str(tmp_path / "reports"), "report_keep": 2}
    cases = {f"h{moment:%H}": {**reports, "report_documents": samples.healthy_fleet(1, moment)} for moment in hours}
    assert publish_each(tmp_path, cases).code == 0
    history = tmp_path / "reports/history"
    kept = sorted(path.name[-24:-13] for path in history.iterdir())
    assert [name[-2:] for name in kept] == ["05", "06"]

    other = history / "health-example.org-notes.json"
    other.write_text("mine")
    next(history.glob("*T05*")).write_text("{broken")
    documents = samples.healthy_fleet(1, samples.MOMENT + datetime.timedelta(hours=9))
    run = ansible(tmp_path, PUBLISH, {"report_documents": documents, "report_keep": 1})
    assert run.code == 0
    assert "1 stored run(s) could not be read" in (tmp_path / "reports/health-example.org.html").read_text()
    assert sorted(path.name for path in history.iterdir()) == [
        "health-example.org-20261123T121240250Z.json",
        "health-example.org-notes.json",
    ]


def test_outputs_can_be_switched_off(tmp_path):
    off = ("json", "hosts", "page", "artifacts")
    variables = {f"report_{name}_enabled": False for name in off}
    run = ansible(tmp_path, PUBLISH, {"report_documents": samples.healthy_fleet(1), "report_keep": 0, **variables})
    assert run.code == 0 and run.stats["changed"] == 0
    assert not (tmp_path / "reports").exists()
    assert not run.output["global_custom_stats"]


def test_fail_on_fails_after_publishing(tmp_path):
    fails = {"never": False, "critical": False, "unknown": True, "warning": True}
    given = {"report_documents": [], "report_deployment": "example.org"}
    run = publish_each(tmp_path, {name: {**given, "report_fail_on": name} for name in fails})
    for name, failed in fails.items():
        assert (tmp_path / name / "health-example.org.html").exists()
        assert run.task(": Say how", name)["msg"] == "unknown: Nothing was measured: no host returned a report"
        counts = run.output["stats"][name]
        assert bool(counts["rescued"] + counts["failures"]) is failed, name
    # The last one is not rescued.
    assert run.code == 2


def test_become_of_the_caller_does_not_reach_the_controller(tmp_path):
    variables = {"report_documents": samples.healthy_fleet(1), "ansible_become_exe": "/bin/false"}
    assert ansible(tmp_path, PUBLISH, variables, "--become").code == 0


REFUSED = {
    "nothing": ({}, "missing required arguments: report_documents"),
    "mapping": ({"report_documents": {"a": 1}}, "report_documents"),
    "kind": ({"report_documents": [], "report_kind": "../x"}, "kind is '../x'"),
    "keep": ({"report_documents": [], "report_keep": -1}, "keep is -1"),
    "mode": ({"report_documents": [], "report_file_mode": "rw"}, "file_mode is 'rw'"),
    "place": ({"report_documents": [], "report_dir": "/proc/nowhere"}, "The report cannot be written"),
}


def test_refuses_with_the_reason(tmp_path):
    run = publish_each(tmp_path, {name: variables for name, (variables, dummy) in REFUSED.items()})
    assert run.code == 2
    for name, (dummy, words) in REFUSED.items():
        failed = [task["hosts"][name] for task in run.tasks(name) if task["hosts"][name].get("failed")]
        assert len(failed) == 1 and words in json.dumps(failed[0]), name
        assert not (tmp_path / name).exists(), name


FROM_HOST = """
- hosts: localhost
  gather_facts: false
  connection: local
  tasks:
    - ansible.builtin.slurp:
        src: "{{ playbook_dir }}/documents.json"
      register: returned
    - ansible.builtin.import_role:
        name: matrixon.ops.report
      vars:
        report_documents: "{{ returned.content | b64decode | from_json }}"
        report_unreachable: "{{ [{'target': 'hs2', 'message': report_documents[0].checks[0].message}] }}"
"""


def test_text_of_servers_is_never_a_template(tmp_path):
    documents = samples.healthy_fleet(1)
    documents[0]["checks"][0]["message"] = documents[0]["deployment"] = HOSTILE
    (tmp_path / "documents.json").write_text(json.dumps(documents))
    run = ansible(tmp_path, FROM_HOST, {})
    (fleet,) = (tmp_path / "reports").glob("health-*.json")
    stored = json.loads(fleet.read_text())
    assert stored["deployment"] == HOSTILE
    assert stored["hosts"][0]["checks"][0]["message"] == HOSTILE
    assert HOSTILE in {check.get("message") for check in stored["hosts"][1]["checks"]}
    assert "{{ 7*7 }}" in run.output["global_custom_stats"]["matrixon_health_summary"]["worst"][0]["message"]
    (page,) = (tmp_path / "reports").glob("health-*.html")
    assert "{{ 7*7 }}" in page.read_text() and "<img" not in page.read_text()


# The textfile


def test_textfile(tmp_path):
    folder = tmp_path / "node exporter"
    folder.mkdir()
    path = folder / "matrixon_health.prom"
    variables = {"report_document": samples.healthy_fleet(1)[0], "report_textfile_dir": str(folder)}

    dry = ansible(tmp_path, TEXTFILE, variables, "--check", "--diff").task(": Textfile |")
    assert dry["changed"] and not path.exists()
    assert "matrixon_health_status" in dry["diff"]["after"] and dry["diff"]["before"] == ""

    assert ansible(tmp_path, TEXTFILE, variables).stats["changed"] == 1
    assert path.stat().st_mode & 0o777 == 0o644
    assert [item.name for item in folder.iterdir()] == [path.name]
    if promtool := shutil.which("promtool"):
        with path.open() as file:
            subprocess.run([promtool, "check", "metrics"], stdin=file, check=True)

    assert ansible(tmp_path, TEXTFILE, variables).stats["changed"] == 0
    path.chmod(0o600)
    assert ansible(tmp_path, TEXTFILE, variables).stats["changed"] == 1
    assert path.stat().st_mode & 0o777 == 0o644


def test_textfile_is_off_by_default_and_needs_its_directory(tmp_path):
    document = {"report_document": samples.healthy_fleet(1)[0]}
    cases = {"off": document, "absent": {**document, "report_textfile_dir": str(tmp_path / "absent")}}
    run = publish_each(tmp_path, cases, "textfile")
    counts = run.output["stats"]["off"]
    assert (counts["changed"], counts["skipped"], counts["failures"], counts["rescued"]) == (0, 1, 0, 0)
    assert run.code == 2
    said = run.task(": Textfile |", "absent")["msg"]
    assert "does not exist; is the node exporter installed?" in said


# The page


def publish(folder: pathlib.Path, documents: t.Any, unreachable: t.Any = (), **more: t.Any) -> pathlib.Path:
    """Publish without a playbook, which is what the action plugin does, and return the page."""
    from ansible_collections.matrixon.ops.plugins.action import matrixon_report_publish as action

    options = {name: spec.get("default") for name, spec in action.ARGUMENTS.items()}
    options.update(documents=documents, unreachable=list(unreachable), dir=str(folder), **more)
    result = action.publish(options, action.Store(str(folder), 0o640, write=True), samples.NOW_TEXT)
    return pathlib.Path(result["summary"]["paths"]["page"])


samples.NOW_TEXT = "2026-11-23T09:00:00.000Z"


def test_a_template_that_fails_loses_no_record(tmp_path):
    template = tmp_path / "own.html.j2"
    template.write_text("{{ page.absent }}")
    for name in ("page.css", "page.js"):
        (tmp_path / name).touch()
    with pytest.raises(Exception, match="own.html.j2 failed: .*absent"):
        publish(tmp_path / "reports", samples.healthy_fleet(1), template=str(template))
    assert sorted(path.parent.name for path in (tmp_path / "reports").rglob("*.json")) == [
        "history",
        "hosts",
        "reports",
    ]


@pytest.fixture(scope="module")
def browser():
    """Return a browser."""
    with playwright_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=BROWSER_ARGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def troubled(tmp_path_factory):
    """Return the page of a fleet of 20 with a history."""
    folder = tmp_path_factory.mktemp("troubled")
    for hour in range(5, 0, -1):
        publish(folder, samples.healthy_fleet(20, NOW - datetime.timedelta(hours=3 + hour)))
    return publish(folder, *samples.troubled_fleet(20, NOW - datetime.timedelta(hours=3)))


class Seen(t.NamedTuple):
    """A page in the browser and what it did."""

    page: t.Any
    requests: list[str]
    errors: list[str]


@pytest.fixture
def show(browser):
    """Return a function that opens a page and notes all that it does."""
    contexts = []

    def opened(path: pathlib.Path, **options: t.Any) -> Seen:
        context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}, **options})
        contexts.append(context)
        seen = Seen(context.new_page(), [], [])
        seen.page.on("request", lambda request: seen.requests.append(request.url))
        seen.page.on("pageerror", lambda error: seen.errors.append(str(error)))
        seen.page.on("console", lambda line: seen.errors.append(line.text) if line.type == "error" else None)
        seen.page.goto(path.as_uri())
        return seen

    yield opened
    for context in contexts:
        context.close()


# Luminance as WCAG defines it, over the nearest background that is not clear.
CONTRAST = """() => {
  const parse = text => (text.match(/[0-9.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const behind = item => {
    for (; item; item = item.parentElement) {
      const c = parse(getComputedStyle(item).backgroundColor);
      if (c.length === 3 || c[3] === 1) return c;
    }
    return [255, 255, 255];
  };
  const poor = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const item = walk.currentNode.parentElement;
    const text = walk.currentNode.data.trim();
    if (!text || !item.getClientRects().length || item.closest("script,style,svg")) continue;
    const a = light(parse(getComputedStyle(item).color)), b = light(behind(item));
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) poor.push(ratio.toFixed(2) + " " + text.slice(0, 40));
  }
  return poor;
}"""


@needs_browser
@pytest.mark.parametrize("width", [1200, 768, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_is_readable(show, troubled, scheme, width):
    seen = show(troubled, color_scheme=scheme, viewport={"width": width, "height": 900})
    page = seen.page
    page.evaluate("document.querySelectorAll('details').forEach(item => { item.open = true })")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate(CONTRAST) == []
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert sum(map(int, re.findall(r"\d+", background))) < 150 if scheme == "dark" else "246" in background
    assert seen.errors == []
    assert seen.requests == [troubled.as_uri()]


@needs_browser
def test_page_says_first_what_is_wrong(show, troubled):
    page = show(troubled).page
    assert page.title() == "Critical: Health of example.org"
    assert page.inner_text("h1") == "1 of 20 hosts critical: PostgreSQL at 10.0.0.15:5432 refused the connection (hs5)"
    tiles = page.locator(".tile")
    assert tiles.count() == 20
    assert [tiles.nth(place).locator(".host").inner_text() for place in range(4)] == ["hs5", "hs20", "hs9", "hs1"]
    words = collections.Counter(page.locator(".tile .head .state").all_inner_texts())
    assert words == {"Critical": 1, "Unknown": 1, "Warning": 1, "OK": 17}
    assert "homeserver: 2 versions run side by side: 1.162.0 on hs9" in page.inner_text("main")
    assert "hs20 did not answer on SSH" in page.inner_text("main")


@needs_browser
def test_failing_check_shows_value_limits_and_kind(show, troubled):
    page = show(troubled).page
    findings = page.locator("article").first.locator(".finding")
    assert findings.locator(".head .name").all_inner_texts() == [
        "postgres_connect", "disk_free", "postgres_connections", "oldest_transaction"
    ]  # fmt: skip
    refused = findings.nth(0).inner_text().replace("\N{NO-BREAK SPACE}", " ")
    assert "Not measured" in refused and "Kind of error: refused" in refused and "Took 504 ms" in refused
    disk = findings.nth(1)
    text = disk.inner_text().replace("\N{NO-BREAK SPACE}", " ")
    assert "6.2 GiB" in text and "warning 20.0 GiB" in text and "critical 10.0 GiB" in text
    assert disk.locator("svg.scale rect").count() == 4
    assert "critical below" in disk.locator("svg.scale").get_attribute("aria-label")


@needs_browser
def test_passed_skipped_and_claims_are_folded_or_labelled(show, troubled):
    page = show(troubled).page
    card = page.locator("article").first
    assert not card.locator("table").first.is_visible()
    card.locator("summary").nth(0).click()
    assert "client_api" in card.locator("table").nth(0).inner_text()
    card.locator("summary").nth(1).click()
    assert "no access token is set" in card.locator("table").nth(1).inner_text()
    assert "What the server says about itself (shown, not trusted)" in card.locator(".claims").inner_text()
    assert "server_health" not in card.locator("table").nth(0).inner_text()


@needs_browser
def test_tile_leads_to_its_host_and_opens_it(show, troubled):
    page = show(troubled).page
    page.locator(".tile", has=page.locator(".host", has_text=re.compile("^hs7$"))).click()
    opened = page.locator("details.well[open]")
    assert opened.count() == 1
    assert opened.locator("h3").inner_text() == "hs7"


@needs_browser
def test_plots_have_words(show, troubled):
    page = show(troubled).page
    strip = page.locator(".sums svg.strip")
    assert strip.get_attribute("aria-label") == "Last 6 runs: 1 critical, 5 ok"
    assert strip.locator("rect").count() == 6
    tile = page.locator(".tile", has=page.locator(".host", has_text=re.compile("^hs9$")))
    assert "now 184" in tile.locator("svg.spark").get_attribute("aria-label")


@needs_browser
def test_age_is_told_and_an_old_page_says_so(show, troubled, tmp_path):
    page = show(troubled).page
    assert page.inner_text(".run .age") == "3 h ago"
    assert not page.locator("#stale").is_visible()
    old = publish(tmp_path, samples.healthy_fleet(1, NOW - datetime.timedelta(days=3)))
    page = show(old).page
    assert page.inner_text(".run .age") == "3 d ago"
    assert page.locator("#stale").is_visible()


@needs_browser
def test_page_works_without_javascript(show, troubled):
    page = show(troubled, java_script_enabled=False).page
    assert re.search(r"Run\s+at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", page.inner_text(".run"))
    page.locator("article summary").first.click()
    assert page.locator("article table").first.is_visible()


@needs_browser
def test_print_shows_what_is_folded(show, troubled):
    page = show(troubled).page
    table = page.locator("article table").first
    assert not table.is_visible()
    page.emulate_media(media="print", color_scheme="dark")
    assert table.evaluate("item => item.checkVisibility({contentVisibilityAuto: true}) && item.offsetHeight > 50")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate(CONTRAST) == []


@needs_browser
def test_print_opens_and_folds_again(show, troubled):
    page = show(troubled).page
    folded = page.locator("details:not([open])").count()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details:not([open])").count() == folded > 20


@needs_browser
def test_structure_for_a_screen_reader(show, troubled):
    page = show(troubled).page
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map(item => +item.tagName[1])")
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert page.evaluate("document.documentElement.lang") == "en"
    # An image has words or is hidden, a table has a caption and headers with a scope, an id stands once.
    assert page.evaluate("[...document.querySelectorAll('svg')].every(s => s.ariaHidden || s.ariaLabel)")
    assert page.evaluate("[...document.querySelectorAll('table')].every(item => item.caption)")
    assert page.evaluate("[...document.querySelectorAll('th')].every(item => item.scope)")
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(item => item.id)")
    assert len(ids) == len(set(ids))
    # The status is never told by colour alone: an icon of its own and a word.
    assert page.evaluate(
        "[...document.querySelectorAll('.tile')].every(item => item.querySelector('.state use, .state svg'))"
    )


# Plots and tables that a report holds as data


@pytest.fixture(scope="module")
def pictured(tmp_path_factory):
    """Return the page of two hosts with a year of history."""
    return publish(tmp_path_factory.mktemp("pictured"), samples.pictured_fleet(), kind="capacity")


# Texts in pictures against the card behind them, and lines, which need less.
PICTURE_CONTRAST = """() => {
  const parse = text => (text.match(/[0-9.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const card = light(parse(getComputedStyle(document.querySelector(".verdict")).backgroundColor));
  const ratio = colour => {
    const own = light(parse(colour));
    return (Math.max(own, card) + .05) / (Math.min(own, card) + .05);
  };
  const poor = [];
  for (const item of document.querySelectorAll(".chart text"))
    if (ratio(getComputedStyle(item).fill) < 4.5) poor.push("text " + item.textContent);
  for (const item of document.querySelectorAll(".curve, line.limit"))
    if (ratio(getComputedStyle(item).stroke) < 3) poor.push("line " + item.getAttribute("class"));
  for (const item of document.querySelectorAll(".spot, .share rect"))
    if (ratio(getComputedStyle(item).fill) < 3) poor.push("spot " + item.getAttribute("class"));
  return poor;
}"""

# Texts of one picture that stand on each other, and what reaches beyond the edge of the screen.
CROWDED = """() => {
  const poor = [];
  const boxes = (root, name) => [...root.querySelectorAll(name)]
    .map(item => [item.getBoundingClientRect(), item.textContent.trim()]).filter(([box]) => box.width);
  for (const chart of document.querySelectorAll(".chart"))
    for (const part of [".rule-y text", ".rule-x text", ".field text"]) {
      const found = boxes(chart, part);
      found.forEach(([a, one], place) => found.slice(place + 1).forEach(([b, other]) => {
        const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
        const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
        if (wide > 0 && high > 2) poor.push(one + " stands on " + other);
      }));
    }
  const parts = ".chart, .chart text, .chart .field, .legend li, td, th, figcaption, .note, summary";
  for (const [box, text] of boxes(document, parts))
    if (box.width > 1 && (box.left < 0 || box.right > innerWidth + .5))
      poor.push(text.slice(0, 40) + " reaches " + box.right);
  return poor;
}"""


@needs_browser
@pytest.mark.parametrize("width", [1200, 768, 320])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_year_of_history_is_readable(show, pictured, scheme, width):
    seen = show(pictured, color_scheme=scheme, viewport={"width": width, "height": 900})
    page = seen.page
    page.evaluate("document.querySelectorAll('details').forEach(item => { item.open = true })")
    assert page.locator("figure.plot").count() == 7
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate(CROWDED) == []
    assert page.evaluate(PICTURE_CONTRAST) == []
    assert page.evaluate(CONTRAST) == []
    # As small letters as these are still read; none is scaled with its picture.
    sizes = page.evaluate(
        "[...document.querySelectorAll('.chart text')].map(i => parseFloat(getComputedStyle(i).fontSize))"
    )
    assert min(sizes) >= 11
    assert page.evaluate(
        "[...document.querySelectorAll('.field')].every(i => i.getBoundingClientRect().height === 180)"
    )
    assert seen.errors == [] and seen.requests == [pictured.as_uri()]


@needs_browser
@pytest.mark.parametrize("width", [1200, 900, 320])
def test_words_on_the_axes_do_not_stand_on_each_other(show, tmp_path, width):
    noise = random.Random(8)
    documents = []
    for place in range(6):
        plots = []
        for unit in ("B", "%", "ms", "s", "count", "/s") * 5:
            begin = samples.MOMENT + datetime.timedelta(seconds=noise.uniform(0, 3e7))
            step, size, base = 10 ** noise.uniform(-1, 7), 10 ** noise.uniform(-3, 13), noise.choice((0, 1, 20))
            points = [
                [samples.rfc(begin + datetime.timedelta(seconds=step * number)), size * (base + noise.random())]
                for number in range(20)
            ]
            lines = [{"name": f"line {number}", "value": size * (base + noise.random())} for number in range(4)]
            series = [{"name": "a", "role": "measured", "points": points}]
            plots.append({"name": "p", "title": "A plot", "unit": unit, "series": series, "lines": lines})
        document = samples.pictured_fleet()[1]
        documents.append({**document, "target": f"hs{place}", "facts": {"plots": plots}})
    page = show(publish(tmp_path, documents, kind="capacity"), viewport={"width": width, "height": 900}).page
    page.evaluate("document.querySelectorAll('details').forEach(item => { item.open = true })")
    assert page.locator("figure.plot").count() == 180
    assert page.evaluate(CROWDED) == []


@needs_browser
def test_the_answer_stands_on_top_and_plots_are_not_folded(show, pictured):
    page = show(pictured).page
    answers = [text.replace("\n", " ") for text in page.locator(".verdict .answer").all_inner_texts()]
    assert answers == [
        "Disk of /var on db1 is full in 97 days at the present rate; add 200 GB by 12 January. (db1)",
        "Nothing on hs1 is full within a year. (hs1)",
    ]
    assert page.locator("figure.plot").evaluate_all("items => items.every(item => item.checkVisibility())")
    assert page.locator("article .own-answer").inner_text().startswith("Disk of /var on db1")


def test_an_answer_that_is_the_worst_finding_is_not_said_twice(tmp_path):
    documents = samples.pictured_fleet()
    sentence = documents[0]["facts"]["answer"]
    documents[0]["checks"][0]["message"] = sentence
    html = publish(tmp_path, documents, kind="capacity").read_text()
    # In the headline, on the tile, and as the finding.
    assert html.count(sentence) == 3
    assert sentence in re.search(r"<h1>(.*?)</h1>", html)[1]
    assert 'class="own-answer text">Nothing on hs1 is full within a year.' in html


@needs_browser
def test_a_curve_is_where_its_numbers_are(show, pictured):
    figure = show(pictured).page.locator("figure.plot").first
    assert figure.locator(".title").inner_text() == "Disk of /var on db1"
    label = figure.locator("svg.field").get_attribute("aria-label").replace("\N{NO-BREAK SPACE}", " ")
    assert "used: between 17" in label and "The forecast of used reaches warning on" in label
    dashes = figure.locator(".field path.curve").evaluate_all(
        "items => items.map(i => getComputedStyle(i).strokeDasharray)"
    )
    assert dashes == ["none", "7px, 4px"]
    # The measured year, with its gap, ends where the forecast begins, a quarter before the right edge.
    measured, forecast, field, band = (
        figure.locator(name).bounding_box() for name in (".field .measured", ".field .forecast", ".field", "path.band")
    )
    assert measured["x"] == pytest.approx(field["x"], abs=1.5)
    assert measured["x"] + measured["width"] == pytest.approx(forecast["x"], abs=3)
    assert forecast["x"] + forecast["width"] == pytest.approx(field["x"] + field["width"], abs=1.5)
    assert forecast["y"] < measured["y"] + 5 and band["height"] > forecast["height"]
    assert figure.locator(".field .measured").get_attribute("d").count("M") == 2
    full = figure.locator("line.limit.critical").bounding_box()
    warning = figure.locator("line.limit.warning").bounding_box()
    assert full["y"] < warning["y"] < measured["y"] + 10


@needs_browser
def test_curves_are_told_apart_without_colour(show, pictured):
    page = show(pictured).page
    figure = page.locator("figure.plot").nth(3)
    shapes = figure.locator(".legend use").evaluate_all("items => items.map(item => item.getAttribute('href'))")
    assert shapes == [f"#m-{place}" for place in range(1, 7)]
    assert all(figure.locator(f".field use[href='{shape}']").count() > 3 for shape in shapes)
    assert len(page.locator("g[id^='m-']").evaluate_all("items => [...new Set(items.map(i => i.innerHTML))]")) == 6
    assert figure.locator(".legend svg use").first.bounding_box()["width"] > 5


@needs_browser
def test_a_pointer_over_a_plot_is_told_values_without_a_script(show, pictured):
    page = show(pictured, java_script_enabled=False).page
    told = page.locator("figure.plot").first.locator("rect.hover title").first.text_content() or ""
    assert re.match(r"\d+ \w{3} 20\d\d to .*\nused: 1\d\d", told)
    box = page.locator("figure.plot").first.locator("rect.hover").first.bounding_box()
    assert box and box["width"] > 5 and box["height"] == 180


@needs_browser
def test_tables_say_their_order_in_bars_and_fold_what_is_long(show, pictured):
    page = show(pictured).page
    ranking = page.locator(".ranking").first
    shares = (
        ranking.locator("table")
        .first.locator(".share rect")
        .evaluate_all("i => i.map(r => r.getBoundingClientRect().width)")
    )
    assert len(shares) == 10 and shares == sorted(shares, reverse=True)
    assert ranking.locator("summary").inner_text() == "6 more"
    assert page.locator(".ranking").nth(1).locator(".state").all_inner_texts() == ["critical", "warning", "unknown"]


@needs_browser
def test_a_page_with_plots_has_structure_for_a_screen_reader(show, pictured):
    page = show(pictured, viewport={"width": 320, "height": 900}).page
    assert page.evaluate("[...document.querySelectorAll('svg')].every(s => s.ariaHidden || s.ariaLabel)")
    assert page.evaluate("[...document.querySelectorAll('table')].every(item => item.caption)")
    assert page.evaluate("[...document.querySelectorAll('th')].every(item => item.scope)")
    # Tables that became lists on a narrow screen keep their roles.
    assert page.get_by_role("columnheader", name="how to mend").count() == 1
    assert page.get_by_role("cell", name="apt-get upgrade").count() == 1


@needs_browser
def test_plots_are_printed_on_white(show, pictured):
    page = show(pictured, color_scheme="dark").page
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate(PICTURE_CONTRAST) == [] and page.evaluate(CONTRAST) == []


@needs_browser
def test_very_much_data_makes_a_page_that_is_small_and_readable(show, tmp_path):
    document = samples.pictured_fleet()[0]
    long = "W" * 10_000
    begin = samples.MOMENT - datetime.timedelta(days=365)
    points = [[samples.rfc(begin + datetime.timedelta(minutes=5 * place)), place % 97] for place in range(100_000)]
    series = [{"name": long, "role": "measured", "points": points}]
    plots = [{"title": long, "unit": long, "series": series, "lines": [{"name": long, "value": 50}]}]
    few = [{"name": f"{long}{place}", "role": "measured", "points": points[:9]} for place in range(9)]
    plots += [{"title": f"{place} {long}", "unit": "count", "series": few} for place in range(45)]
    document["facts"] = {
        "plots": plots,
        "answer": long,
        "rankings": [{"title": long, "columns": [{"title": long, "unit": "text"}] * 9, "rows": [[long] * 9] * 200}],
    }
    path = publish(tmp_path, [document], kind="capacity")
    assert path.stat().st_size < 2_000_000
    for width in (1200, 320):
        page = show(path, viewport={"width": width, "height": 900}).page
        page.evaluate("document.querySelectorAll('details').forEach(item => { item.open = true })")
        assert page.locator("figure.plot").count() == 40
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert "and 1 more." in page.locator(".pictures > .note").inner_text()
        assert (
            max(page.locator("path.curve").evaluate_all("i => i.map(p => p.getAttribute('d').split(/[ML]/).length)"))
            <= 401
        )


def hostile_fleet() -> list[dict[str, t.Any]]:
    """Return a report in which every text of the server is an attack."""
    document = samples.healthy_fleet(1)[0]
    document.update(target=HOSTILE, deployment=HOSTILE, profile=HOSTILE, evidence=[HOSTILE])
    points = [["2026-11-23T00:00:00Z", 1], ["2026-11-23T01:00:00Z", 2], [HOSTILE, HOSTILE]]
    document["facts"] = {
        "versions": {HOSTILE: [HOSTILE, "1"], "homeserver": [HOSTILE, "1"]},
        "answer": HOSTILE,
        "plots": [
            {
                "name": HOSTILE,
                "title": HOSTILE,
                "unit": HOSTILE,
                "series": [{"name": HOSTILE, "role": role, "points": points} for role in (HOSTILE, "forecast")],
                "lines": [{"name": HOSTILE, "value": 1.5, "status": HOSTILE}],
            }
        ],
        "rankings": [
            {
                "title": HOSTILE,
                "columns": [{"title": HOSTILE, "unit": unit} for unit in (HOSTILE, "code", "status", "time", "text")],
                "rows": [[HOSTILE] * 5] * 20,
                "bar": HOSTILE,
            }
        ],
    }
    attempt = {"status": HOSTILE, "message": HOSTILE, "duration_ms": 1}
    statuses = ["ok", "warning", "critical", "unknown", "skipped", "ok"]
    texts = dict.fromkeys(("target", "message", "unit", "skipped_reason", "error_kind"), HOSTILE)
    numbers = {"value": 3, "warning": 1, "critical": 5, "duration_ms": 3}
    document["checks"] = [
        {"name": f"check_{place}", "status": status, "source": "probe", "attempts": [attempt], **texts, **numbers}
        for place, status in enumerate(statuses)
    ]
    document["checks"][-1]["source"] = "self_report"
    return [document]


@needs_browser
@pytest.mark.parametrize("policy", ["with its policy", "without"])
def test_nothing_from_a_server_is_markup(show, tmp_path, policy):
    path = publish(tmp_path, hostile_fleet(), [{"target": f"u{HOSTILE}", "message": HOSTILE}])
    text = path.read_text()
    if policy == "without":
        # Escaping must hold on its own; the policy is the second wall.
        text = re.sub(r"<meta http-equiv=\"Content-Security-Policy\"[^>]*>", "", text)
        path.write_text(text)
    assert text.count("<script>") == 1 and "<img" not in text
    seen = show(path)
    seen.page.evaluate("document.querySelectorAll('details').forEach(item => { item.open = true })")
    for item in seen.page.locator(".tile, .finding").all():
        item.hover()
    assert seen.page.evaluate("window.harm") is None
    assert seen.page.locator("script").count() == 1
    assert seen.page.locator("[onmouseover], [onerror], img").count() == 0
    assert seen.requests == [path.as_uri()] and seen.errors == []
    assert HOSTILE in seen.page.inner_text("h1")
    assert seen.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@needs_browser
def test_long_words_do_not_widen_the_page(show, tmp_path):
    documents = samples.healthy_fleet(1)
    long = "x" * 400
    documents[0]["target"] = long
    for check in documents[0]["checks"]:
        check.update(message=long, target=long)
    documents[0]["checks"][0].update(status="critical", name="c" * 120)
    seen = show(publish(tmp_path, documents), viewport={"width": 390, "height": 800})
    seen.page.evaluate("document.querySelectorAll('details').forEach(item => { item.open = true })")
    assert seen.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@needs_browser
def test_a_healthy_and_an_empty_fleet(show, tmp_path):
    page = show(publish(tmp_path / "a", samples.healthy_fleet(4))).page
    assert page.inner_text("h1") == "All 4 hosts are ok: 41 checks passed"
    assert page.locator("#attention").count() == 0
    assert page.locator(".state.critical, .state.warning, .state.unknown").count() == 0
    page = show(publish(tmp_path / "b", [])).page
    assert page.inner_text("h1") == "Nothing was measured: no host returned a report"
    assert page.inner_text(".verdict .state >> nth=0") == "Unknown"
