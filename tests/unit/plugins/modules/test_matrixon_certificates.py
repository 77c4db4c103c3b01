"""What the module makes of certificates that others fetched."""

from __future__ import annotations

import pathlib
import types

from ansible_collections.matrixon.ops.plugins.module_utils import _certificates as pki
from ansible_collections.matrixon.ops.plugins.modules import matrixon_certificates as module

NAME = "matrix.example.com"


def test_a_certificate_of_certbot_is_not_held_against_the_ca_of_the_database(tmp_path: pathlib.Path) -> None:
    moment = pki.now()
    acme_key, acme = pki.authority("an ACME server", moment)
    dummy, own = pki.authority("the database's CA", moment)
    key = pki.new_key()
    (tmp_path / "public").mkdir()
    certificate = pki.issue(pki.request(key, [NAME]), [NAME], acme_key, acme, 90, moment)
    files = {
        "fullchain.pem": certificate,
        "privkey.pem": pki.key_pem(key),
        "haproxy.pem": certificate + pki.key_pem(key),
    }
    for name, text in files.items():
        (tmp_path / "public" / name).write_text(text)

    def missing(names: list[str]) -> tuple[list[str], dict[str, str]]:
        options = types.SimpleNamespace(params={"wanted": [{"name": "public", "names": names}]})
        work = module.Work(options, module.Store(str(tmp_path), 0, write=False))
        work.authorities = [own]
        work.from_nothing()
        return work.missing, work.replaced

    # Nothing is fetched anew, so a second run changes nothing.
    assert missing([NAME]) == ([], {})
    assert missing([NAME, "example.com"])[0] == ["public"]
