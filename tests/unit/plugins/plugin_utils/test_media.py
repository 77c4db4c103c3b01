"""Rows of media tables become paths, and one that would lead elsewhere is refused."""

from __future__ import annotations

import pathlib

import pytest
import yaml
from ansible.errors import AnsibleFilterError

from ansible_collections.matrixon.ops.plugins.plugin_utils.media import media_paths

PROFILE = pathlib.Path(__file__).resolve().parents[4] / "roles/matrixon/files/profiles/synapse.yml"
LAYOUTS = yaml.safe_load(PROFILE.read_text())["backup"]["media_layouts"]


def test_synapse_keeps_local_media_by_the_letters_of_their_ids() -> None:
    rows = [{"media_id": "GerZNDnDZVjsOtardLuwfIBg"}, {"media_id": "GerZNDnDZVjsOtardLuwfIBg"}]
    assert media_paths(rows, LAYOUTS) == ["local_content/Ge/rZ/NDnDZVjsOtardLuwfIBg"]


@pytest.mark.parametrize("media_id", ["../../etc/passwd", "ab/cd", "abcd", None])
def test_a_row_that_leads_elsewhere_is_refused(media_id: str) -> None:
    with pytest.raises(AnsibleFilterError, match="media_paths: "):
        media_paths([{"media_id": media_id}], LAYOUTS)
