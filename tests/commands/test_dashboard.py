"""The workspace and the report that `lightning-gen dashboard` writes."""

import json
import sys

import pytest
import yaml

from lightning_gen.commands import dashboard
from lightning_gen.commands.dashboard import OWN, read_spec, write_dashboard
from lightning_gen.errors import UserError


@pytest.fixture(autouse=True)
def _no_login(tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def test_without_a_login_the_specification_is_written(tmp_path):
    pytest.importorskip("wandb_workspaces")
    lines = write_dashboard("my_project", "my_team", None, tmp_path)
    assert lines[-1] == "publish   wandb login, then the same command again"
    workspace = json.loads((tmp_path / "workspace.json").read_text())
    assert (workspace["project"], workspace["entity"]) == ("my_project", "my_team")
    sections = workspace["spec"]["section"]["panelBankConfig"]["sections"]
    assert [section["name"] for section in sections] == ["eval", "pictures", "train", "diagnostics"]
    plots = [panel["config"] for section in sections for panel in section["panels"] if "metrics" in panel["config"]]
    assert {plot["xAxis"] for plot in plots} == {"progress/images_seen"}
    assert ["eval/fid", "eval/fid_floor"] in [plot["metrics"] for plot in plots]
    media = [panel["config"]["mediaKeys"] for panel in sections[1]["panels"]]
    assert ["pictures/samples"] in media
    report = (tmp_path / "report.json").read_text()
    assert json.loads(report)["project"] == {"name": "my_project", "entityName": "my_team"}
    assert "model.value.name" in report  # runs are grouped by their model


def test_every_metric_of_the_file_stands_in_the_section_of_its_name():
    for section in read_spec(OWN)["workspace"]["sections"]:
        for panel in section["panels"]:
            (options,) = panel.values()
            for name in [*options.get("y", []), *options.get("media_keys", [])]:
                assert name.startswith(f"{section['name']}/")


def test_with_a_login_both_are_published(tmp_path, monkeypatch):
    workspaces = pytest.importorskip("wandb_workspaces.workspaces")
    reports = pytest.importorskip("wandb_workspaces.reports.v2")
    saved = []
    monkeypatch.setattr(dashboard, "has_credentials", lambda: True)
    monkeypatch.setattr(dashboard, "logged_in", lambda: True)
    for kind in (workspaces.Workspace, reports.Report):
        monkeypatch.setattr(kind, "save", lambda self: saved.append(self) or self)
        monkeypatch.setattr(kind, "url", property(lambda self: f"https://wandb/{self.entity}/{self.project}"))
    lines = write_dashboard("p", "e", None, tmp_path)
    assert lines == ["workspace https://wandb/e/p", "report    https://wandb/e/p"]
    assert len(saved) == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda spec: spec.pop("report"), "needs the keys workspace and report"),
        (
            lambda spec: spec["report"]["panels"].append({"LinePlt": {}}),
            "LinePlt is no panel.*Did you mean 'LinePlot'",
        ),
        (lambda spec: spec["report"]["panels"].append({"LinePlot": {"log_q": True}}), "not what wandb takes.*log_q"),
        (lambda spec: spec["workspace"].pop("x_axis"), "not what wandb takes: 'x_axis'"),
    ],
)
def test_a_mistake_in_the_file_is_told(tmp_path, change, said):
    pytest.importorskip("wandb_workspaces")
    spec = yaml.safe_load(OWN.read_text())
    change(spec)
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(spec))
    with pytest.raises(UserError, match=said):
        write_dashboard("p", "e", file, tmp_path)


def test_a_missing_package_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb_workspaces.reports.v2", None)
    with pytest.raises(UserError, match=r"pip install 'lightning-gen\[dashboard\]'"):
        write_dashboard("p", "e", None, tmp_path)
