"""The files of a configuration, from what the template of a product says."""

from __future__ import annotations

import pytest
import yaml
from ansible.errors import AnsibleFilterError

from ansible_collections.matrixon.ops.plugins.plugin_utils.configuration import configuration_files


def test_settings_become_yaml_below_the_note_and_texts_stay():
    text = '{"files": {"a.yaml": {"b": [1, "2"], "a": null}, "b.toml": "x = 1\\n"}}'
    found = configuration_files(text, "by us\nnot by you")
    assert found["secret_files"] == []
    first, second = found["files"]
    assert first["path"] == "a.yaml"
    assert first["content"].startswith("# by us\n# not by you\nb:\n  - 1\n  - '2'\n")
    assert list(yaml.safe_load(first["content"])) == ["b", "a"]
    assert second == {"path": "b.toml", "content": "x = 1\n"}


def test_the_same_settings_give_the_same_text():
    assert configuration_files("files: {a: {x: 1}}") == configuration_files('{"files": {"a": {"x": 1}}}')


def test_secrets_that_look_like_other_things_stay_texts():
    found = configuration_files('{"secret_files": {"a.yaml": {"password": "0123", "other": "yes: {no}"}}}')
    assert yaml.safe_load(found["secret_files"][0]["content"]) == {"password": "0123", "other": "yes: {no}"}


def test_a_text_that_is_not_yaml_is_refused_without_quoting_it():
    with pytest.raises(AnsibleFilterError) as caught:
        configuration_files("password: {hunter2: [")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("text", ["[]", "secrets: {}"])
def test_other_shapes_are_refused(text):
    with pytest.raises(AnsibleFilterError, match="files and secret_files"):
        configuration_files(text)
