"""A release archive is taken only if it is whole, the right one, harmless to unpack, and its program starts."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import pathlib
import tarfile
import urllib.error

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils import _release as release
from ansible_collections.matrixon.ops.plugins.module_utils._command import Finished
from ansible_collections.matrixon.ops.plugins.module_utils._probe import MISSING_TOOL, Deadline, ProbeFailure

URL = "https://releases.example.com/matrixon.tar.gz"
SCRIPT = b"#!/bin/sh\necho matrixon stand-in 0.0.1\n"


def file(name: str, content: bytes = SCRIPT, mode: int = 0o755) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), mode
    return info, content


def other(name: str, kind: bytes, target: str = "") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, target, 0o755
    return info, b""


def pack(path: pathlib.Path, *members: tuple[tarfile.TarInfo, bytes], mode: str = "w:gz") -> str:
    with tarfile.open(path, mode) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return str(path)


def names(folder: pathlib.Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# --- fetching


class Answer:
    """What a server sends, in pieces."""

    def __init__(self, *pieces: bytes, length: str | None = None) -> None:
        self.pieces = list(pieces)
        self.headers = {} if length is None else {"Content-Length": length}

    def read(self, size: int = -1) -> bytes:
        return self.pieces.pop(0) if self.pieces else b""


def test_fetch_writes_what_came_and_returns_its_digest(tmp_path: pathlib.Path) -> None:
    target = tmp_path / "archive"
    digest = release.fetch(lambda url, seconds: Answer(b"ab", b"c", length="3"), URL, str(target), Deadline(5))
    assert target.read_bytes() == b"abc"
    assert digest == hashlib.sha256(b"abc").hexdigest()


def test_fetch_tells_a_broken_off_download(tmp_path: pathlib.Path) -> None:
    with pytest.raises(release.ReleaseError, match="the download broke off after 3 of 10 bytes"):
        release.fetch(lambda url, seconds: Answer(b"abc", length="10"), URL, str(tmp_path / "a"), Deadline(5))


def test_fetch_ends_with_its_deadline_though_bytes_drip(tmp_path: pathlib.Path, clock) -> None:
    clock.step = 1
    answer = Answer(*[b"x"] * 1000)
    with pytest.raises(release.ReleaseError, match=r"is not here whole within 5 s; \d+ bytes came"):
        release.fetch(lambda url, seconds: answer, URL, str(tmp_path / "a"), Deadline(5, clock))
    assert len(answer.pieces) > 990


def test_fetch_stops_at_a_limit(tmp_path: pathlib.Path) -> None:
    with pytest.raises(release.ReleaseError, match="is larger than 4 bytes"):
        release.fetch(lambda url, seconds: Answer(b"abc", b"de"), URL, str(tmp_path / "a"), Deadline(5), limit=4)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (urllib.error.HTTPError(URL, 404, "Not Found", None, None), "the server answers 404 Not Found"),
        (urllib.error.URLError(ConnectionRefusedError(111, "Connection refused")), "Connection refused"),
        (ValueError("unknown url type: 'x'"), "cannot be fetched: unknown url type"),
    ],
)
def test_fetch_says_why_nothing_came(tmp_path: pathlib.Path, error: Exception, message: str) -> None:
    def opener(url: str, seconds: float) -> release.Opened:
        raise error

    with pytest.raises(release.ReleaseError, match=message) as caught:
        release.fetch(opener, URL, str(tmp_path / "a"), Deadline(5))
    assert URL in str(caught.value)


@pytest.mark.parametrize(
    "bad", ["", "sha256:", "a" * 64, "md5:" + "a" * 32, "sha256:" + "a" * 63, "sha256:" + "g" * 64]
)
def test_a_checksum_has_one_form(bad: str) -> None:
    with pytest.raises(release.ReleaseError, match="checksum: is not 'sha256:' and 64"):
        release.wanted_digest(bad)


def test_a_checksum_may_have_large_letters() -> None:
    assert release.wanted_digest("sha256:" + "AB" * 32) == "ab" * 32


def test_another_archive_is_refused() -> None:
    release.compare(URL, "a" * 64, "a" * 64)
    with pytest.raises(release.ReleaseError, match=f"its checksum is sha256:{'a' * 64}, and sha256:{'b' * 64} was"):
        release.compare(URL, "a" * 64, "b" * 64)


# --- signature


def armored(content: bytes, kind: str = "PUBLIC", headers: str = "", checksum: str = "=abcd\n") -> str:
    body = base64.encodebytes(content).decode()
    return f"-----BEGIN PGP {kind} KEY BLOCK-----\n{headers}\n{body}{checksum}-----END PGP {kind} KEY BLOCK-----\n"


def test_keys_are_read_from_their_blocks() -> None:
    first, second = bytes(range(200)), b"second key"
    text = "For people.\n" + armored(first, headers="Version: 1\nComment: a b\n") + armored(second, checksum="")
    assert release.keyring_of(text) == first + second
    assert release.keyring_of(text.replace("\n", "\r\n")) == first + second


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no block"),
        ("0123ABCD", "holds no block"),
        (armored(b"key", kind="PRIVATE"), "holds a private key"),
        (armored(b"key").replace("a2V5", "a2V*"), "is damaged"),
    ],
)
def test_what_is_no_public_key_is_refused_unquoted(text: str, message: str) -> None:
    with pytest.raises(release.ReleaseError, match=message) as caught:
        release.keyring_of(text)
    assert "a2V" not in str(caught.value)


def signer(code: int, *status: str) -> str:
    seen = []

    def run(argv: list[str], deadline: Deadline) -> Finished:
        seen.append(argv)
        ring = pathlib.Path(argv[argv.index("--keyring") + 1])
        assert ring.read_bytes() == b"ring"
        return Finished(code, "".join(f"[GNUPG:] {line}\n" for line in status), "gpgv: last words\n")

    fingerprint = release.signer("archive", "signature", b"ring", run, Deadline(5))
    assert seen[0][0] == "gpgv" and seen[0][-2:] == ["signature", "archive"]
    return fingerprint


def test_a_good_signature_tells_its_key() -> None:
    assert signer(0, "NEWSIG", "GOODSIG 0123 A B", "VALIDSIG FINGERPRINT 2026-01-01") == "FINGERPRINT"


@pytest.mark.parametrize(
    ("code", "status", "message"),
    [
        (1, ["BADSIG 0123 A B"], "the archive or the signature was changed"),
        (2, ["ERRSIG 0123 22 8 00 1 9", "NO_PUBKEY 0123"], "made with the key 0123, which is not among"),
        # gpgv ends with 0 for these.
        (0, ["EXPKEYSIG 0123 A B", "VALIDSIG F"], "has expired"),
        (0, ["REVKEYSIG 0123 A B", "VALIDSIG F"], "was revoked"),
        (0, ["EXPSIG 0123 A B", "VALIDSIG F"], "it has expired"),
        (2, ["NODATA 4"], "gpgv: last words"),
        (0, [], "gpgv: last words"),
        # What a failed run says does not count.
        (1, ["GOODSIG 0123 A B", "VALIDSIG F"], "gpgv: last words"),
    ],
)
def test_any_other_signature_is_refused(code: int, status: list[str], message: str) -> None:
    with pytest.raises(release.ReleaseError, match="signature is not good") as caught:
        signer(code, *status)
    assert message in str(caught.value)


def test_without_gpgv_nothing_is_verified() -> None:
    def run(argv: list[str], deadline: Deadline) -> Finished:
        raise ProbeFailure(MISSING_TOOL, "gpgv is not installed on this host")

    with pytest.raises(release.ReleaseError, match="cannot be verified: gpgv is not installed"):
        release.signer("archive", "signature", b"ring", run, Deadline(5))


# --- unpacking


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz", "w:bz2"])
@pytest.mark.parametrize("top", ["", "./", "matrixon-1.0/"])
def test_unpacks_what_is_below_one_directory_or_none(tmp_path: pathlib.Path, mode: str, top: str) -> None:
    members = [file(f"{top}matrixon"), file(f"{top}lib/libx.so.1", b"x", 0o4644), file(f"{top}LICENSE", b"l", 0o600)]
    members += [other(f"{top}lib/libx.so", tarfile.SYMTYPE, "libx.so.1")]
    if top:
        members.insert(0, other(top, tarfile.DIRTYPE))
    release.unpack(pack(tmp_path / "a", *members, mode=mode), str(tmp_path / "out"), "matrixon")
    out = tmp_path / "out"
    assert names(out) == ["LICENSE", "lib", "lib/libx.so", "lib/libx.so.1", "matrixon"]
    assert (out / "matrixon").read_bytes() == SCRIPT and (out / "lib/libx.so").read_bytes() == b"x"
    # Read by all, written by none but the owner, and never more rights than those.
    modes = {name: (out / name).lstat().st_mode & 0o7777 for name in ("matrixon", "LICENSE", "lib", "lib/libx.so.1")}
    assert modes == {"matrixon": 0o755, "LICENSE": 0o644, "lib": 0o755, "lib/libx.so.1": 0o644}


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (file("../evil"), "'../evil' would lie outside"),
        (file("a/../../evil"), "would lie outside"),
        (file("/etc/evil"), "would lie outside"),
        (other("lib", tarfile.SYMTYPE, "/etc"), "leads out of its directory"),
        (other("lib", tarfile.SYMTYPE, "../x"), "leads out of its directory"),
        (other("lib", tarfile.SYMTYPE, ".."), "leads out of its directory"),
        (other("lib", tarfile.LNKTYPE, "/etc/shadow"), "neither a file, a directory nor a symbolic link"),
        (other("lib", tarfile.FIFOTYPE), "neither a file"),
        (other("lib", tarfile.CHRTYPE), "neither a file"),
        (file("matrixon"), "holds 'matrixon' twice"),
        (file("./matrixon"), "holds 'matrixon' twice"),
        (file("matrixon/x"), "lies below 'matrixon', which is no directory"),
        (file(".release.json"), "keeps its own record"),
    ],
)
def test_an_archive_with_one_bad_member_is_refused_whole(
    tmp_path: pathlib.Path, member: tuple[tarfile.TarInfo, bytes], message: str
) -> None:
    archive = pack(tmp_path / "a", file("matrixon"), member)
    with pytest.raises(release.ReleaseError, match="the archive is refused") as caught:
        release.unpack(archive, str(tmp_path / "in/out"), "matrixon")
    assert message in str(caught.value)
    assert names(tmp_path) == ["a"]


def test_nothing_is_written_through_a_link(tmp_path: pathlib.Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    archive = pack(
        tmp_path / "a", file("matrixon"), other("x", tarfile.SYMTYPE, "outside"), file("x/evil"), file("outside/y")
    )
    with pytest.raises(release.ReleaseError, match="'x/evil' lies below 'x', which is no directory"):
        release.unpack(archive, str(tmp_path / "out"), "matrixon")
    assert names(outside) == []


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([file("other")], "no program 'matrixon' at its top; it holds other"),
        ([file("a/matrixon"), file("b/x")], "no program 'matrixon' at its top; it holds a/matrixon, b/x"),
        ([], "it holds nothing"),
        ([other("matrixon", tarfile.DIRTYPE)], "'matrixon' in it is not a file"),
        ([file("real"), other("matrixon", tarfile.SYMTYPE, "real")], "'matrixon' in it is not a file"),
    ],
)
def test_an_archive_without_the_program_is_refused(
    tmp_path: pathlib.Path, members: list[tuple[tarfile.TarInfo, bytes]], message: str
) -> None:
    with pytest.raises(release.ReleaseError) as caught:
        release.unpack(pack(tmp_path / "a", *members), str(tmp_path / "out"), "matrixon")
    assert message in str(caught.value)


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz", "w:bz2"])
def test_a_truncated_archive_is_named_so_wherever_it_ends(tmp_path: pathlib.Path, mode: str) -> None:
    path = tmp_path / "a"
    pack(path, file("matrixon"), file("big", os.urandom(40_000)), mode=mode)
    whole = path.read_bytes()
    for share in (0, 0.01, 0.1, 0.5, 0.75):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(release.ReleaseError, match="truncated or damaged"):
            release.unpack(str(path), str(tmp_path / f"out{share}"), "matrixon")


def test_a_page_of_html_is_no_archive(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a").write_text("<html>Please log in</html>" * 100)
    with pytest.raises(release.ReleaseError, match="or no tar archive at all"):
        release.unpack(str(tmp_path / "a"), str(tmp_path / "out"), "matrixon")


# --- trying out


def elf(machine: int, order: str = "little") -> bytes:
    head = b"\x7fELF" + bytes([2, 1 if order == "little" else 2]) + bytes(10) + (2).to_bytes(2, order)
    return head + machine.to_bytes(2, order) + bytes(40)


@pytest.mark.parametrize(
    ("content", "machine"),
    [(elf(62), "x86_64"), (elf(3), "x86_64"), (elf(183), "aarch64"), (elf(22, "big"), "s390x"), (SCRIPT, "x86_64")],
)
def test_a_program_for_this_machine_fits(tmp_path: pathlib.Path, content: bytes, machine: str) -> None:
    (tmp_path / "p").write_bytes(content)
    release.fits_machine(str(tmp_path / "p"), machine)


@pytest.mark.parametrize(
    ("content", "machine", "message"),
    [
        (elf(183), "x86_64", "was made for aarch64, and this host is x86_64"),
        (elf(62), "aarch64", "was made for x86_64, and this host is aarch64"),
        (elf(62), "i686", "was made for x86_64, and this host is i686"),
        (elf(9999), "x86_64", "was made for ELF machine 9999"),
        (b"MZ" + bytes(60), "x86_64", "was made for Windows"),
        (b"\xcf\xfa\xed\xfe" + bytes(60), "x86_64", "was made for macOS"),
        (b"", "x86_64", "neither an ELF program nor a script"),
        (b"\x7fELF", "x86_64", "neither an ELF program nor a script"),
    ],
)
def test_another_program_does_not(tmp_path: pathlib.Path, content: bytes, machine: str, message: str) -> None:
    (tmp_path / "p").write_bytes(content)
    with pytest.raises(release.ReleaseError, match=message):
        release.fits_machine(str(tmp_path / "p"), machine)


def start(tmp_path: pathlib.Path, script: str, seconds: float = 5) -> str:
    program = tmp_path / "matrixon"
    program.write_text(script)
    program.chmod(0o755)
    argv = [str(program), "--version"]
    return release.first_words(argv, os.getuid(), os.getgid(), str(tmp_path), Deadline(seconds))


def test_a_program_that_starts_is_quoted(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert start(tmp_path, "#!/bin/sh\necho; echo matrixon 1.0 $1; echo more\n") == "matrixon 1.0 --version"
    monkeypatch.setenv("SECRET_OF_ROOT", "leaked")
    assert start(tmp_path, "#!/bin/sh\necho =$SECRET_OF_ROOT=\n") == "=="


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (
            "#!/bin/sh\necho GLIBC_2.99 not found >&2; exit 1\n",
            "'matrixon --version' ended with code 1: GLIBC_2.99 not",
        ),
        ("#!/bin/sh\nkill -11 $$\n", "ended with signal 11: nothing was printed"),
        ("#!/nowhere/interpreter\n", "'matrixon --version': No such file"),
        ("#!/bin/sh\nexit 0\n", "printed nothing"),
    ],
)
def test_a_program_that_does_not_start_says_why(tmp_path: pathlib.Path, script: str, message: str) -> None:
    with pytest.raises(release.ReleaseError, match="does not start") as caught:
        start(tmp_path, script)
    assert message in str(caught.value)


def test_a_program_that_hangs_is_ended(tmp_path: pathlib.Path) -> None:
    with pytest.raises(release.ReleaseError, match=r"did not end within 0\.\d+ s"):
        start(tmp_path, "#!/bin/sh\nexec sleep 60\n", seconds=0.3)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_program_runs_with_its_users_rights_only() -> None:
    argv = ["/usr/bin/id", "-u"]
    assert release.first_words(argv, 65534, 65534, "/", Deadline(5)) == "65534"
    assert release.first_words(["/usr/bin/id", "-G"], 65534, 65534, "/", Deadline(5)) == "65534"


def test_remove_takes_what_is_there(tmp_path: pathlib.Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "d/e").mkdir(parents=True)
    (tmp_path / "f").write_text("x")
    (tmp_path / "l").symlink_to(tmp_path / "kept")
    for name in ("d", "f", "l", "nothing"):
        release.remove(str(tmp_path / name))
    assert names(tmp_path) == ["kept"]
