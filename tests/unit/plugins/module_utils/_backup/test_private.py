"""Files with secrets: nobody else may read them, and no message shows what is in them."""

from __future__ import annotations

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._backup import private
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "secret"
    path.write_text("top secret\n")
    path.chmod(0o600)
    return path


def test_a_private_file_is_fit(secret):
    assert private.secret_problem(str(secret), "password_file") is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_any_right_of_others_is_too_much(secret, mode):
    secret.chmod(mode)
    problem = private.secret_problem(str(secret), "password_file")
    assert problem.startswith("password_file: ") and f"{mode:04o}" in problem and "0600" in problem


def test_what_is_no_file_with_something_in_it(tmp_path, secret):
    secret.write_text("")
    assert private.secret_problem(str(secret), "x") == f"x: {secret} is empty"
    assert private.secret_problem(str(tmp_path), "x") == f"x: {tmp_path} is no file"
    assert "No such file" in private.secret_problem(str(tmp_path / "none"), "x")
    assert "absolute" in private.secret_problem("secret", "x")


def test_variables_are_read_as_systemd_does(secret):
    secret.write_text("# a comment\n\n; another\nA=1\n B = two words \nC='a=b'\nD=\"\nE=\n")
    assert private.read_environment(str(secret), "x") == {"A": "1", "B": "two words", "C": "a=b", "D": '"', "E": ""}


@pytest.mark.parametrize("line", ["hunter2", "my key=hunter2", "1A=hunter2", "FORBIDDEN=hunter2"])
def test_a_wrong_line_is_named_and_not_shown(secret, line):
    secret.write_text(f"A=1\n{line}\n")
    with pytest.raises(BackupError, match="line 2") as caught:
        private.read_environment(str(secret), "environment_file", ("FORBIDDEN",))
    assert "hunter2" not in caught.value.message


def test_variables_that_others_can_read_are_refused(secret):
    secret.write_text("A=1\n")
    secret.chmod(0o644)
    with pytest.raises(BackupError, match="0644") as caught:
        private.read_environment(str(secret), "environment_file")
    assert caught.value.kind == "auth"
