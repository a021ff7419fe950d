"""The broker's password stays in its file: no log, no process list, no output of a command has it."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import Daemon, Mosquitto, edge_qc, wait_until

PASSWORD = "Tr0ub4dor-3cret"  # noqa: S105 - it is what the tests look for


class Site:
    """A broker that asks for a password, and a station that has it in a file."""

    def __init__(self, folder: Path) -> None:
        passwords = folder / "passwords"
        subprocess.run(["mosquitto_passwd", "-c", "-b", passwords, "cam1", PASSWORD], check=True, capture_output=True)
        self.folder = folder
        self.broker = Mosquitto(folder, "allow_anonymous false", f"password_file {passwords}")
        self.password_file = folder / "password"
        self.password_file.write_text(f"{PASSWORD}\n")
        self.args = ("--source", "sim:?rate=20", "--broker", self.broker.url, "--data-dir", folder / "data")
        self.environment = {
            "EDGE_QC_BROKER_USERNAME": "cam1",
            "EDGE_QC_BROKER_PASSWORD_FILE": str(self.password_file),
            "EDGE_QC_LOG_LEVEL": "debug",
        }


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("secrets"))
    with site.broker:
        yield site


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_log_line_of_a_run_and_no_process_list_has_the_password(site: Site, tmp_path: Path, form: str) -> None:
    with Daemon(tmp_path / "log", *site.args, "--log-format", form, **site.environment) as daemon:
        wait_until(lambda: "connected to" in daemon.said and "ready: station" in daemon.said)
        process = Path("/proc") / str(daemon.process.pid)
        shown = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        assert daemon.stop() == 0
    assert b"edge_qc" in shown
    assert PASSWORD.encode() not in shown
    assert PASSWORD not in daemon.said
    kept = [path for path in (site.folder / "data").rglob("*") if path.is_file()]
    assert kept
    assert not [path for path in kept if PASSWORD.encode() in path.read_bytes()]


@pytest.mark.parametrize("command", ["check", "config"])
def test_no_command_prints_the_password(site: Site, command: str) -> None:
    done = edge_qc(command, *site.args, **site.environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert str(site.password_file) in done.stdout or "connected in" in done.stdout
    assert PASSWORD not in done.stdout + done.stderr


def test_a_password_that_the_broker_refuses_is_not_said_in_the_fault(site: Site, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text(f"{PASSWORD}-of-yesterday\n")
    done = edge_qc("check", *site.args, **site.environment | {"EDGE_QC_BROKER_PASSWORD_FILE": str(wrong)})
    assert done.returncode == 1
    assert "Not authorized" in done.stdout
    assert PASSWORD not in done.stdout + done.stderr


def test_a_password_in_the_url_is_refused_and_not_repeated() -> None:
    done = edge_qc("check", "--broker", f"mqtt://cam1:{PASSWORD}@127.0.0.1")
    assert done.returncode == 2
    assert "broker.password_file" in done.stderr
    assert PASSWORD not in done.stdout + done.stderr


@pytest.mark.parametrize("command", ["config", "check"])
def test_the_password_of_a_stream_is_in_no_output(command: str, tmp_path: Path) -> None:
    source = f"rtsp://viewer:{PASSWORD}@127.0.0.1:1/stream"
    done = edge_qc(command, cwd=tmp_path, EDGE_QC_SOURCE=source, EDGE_QC_BROKER="none:")
    assert "rtsp://…@127.0.0.1:1/stream" in done.stdout
    assert PASSWORD not in done.stdout + done.stderr
