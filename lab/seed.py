"""Users, rooms, messages and media, all made through the public API."""

from __future__ import annotations

import json
import struct
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

from lab.config import SERVER_NAME, Lab, say, write
from lab.matrix import Client, MatrixError, of_lab

USERS = ("admin", "alice", "bob", "carol", "canary", "canary_reader")
WRITERS = ("alice", "bob", "carol")
ROOMS = ("lobby", "engineering", "operations", "random")
UPLOADS = 12
DEFAULT_MESSAGES = 300
TOKEN_FILES = {"canary": "canary_sender_token", "canary_reader": "canary_reader_token"}


def token_file(user: str) -> str:
    return TOKEN_FILES.get(user, f"{user}_token")


def user_id(user: str) -> str:
    return f"@{user}:{SERVER_NAME}"


def load(lab: Lab) -> dict | None:
    try:
        return json.loads(lab.seed_file.read_text())
    except (OSError, ValueError):
        return None


def accounts(lab: Lab) -> None:
    """Needs the main process only, so it can run while the workers start."""
    client = of_lab(lab, "main")
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda user: _account(lab, client, user), USERS))


def _account(lab: Lab, client: Client, user: str) -> None:
    password = lab.ensure_secret(f"{user}_password")
    try:
        shared = lab.secret("registration_shared_secret")
        made = client.register(shared, user, password, admin=user == "admin")
    except MatrixError as error:
        if error.errcode != "M_USER_IN_USE":
            raise
        # An earlier seeding was cut short after this user was made.
        if (lab.secrets / token_file(user)).exists():
            return
        made = client.login(user, password)
    lab.keep_secret(token_file(user), made["access_token"])


def content(lab: Lab, messages: int) -> dict:
    """Rooms, messages and media. Ends with the marker file; without it all is tried again."""
    started = time.monotonic()
    client = of_lab(lab)
    tokens = {user: lab.secret(token_file(user)) for user in USERS}
    with ThreadPoolExecutor(len(ROOMS) + 1) as pool:
        canary = pool.submit(_canary_room, client, tokens)
        rooms = dict(pool.map(lambda room: (room, _public_room(client, tokens, room)), ROOMS))
        canary_room = canary.result()
        say("seed", "users and rooms", started)

        started = time.monotonic()
        uploads = pool.submit(_media, client, tokens, rooms["lobby"])
        share = -(-messages // len(ROOMS))
        # One thread per room: within a room Synapse takes one event after the other anyway.
        list(pool.map(lambda room: _messages(client, tokens, room, rooms[room], share), ROOMS))
        media = uploads.result()
    count = share * len(ROOMS) + len(media)
    say("seed", f"{count} messages, {len(media)} media", started)
    result = {
        "canary_room_id": canary_room,
        "rooms": rooms,
        "users": {user: user_id(user) for user in USERS},
        "media": media,
        "messages": count,
    }
    write(lab.seed_file, json.dumps(result, indent=2) + "\n")
    return result


def _room(client: Client, token: str, alias: str, body: dict) -> str:
    try:
        body = {"room_alias_name": alias, "name": alias.title(), **body}
        return client.call("POST", "/_matrix/client/v3/createRoom", token, body)["room_id"]
    except MatrixError as error:
        if error.errcode != "M_ROOM_IN_USE":
            raise
        path = f"/_matrix/client/v3/directory/room/%23{alias}%3A{SERVER_NAME}"
        return client.call("GET", path, token)["room_id"]


def _public_room(client: Client, tokens: dict, alias: str) -> str:
    creator = WRITERS[ROOMS.index(alias) % len(WRITERS)]
    room = _room(client, tokens[creator], alias, {"preset": "public_chat"})
    for user in WRITERS:
        if user != creator:
            client.call("POST", f"/_matrix/client/v3/join/{room}", tokens[user])
    return room


def _canary_room(client: Client, tokens: dict) -> str:
    reader = user_id("canary_reader")
    body = {"preset": "private_chat", "invite": [reader]}
    room = _room(client, tokens["canary"], "canary", body)
    client.call("POST", f"/_matrix/client/v3/join/{room}", tokens["canary_reader"])
    return room


def _messages(client: Client, tokens: dict, name: str, room: str, count: int) -> None:
    for number in range(count):
        writer = WRITERS[number % len(WRITERS)]
        body = f"{name} message {number}: all is calm"
        client.send(tokens[writer], room, f"seed-{name}-{number}", {"msgtype": "m.text", "body": body})


def _media(client: Client, tokens: dict, room: str) -> list[str]:
    made = []
    for number in range(UPLOADS):
        writer = WRITERS[number % len(WRITERS)]
        if number % 3 == 2:
            name, kind, message = f"notes-{number}.txt", "text/plain", "m.file"
            data = f"Notes {number}\n".encode() * 2000
        else:
            name, kind, message = f"picture-{number}.png", "image/png", "m.image"
            data = _png(240, 160, number)
        uri = client.upload(tokens[writer], name, kind, data)
        info = {"mimetype": kind, "size": len(data)}
        event = {"msgtype": message, "body": name, "url": uri, "info": info}
        client.send(tokens[writer], room, f"seed-media-{number}", event)
        made.append(uri)
    return made


def _png(width: int, height: int, shade: int) -> bytes:
    """A real picture, so that Synapse makes its thumbnails."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    rows = b"".join(
        b"\0" + bytes((x * 7 + y * 3 + shade * 31 + c * 80) % 256 for x in range(width) for c in (0, 1, 2))
        for y in range(height)
    )
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    image = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + image
