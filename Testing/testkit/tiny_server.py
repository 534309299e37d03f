"""A server in one small wheel, for tests of setting one up: it keeps to the contracts, and does nothing."""

import base64
import hashlib
import zipfile

VERSION = "9.8.7"
_PROGRAM = """
import argparse, fcntl, http.server, json, os, pathlib, sys, threading, time

def in_use(folder):
    for path in pathlib.Path(folder).iterdir():
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
    return False

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        good = self.headers["Authorization"] == "Bearer tiny" and self.path == "/v1/health"
        self.send_response(200 if good else 401)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

def serve(data, users):
    data.mkdir(exist_ok=True)
    lock = open(data / "supervisor.lock", "w")
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    about = {"url": f"http://127.0.0.1:{server.server_port}", "end_with": users}
    (data / "server.json").write_text(json.dumps(about))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    while in_use(users):
        time.sleep(0.1)
    (data / "server.json").unlink()

def main():
    words = sys.argv[1:]
    if words == ["--version"]:
        print("nnactive VERSION")
    elif words[0] == "doctor":
        print(json.dumps(DOCTOR))
        sys.exit(not DOCTOR["ok"])
    elif words[:2] == ["token", "create"]:
        print(json.dumps({"token": "tiny"}))
    else:
        parser = argparse.ArgumentParser()
        for name in ("--data", "--port", "--end-with"):
            parser.add_argument(name)
        asked = parser.parse_args(words[1:])
        serve(pathlib.Path(asked.data), asked.end_with)
"""
WELL = {"ok": True, "checks": []}


def make_wheel(folder, *, version=VERSION, needs=(), extra=None, doctor=WELL, name="nnactive_server"):
    """Write the wheel into a folder; its path.

    needs: further distributions it asks for; extra: further files by name; doctor: what `doctor --json` says.
    """
    folder.mkdir(parents=True, exist_ok=True)
    about = f"{name}-{version}.dist-info"
    program = _PROGRAM.replace("VERSION", version).replace("DOCTOR", repr(doctor))
    requires = "".join(f"Requires-Dist: {one}\n" for one in needs)
    files = {
        f"{name}/__init__.py": b"",
        f"{name}/cli.py": program.encode(),
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}".encode(),
        f"{about}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        **(extra or {}),
    }
    if name == "nnactive_server":
        files[f"{about}/entry_points.txt"] = b"[console_scripts]\nnnactive = nnactive_server.cli:main\n"
    record = "".join(f"{path},sha256={_digest(data)},{len(data)}\n" for path, data in files.items())
    files[f"{about}/RECORD"] = f"{record}{about}/RECORD,,\n".encode()
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in files.items():
            archive.writestr(path, data)
    return wheel


def _digest(data):
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
