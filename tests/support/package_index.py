"""A package index on loopback, with wheels of a few lines: no registry is asked."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from collections.abc import Mapping, Sequence

from support.http_server import Server


def wheel(name: str, version: str, requires: Sequence[str] = (), code: str = "", python: str = ">=3") -> tuple[str, bytes]:
    """Make a wheel of one module; return its file's name and its content."""
    module = name.replace("-", "_")
    information = f"{module}-{version}.dist-info"
    metadata = [f"Name: {name}", f"Version: {version}", f"Requires-Python: {python}", *(f"Requires-Dist: {line}" for line in requires)]
    members = {
        f"{module}.py": code,
        f"{information}/METADATA": "\n".join(["Metadata-Version: 2.1", *metadata, ""]),
        f"{information}/WHEEL": "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    lines = []
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for member, text in members.items():
            archive.writestr(zipfile.ZipInfo(member), text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            lines.append(f"{member},sha256={digest},{len(text)}")
        archive.writestr(zipfile.ZipInfo(f"{information}/RECORD"), "\n".join([*lines, f"{information}/RECORD,,"]) + "\n")
    return f"{module}-{version}-py3-none-any.whl", file.getvalue()


def index(wheels: Mapping[str, bytes]) -> Server:
    """Return a server of these wheels, with the pages of an index under `simple/` (PEP 503)."""
    server = Server({})
    for file, content in wheels.items():
        add(server, file, content)
    return server


def add(server: Server, file: str, content: bytes) -> None:
    """Add a wheel to an index."""
    page = f"simple/{file.partition('-')[0].replace('_', '-')}/"
    link = f'<a href="../../{file}#sha256={hashlib.sha256(content).hexdigest()}">{file}</a>\n'
    server.files[file] = content
    server.files[page] = server.files.get(page, b"<!DOCTYPE html>\n") + link.encode()


def hash_of(content: bytes) -> str:
    """Return the hash of a file as a requirements file has it."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
