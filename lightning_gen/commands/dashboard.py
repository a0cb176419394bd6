"""A workspace and a report in wandb, from a file: `lightning-gen dashboard`."""

from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from lightning_gen.errors import UserError, did_you_mean, one_line
from lightning_gen.files import write_atomically
from lightning_gen.training.loggers.wandb_record import has_credentials, logged_in

OWN = Path(__file__).with_name("dashboard.yaml")
WIDTH, HEIGHT = 8, 6  # of a panel of the report; a row has 24 columns


def write_dashboard(project: str, entity: str | None, file: Path | None, out: Path) -> list[str]:
    """Publish the workspace and the report of a file; without a login, write them as JSON into `out`.

    Returns:
        Lines that say where they are.

    Raises:
        UserError: a missing package, or a file that cannot be used.
    """
    spec = read_spec(file or OWN)
    online = has_credentials() and logged_in()
    made = build(spec, project, entity or (_default_entity() if online else "ENTITY"), online)
    if online:
        return [f"{name:<10}{part.save().url}" for name, part in made.items()]
    lines = []
    for name, part in made.items():
        path = out / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, part._to_model().model_dump_json(by_alias=True, exclude_none=True, indent=2) + "\n")
        lines.append(f"{name:<10}{path}")
    return [*lines, "publish   wandb login, then the same command again"]


def read_spec(file: Path) -> dict[str, Any]:
    """The content of a dashboard file.

    Raises:
        UserError: it cannot be read, or lacks the workspace or the report.
    """
    try:
        spec = yaml.safe_load(file.read_text(encoding="utf-8"))
        return {name: dict(spec[name]) for name in ("workspace", "report")}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"--file {file} cannot be read: {one_line(error)}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"--file {file} needs the keys workspace and report, as in {OWN}.") from error


def build(spec: dict[str, Any], project: str, entity: str, online: bool = False) -> dict[str, Any]:
    """The workspace and the report as objects of wandb_workspaces.

    `online`: the report names the project of its runs, for which wandb asks its server.

    Raises:
        UserError: the package is missing, or does not take what the file says.
    """
    try:
        import wandb_workspaces.reports.v2 as reports
        import wandb_workspaces.workspaces as workspaces
    except ModuleNotFoundError as error:
        raise UserError("lightning-gen dashboard needs `pip install 'lightning-gen[dashboard]'`.") from error
    try:
        return {
            "workspace": _workspace(workspaces, reports, spec["workspace"], project, entity),
            "report": _report(reports, spec["report"], project, entity, online),
        }
    except (TypeError, KeyError, ValueError) as error:  # pydantic's errors are ValueErrors
        raise UserError(f"the dashboard file is not what wandb takes: {one_line(error)}") from error


def _workspace(workspaces: ModuleType, reports: ModuleType, spec: dict[str, Any], project: str, entity: str) -> Any:
    sections = [
        workspaces.Section(
            **{**section, "panels": [_panel(reports, panel, spec["x_axis"]) for panel in section["panels"]]}
        )
        for section in spec["sections"]
    ]
    return workspaces.Workspace(
        entity=entity,
        project=project,
        name=spec["name"],
        sections=sections,
        settings=workspaces.WorkspaceSettings(x_axis=spec["x_axis"], max_runs=spec["max_runs"]),
        runset_settings=workspaces.RunsetSettings(filters=spec["filters"], pinned_columns=spec["pinned_columns"]),
        auto_generate_panels=True,  # what is not in the file stands in sections of its own
    )


def _report(reports: ModuleType, spec: dict[str, Any], project: str, entity: str, online: bool) -> Any:
    panels = [_panel(reports, panel) for panel in spec["panels"]]
    for number, panel in enumerate(panels):
        row, column = divmod(number, 24 // WIDTH)
        panel.layout = reports.Layout(x=column * WIDTH, y=row * HEIGHT, w=WIDTH, h=HEIGHT)
    named = {"entity": entity, "project": project} if online else {}  # the default is the project of the report
    runs = reports.Runset(**named, groupby=spec["groupby"])
    blocks = [reports.MarkdownBlock(text=spec["text"]), reports.PanelGrid(runsets=[runs], panels=panels)]
    return reports.Report(
        project=project, entity=entity, title=spec["title"], description=spec["description"], blocks=blocks
    )


def _panel(reports: ModuleType, node: dict[str, Any], x_axis: str = "Step") -> Any:
    """A panel from `{CLASS: {argument: value}}`; `x_axis` is that of line plots that name none."""
    (kind, options), *others = node.items()
    known = [name for name in dir(reports.panels) if name[:1].isupper()]
    if kind not in known or others:
        raise UserError(f"the dashboard file: {kind} is no panel: use {', '.join(known)}.{did_you_mean(kind, known)}")
    default = {"x": x_axis} if kind == "LinePlot" else {}
    return getattr(reports.panels, kind)(**(default | options))


def _default_entity() -> str:
    import wandb

    return str(wandb.Api().default_entity)
