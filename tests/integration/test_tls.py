"""mqtts with a CA and a client certificate, against a real Mosquitto."""

import ssl
import subprocess
from pathlib import Path

import pytest

from support import Listener, Mosquitto, draw_pictures, edge_qc, rows, wait_until


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*args: str) -> None:
        subprocess.run(["openssl", *args], cwd=folder, check=True, capture_output=True)

    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    openssl("req", "-x509", *new, "-subj", "/CN=test CA", "-keyout", "ca.key", "-out", "ca.pem")
    for name in ("broker", "cam1"):
        openssl("req", *new, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        (folder / "ext").write_text("subjectAltName=IP:127.0.0.1\n")
        signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "ext")
        openssl("x509", "-req", "-in", f"{name}.csr", *signed, "-out", f"{name}.pem")
    return folder


@pytest.fixture
def secure(tmp_path: Path, certificates: Path) -> Mosquitto:
    c = certificates
    return Mosquitto(
        tmp_path,
        f"cafile {c / 'ca.pem'}",
        f"certfile {c / 'broker.pem'}",
        f"keyfile {c / 'broker.key'}",
        "require_certificate true",
        "use_identity_as_username true",
        "allow_anonymous false",
        secure=True,
    )


def _run(tmp_path: Path, url: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    draw_pictures(tmp_path / "in", 1)
    run = ("--source", tmp_path / "in", "--once", "--broker", url, "--data-dir", tmp_path / "data")
    return edge_qc(*run, **environment)


def test_a_client_certificate_opens_the_broker(tmp_path: Path, certificates: Path, secure: Mosquitto) -> None:
    c = certificates

    def with_certificate(client: object) -> None:
        client.tls_set(str(c / "ca.pem"), str(c / "cam1.pem"), str(c / "cam1.key"), cert_reqs=ssl.CERT_REQUIRED)  # type: ignore[attr-defined]

    with secure, Listener(secure.port, with_certificate) as plc:
        done = _run(
            tmp_path,
            secure.url,
            EDGE_QC_BROKER_CA_FILE=str(c / "ca.pem"),
            EDGE_QC_BROKER_CERTIFICATE_FILE=str(c / "cam1.pem"),
            EDGE_QC_BROKER_KEY_FILE=str(c / "cam1.key"),
        )
        assert done.returncode == 0, done.stderr
        wait_until(lambda: plc.of("verdict"))
    assert rows(tmp_path / "data")[0]["signalled"] == "sent"


def test_a_broker_of_another_ca_is_not_trusted(tmp_path: Path, secure: Mosquitto) -> None:
    with secure:
        done = _run(tmp_path, secure.url)
    assert done.returncode == 1
    assert "CERTIFICATE_VERIFY_FAILED" in done.stderr
    assert rows(tmp_path / "data")[0]["signalled"] == "offline"


def test_a_missing_ca_file_is_said_at_once(tmp_path: Path) -> None:
    done = _run(tmp_path, "mqtts://127.0.0.1:1", EDGE_QC_BROKER_CA_FILE="/none.pem")
    assert done.returncode == 1
    assert "TLS to the broker cannot be set up" in done.stderr
    assert "/none.pem" in done.stderr
