"""Uploads happen only when asked, and only where somebody is logged in."""

import pytest

from lightning_gen.commands.export import export_run
from lightning_gen.errors import UserError

hub = pytest.importorskip("huggingface_hub")


class Api:
    """The two calls of huggingface_hub.HfApi that an upload makes."""

    calls = ()

    def create_repo(self, name, **options):
        assert options["exist_ok"]
        return type("Url", (str,), {"repo_id": name})(f"https://huggingface.co/{name}")

    def upload_folder(self, **options):
        Api.calls += (options,)


def test_without_a_login_nothing_is_done(monkeypatch, tmp_path):
    monkeypatch.setattr(hub, "get_token", lambda: None)
    with pytest.raises(UserError, match="hf auth login"):
        export_run(tmp_path, "best", "hub", None, "me/vae")
    with pytest.raises(UserError, match="--upload works with --format hub"):
        export_run(tmp_path, "best", "onnx", None, "me/vae")


def test_an_upload_sends_the_folder(monkeypatch, tmp_path):
    from lightning_gen.export.hub import upload

    monkeypatch.setattr(hub, "HfApi", Api)
    assert upload(tmp_path, "me/vae") == "https://huggingface.co/me/vae"
    assert [(call["repo_id"], call["folder_path"]) for call in Api.calls] == [("me/vae", tmp_path)]
    monkeypatch.setattr(Api, "create_repo", lambda *_, **options: 1 / 0)
    with pytest.raises(UserError, match="upload to me/vae failed"):
        upload(tmp_path, "me/vae")
