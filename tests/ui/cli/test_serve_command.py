from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys

import pytest

from openvocab.ui.cli.main import main
from openvocab.ui.cli.serve_command import is_loopback


@pytest.mark.parametrize(
    ("options", "environment", "words"),
    [
        pytest.param(["--host", "0.0.0.0"], {}, "other machines can reach 0.0.0.0; require a login", id="open host"),
        pytest.param(["--host", "::"], {}, "other machines can reach ::", id="open host of version 6"),
        pytest.param(["--host", "example.org"], {}, "other machines can reach example.org", id="open name"),
        pytest.param(["--auth", "user"], {}, "--auth must be a user and a password", id="no password"),
        pytest.param(["--auth", ":word"], {}, "--auth must be a user and a password", id="no user"),
        pytest.param(["--auth", "user:"], {}, "give USER:PASSWORD", id="empty password"),
        pytest.param([], {"OPENVOCAB_AUTH": "user"}, "OPENVOCAB_AUTH must be a user", id="environment"),
        pytest.param(["--max-upload", "0"], {}, "--max-upload must be at least 1, got 0", id="upload"),
        pytest.param(["--max-pixels", "-1"], {}, "--max-pixels must be at least 1, got -1", id="pixels"),
        pytest.param(["--queue", "0"], {}, "--queue must be at least 1, got 0", id="queue"),
        pytest.param(["--port", "65536"], {}, "--port must be from 0 to 65535, got 65536", id="port"),
        pytest.param(["--preset", "pokcet"], {}, "no preset named 'pokcet'; did you mean 'pocket'?", id="preset"),
        pytest.param(["nowhere"], {}, "nowhere is not a folder; give a folder of images, or a run", id="no folder"),
        pytest.param(["--out", "run"], {}, "--out and --import belong to a folder", id="a run without a folder"),
        pytest.param(["--import", "a.json"], {}, "--out and --import belong to a folder", id="labels without a folder"),
        pytest.param(["--host", "127.0.0.1.", "--insecure"], {}, "cannot listen on port 7860", id="no address"),
    ],
)
def test_options_that_cannot_be_used(options, environment, words, monkeypatch, capsys):
    pytest.importorskip("gradio")
    monkeypatch.delenv("OPENVOCAB_AUTH", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert main(["serve", *options]) == 2
    said = capsys.readouterr().err.splitlines()
    assert words in said[-1]
    assert said[-1].startswith("openvocab: ")


@pytest.mark.parametrize("options", [["--port", "x"], ["--queue", "many"], ["--max-upload", "1.5"]], ids=str)
def test_options_of_another_type(options, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["serve", *options])
    assert ended.value.code == 2
    assert "invalid int value" in capsys.readouterr().err


def test_a_port_in_use_is_one_sentence(capsys):
    pytest.importorskip("gradio")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", "--port", str(port)]) == 2
    assert f"cannot listen on port {port} of 127.0.0.1 (Address already in use)" in capsys.readouterr().err


def test_mcp_without_its_package_is_one_sentence(monkeypatch, capsys):
    pytest.importorskip("gradio")
    monkeypatch.setitem(sys.modules, "mcp", None)
    assert main(["serve", "--port", "0", "--mcp"]) == 2
    assert "mcp is not installed; run: pip install 'openvocab[mcp]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        pytest.param("127.0.0.1", True, id="address"),
        pytest.param("127.8.8.8", True, id="another of the block"),
        pytest.param("::1", True, id="version 6"),
        pytest.param("[::1]", True, id="brackets"),
        pytest.param("localhost", True, id="name"),
        pytest.param("LocalHost", True, id="capitals"),
        pytest.param("0.0.0.0", False, id="all"),
        pytest.param("::", False, id="all of version 6"),
        pytest.param("192.168.0.2", False, id="network"),
        pytest.param("localhost.example.org", False, id="a name that begins like it"),
        pytest.param("", False, id="empty, which means all"),
    ],
)
def test_loopback(host, expected):
    assert is_loopback(host) is expected


def test_help_loads_nothing_heavy():
    code = (
        "import sys\nfrom openvocab.ui.cli.main import main\n"
        "try:\n    main(['serve', '--help'])\nexcept SystemExit:\n    pass\n"
        "print([name for name in ('gradio', 'torch', 'uvicorn', 'starlette') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("number", "status"), [pytest.param(signal.SIGINT, 130, id="Ctrl-C"), pytest.param(signal.SIGTERM, 143, id="TERM")]
)
def test_a_signal_ends_it_and_leaves_nothing(number, status, tmp_path):
    pytest.importorskip("gradio")
    command = [sys.executable, "-m", "openvocab.ui.cli.main", "serve", "--port", "0", "--device", "cpu"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as run:
        assert run.stderr is not None
        said = next(line for line in run.stderr if "ready at" in line)
        assert re.search(r"ready at http://127\.0\.0\.1:\d+; press Ctrl-C to stop", said)
        assert list(tmp_path.glob("openvocab-web-*"))
        run.send_signal(number)
        out, rest = run.communicate(timeout=60)
    assert (run.returncode, out) == (status, "")
    assert "Traceback" not in rest
    assert not list(tmp_path.glob("openvocab-web-*"))
