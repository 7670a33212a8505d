"""Prometheus reads the metrics; alerts and the dashboard name what there is."""

import json
import re
import subprocess
import time

from conftest import ROOT
from kinds import jid, job
from served import SOON


def promtool(*arguments, text=None):
    run = subprocess.run(["promtool", *arguments], input=text, capture_output=True, timeout=SOON, check=False)
    return run.returncode, (run.stdout + run.stderr).decode()


def names(text):
    return set(re.findall(r"^# TYPE (\S+) ", text.decode(), re.MULTILINE))


def test_promtool_finds_nothing_to_complain_about(served):
    code, said = promtool("check", "metrics", text=served.get("/metrics"))
    assert (code, said) == (0, "")


def test_the_copy_of_salt_exporter_has_its_fault_and_no_other(served):
    served.get("/metrics/salt-exporter")
    served.fire(*job(jid(), "test.ping", ["m1", "m2"]), ("salt/beacon/m1/status/1", {"id": "m1"}))
    end = time.monotonic() + SOON
    while b"salt_health_last_heartbeat{" not in (text := served.get("/metrics/salt-exporter")):
        assert time.monotonic() < end, text
        time.sleep(0.05)
    assert b'salt_expected_responses_total{function="test.ping",state=""} 2\n' in text
    code, said = promtool("check", "metrics", text=text)
    assert code == 3
    assert said == 'salt_health_minions_total non-counter metrics should not have "_total" suffix\n'


def test_alerts_are_valid_and_name_metrics_that_exist(served):
    code, said = promtool("check", "rules", str(ROOT / "contrib/prometheus/brine.rules.yml"))
    assert code == 0, said
    known = names(served.get("/metrics"))
    board = json.loads((ROOT / "contrib/grafana/brine.json").read_text())
    expressions = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    expressions.append((ROOT / "contrib/prometheus/brine.rules.yml").read_text())
    used = {re.sub("_bucket$", "", name) for text in expressions for name in re.findall(r"\bbrine_\w+", text)}
    assert used - known == set()
    described = set(re.findall(r"`(brine_\w+)`", (ROOT / "docs/metrics.md").read_text()))
    assert described == known
