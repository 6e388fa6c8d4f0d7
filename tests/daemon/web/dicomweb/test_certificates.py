"""Clients that show a certificate (mTLS), beside clients with a token and browsers without."""

import ssl
from pathlib import Path

import httpx
import pytest

from dicom_io.dicomweb.multipart import DICOM_FILE, related
from dicom_io.peer.tls import client_context, fingerprint
from tests.builders.certificates import Authority
from tests.builders.images.films import film
from tests.servers.dicomweb.site import BOUNDARY, VIEWER, bearer, body_of, running_service
from tests.tools.ports import HOST, free_port

pytestmark = [pytest.mark.daemon, pytest.mark.network]


def digest_of(pki: Authority, name: str) -> str:
    pem = pki.of(name).certificate.read_text()
    return fingerprint(ssl.PEM_cert_to_DER_cert(pem[pem.index("-----BEGIN CERT") :]))


@pytest.mark.slow
def test_a_certificate_identifies_its_client_alone(
    tmp_path: Path, pki: Authority, strangers: Authority
) -> None:
    own = pki.of("cxrd")
    clients = [
        {"name": "modality", "certificate_sha256": [digest_of(pki, "modality")], "stores": True},
        {"name": "viewer", "token": VIEWER, "reads": ["modality"]},
    ]
    web = {"port": free_port(), "certificate": str(own.certificate), "key": str(own.key)}
    folder = tmp_path / "node"
    folder.mkdir()
    sections = {"web": web, "dicomweb": {"ca": str(pki.ca), "clients": clients}}
    with running_service(folder, **sections) as service:
        url = f"https://{HOST}:{service.port}"
        headers = {"Content-Type": related(DICOM_FILE, BOUNDARY)}

        def post(name: str | None, **more: str) -> int:
            shown = pki.of(name) if name else None
            with httpx.Client(verify=client_context(pki.ca, shown)) as client:
                answer = client.post(
                    f"{url}/dicom-web/studies",
                    content=body_of(film("by certificate")),
                    headers={**headers, **more},
                )
                return answer.status_code

        assert post("modality") == 200
        assert post("pacs") == 401
        assert post(None) == 401
        # A token is the client's own word: the certificate does not add to it.
        assert post("modality", **bearer(VIEWER)) == 403
        with httpx.Client(verify=client_context(pki.ca)) as client:
            found = client.get(f"{url}/dicom-web/studies", headers=bearer(VIEWER))
            assert len(found.json()) == 1
            assert client.get(f"{url}/healthz").status_code == 200
        with (
            pytest.raises(httpx.TransportError),
            httpx.Client(verify=client_context(pki.ca, strangers.of("modality"))) as stranger,
        ):
            stranger.get(f"{url}/healthz")
