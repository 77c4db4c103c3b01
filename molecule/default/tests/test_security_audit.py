"""What the audit says of a good fleet, and of one with faults planted in it."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import typing as t

import pytest

REPORTS = pathlib.Path(__file__).resolve().parents[3] / "reports"

# True of each bare Debian, whose minimal image brings neither, and of a container's network.
OF_BARE_HOSTS = {
    "ssh-password-login",
    "ssh-x11-forwarding",
    "updates-unattended",
    "updates-security",
    "kernel-setting:net.ipv6.conf.all.accept_redirects",
}
EXTRA = {"security_audit_secret_files": [{"paths": ["/etc/audit-secret"], "owners": ["root"]}]}

SYSTEM = r"""
set -eu
install -d -m 0700 /run/audit
cp -a /etc/passwd /etc/shadow /etc/redis/matrixon.conf /run/audit/
cat >> /etc/passwd <<'END'
audit0:x:0:0::/nonexistent:/usr/sbin/nologin
auditshell:x:321:65534::/nonexistent:/bin/bash
auditempty:x:4321:65534::/nonexistent:/usr/sbin/nologin
auditmd5:x:4322:65534::/nonexistent:/usr/sbin/nologin
END
cat >> /etc/shadow <<'END'
auditempty::20000:0:99999:7:::
auditmd5:$1$saltsalt$qjXMvbEw8oaL.CzflDtaK/:20000:0:99999:7:::
END
umask 077
printf 'audituser ALL=(ALL) NOPASSWD: ALL\nDefaults:audituser !authenticate\n' > /etc/sudoers.d/audit
cat > /etc/ssh/sshd_config.d/00-audit.conf <<'END'
PermitRootLogin yes
PermitEmptyPasswords yes
HostbasedAuthentication yes
PermitUserEnvironment yes
MaxAuthTries 20
Ciphers aes256-ctr,aes128-cbc
MACs hmac-sha2-256,hmac-md5
KexAlgorithms curve25519-sha256,diffie-hellman-group14-sha1
END
chmod o+r /etc/redis/matrixon.conf
chmod o+x /etc/redis
touch /etc/audit-secret /etc/audit-open /run/reboot-required
chown nobody /etc/audit-secret
chmod 0660 /etc/audit-secret
chmod 0666 /etc/audit-open
sysctl -qw net.ipv4.conf.all.accept_source_route=1
systemd-run --quiet --unit audit-listener /usr/bin/python3 -c \
  'import socket, time; place = socket.create_server(("0.0.0.0", 4999)); time.sleep(600)'
redis-cli -e config set protected-mode no
"""
SYSTEM_BACK = r"""
redis-cli -e config set protected-mode yes
systemctl stop audit-listener
sysctl -qw net.ipv4.conf.all.accept_source_route=0
rm -f /etc/sudoers.d/audit /etc/ssh/sshd_config.d/00-audit.conf /etc/audit-secret /etc/audit-open /run/reboot-required
cp -a /run/audit/passwd /run/audit/shadow /etc/
chmod o-x /etc/redis
cp -a /run/audit/matrixon.conf /etc/redis/
rm -r /run/audit
"""
SYSTEM_IDS = {
    "user-uid0:audit0",
    "user-system-shell:auditshell",
    "user-passwordless:auditempty",
    "user-weak-hash:auditmd5",
    "sudo-nopasswd-all:audituser",
    "sudo-no-authentication:audituser",
    "ssh-root-login",
    "ssh-empty-passwords",
    "ssh-host-based",
    "ssh-user-environment",
    "ssh-max-auth-tries",
    "ssh-weak-ciphers",
    "ssh-weak-macs",
    "ssh-weak-kex",
    "secret-readable:/etc/redis/matrixon.conf",
    "secret-writable:/etc/audit-secret",
    "secret-owner:/etc/audit-secret",
    "world-writable:/etc/audit-open",
    "updates-reboot",
    "kernel-setting:net.ipv4.conf.all.accept_source_route",
    "port-unexpected:4999/tcp",
    "redis-protected-mode",
}

# Nothing is reloaded, so the rules are in the file alone.
DATABASE = r"""
set -eu
file=$(ls /etc/postgresql/*/main/pg_hba.conf)
install -d -m 0700 /run/audit
cp -a "$file" /run/audit/
printf 'host all all 192.0.2.0/24 trust\nhost all all 0.0.0.0/0 md5\nhost all all nonsense\n' >> "$file"
cd /
runuser -u postgres -- psql -qX -d postgres -c "CREATE ROLE audit_super LOGIN SUPERUSER" \
  -c "SET password_encryption = 'md5'" -c "CREATE ROLE audit_md5 LOGIN PASSWORD 'planted-by-a-test'"
"""
DATABASE_BACK = r"""
cd /
runuser -u postgres -- psql -qX -d postgres -c "DROP ROLE IF EXISTS audit_super" -c "DROP ROLE IF EXISTS audit_md5"
file=$(ls /etc/postgresql/*/main/pg_hba.conf)
cp -a /run/audit/pg_hba.conf "$file"
rm -r /run/audit
"""
DATABASE_RULES = {
    "pg-hba-trust",
    "pg-hba-anywhere",
    "pg-hba-method",
    "pg-hba-plain",
    "pg-hba-error",
    "pg-superuser",
    "pg-superuser-network",
    "pg-role-md5",
}

# No process is restarted, so the settings are in the file alone. In YAML the later of two keys counts.
HOMESERVER = r"""
set -eu
install -d -m 0700 /run/audit
cp -a /etc/matrix-synapse/homeserver.yaml /run/audit/
cp -a /etc/matrix-synapse/secrets/registration_shared_secret /etc/matrix-synapse/secrets/signing.key /run/audit/
cat >> /etc/matrix-synapse/homeserver.yaml <<'END'
enable_registration: true
enable_registration_without_verification: true
rc_login: {address: {per_second: 1000, burst_count: 1000}}
federation_verify_certificates: false
trusted_key_servers: [{server_name: keys.audit.test, accept_keys_insecurely: true}]
listeners: [{type: metrics, port: 9000, bind_addresses: [0.0.0.0]}]
END
echo changeme > /etc/matrix-synapse/secrets/registration_shared_secret
touch -d '4 years ago' /etc/matrix-synapse/secrets/signing.key
"""
HOMESERVER_BACK = r"""
cp -a /run/audit/homeserver.yaml /etc/matrix-synapse/
cp -a /run/audit/registration_shared_secret /run/audit/signing.key /etc/matrix-synapse/secrets/
rm -r /run/audit
"""
HOMESERVER_RULES = {
    "homeserver-open-registration",
    "homeserver-rate-limits",
    "homeserver-federation-certificates",
    "homeserver-key-servers",
    "homeserver-metrics-public",
    "homeserver-secret-guessable",
    "homeserver-signing-key-age",
}


class Found(t.NamedTuple):
    """How the playbook ended, and what it found on each host: ids, and checks that could not be seen."""

    code: int
    output: str
    weak: dict[str, set[str]]
    unseen: list[str]

    def rules(self, host: str) -> set[str]:
        return {name.partition(":")[0] for name in self.weak[host]}


@pytest.fixture(scope="module")
def audit(playbook: t.Any) -> t.Callable[..., Found]:
    def call(*arguments: str) -> Found:
        run = playbook("security_audit", "--limit", "cache1,db1,hs1", "-e", json.dumps(EXTRA), *arguments)
        documents = {
            host: json.loads((REPORTS / f"hosts/security_audit-{host}.json").read_text())
            for host in ("cache1", "db1", "hs1")
        }
        weak = {
            host: {row[0] for row in document["facts"]["rankings"][0]["rows"]} for host, document in documents.items()
        }
        checks = [check for document in documents.values() for check in document["checks"]]
        return Found(run.code, run.output, weak, [c["message"] for c in checks if c["status"] == "unknown"])

    return call


# Not what the host itself and Ansible write while they look.
TREE = (
    r"find / -xdev \( -path /proc -o -path /sys -o -path /run -o -path /tmp -o -path /var/log -o -path /var/tmp "
    r"-o -path /home -o -path /var/lib/systemd -o -path /var/lib/redis \) -prune -o -printf '%T@ %C@ %s %m %p\n'"
)


def test_a_good_fleet_has_what_every_bare_debian_has_and_no_more(
    audit: t.Callable[..., Found], server: t.Callable[[str], t.Any]
) -> None:
    before = set(server("cache1").check_output(TREE).splitlines())
    found = audit()
    after = set(server("cache1").check_output(TREE).splitlines())
    assert found.code == 0, found.output
    assert found.unseen == []
    assert {host: names - OF_BARE_HOSTS for host, names in found.weak.items()} == {
        "cache1": set(),
        "db1": set(),
        "hs1": set(),
    }
    # It only read.
    assert before == after


def as_root(host: str, script: str, secret: str) -> subprocess.CompletedProcess[str]:
    """Run a script on a host. Redis' client takes the secret from its environment, so no list of processes has it."""
    return subprocess.run(
        ["docker", "exec", "--env", "REDISCLI_AUTH", f"matrixon-ops-default-{host}", "sh", "-c", script],
        env={**os.environ, "REDISCLI_AUTH": secret},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_each_planted_fault_is_found(audit: t.Callable[..., Found], variables: dict[str, t.Any]) -> None:
    planted = {
        "cache1": (SYSTEM, SYSTEM_BACK),
        "db1": (DATABASE, DATABASE_BACK),
        "hs1": (HOMESERVER, HOMESERVER_BACK),
    }
    secret = variables["matrixon_redis_password"]
    try:
        for host, (plant, _back) in planted.items():
            done = as_root(host, plant, secret)
            assert done.returncode == 0, (host, done.stderr)
        found = audit()
    finally:
        taken_back = {host: as_root(host, back, secret) for host, (_plant, back) in planted.items()}
    # Other tests come after this one.
    for host, done in taken_back.items():
        assert (done.returncode, done.stderr) == (0, ""), host
    assert found.code != 0 and found.unseen == [], found.output
    assert found.weak["cache1"] - OF_BARE_HOSTS == SYSTEM_IDS
    assert found.rules("db1") - OF_BARE_HOSTS >= DATABASE_RULES
    assert found.rules("hs1") - OF_BARE_HOSTS >= HOMESERVER_RULES
