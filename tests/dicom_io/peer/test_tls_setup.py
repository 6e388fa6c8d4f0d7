"""Checks of certificates and keys before any connection."""

import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dicom_io.errors import CertificateError
from dicom_io.peer.tls import (
    CIPHER_SUITES,
    ClientCertificate,
    Credentials,
    client_context,
    examine,
    fingerprint,
    server_context,
)
from tests.builders.certificates import DAYS, Authority, commands, run


def contexts(pki: Authority) -> list[ssl.SSLContext]:
    credentials = pki.of("cxrd")
    required = ClientCertificate.REQUIRED
    return [
        server_context(credentials, ca=pki.ca, client_certificate=required),
        client_context(pki.ca, credentials),
    ]


def test_profile_is_bcp_195(pki: Authority) -> None:
    for context in contexts(pki):
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2
        assert context.maximum_version is ssl.TLSVersion.MAXIMUM_SUPPORTED
        offered = [suite["name"] for suite in context.get_ciphers()]
        assert [name for name in offered if not name.startswith("TLS_")] == list(CIPHER_SUITES)
        assert context.options & ssl.OP_NO_RENEGOTIATION
        assert context.options & ssl.OP_NO_COMPRESSION
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.security_level == 2
    assert contexts(pki)[1].check_hostname


def test_certificate_is_read(pki: Authority) -> None:
    found = examine(pki.of("cxrd"))
    assert found.names == ("localhost", "127.0.0.1")
    assert found.days_left(datetime.now(UTC)) in (DAYS - 1, DAYS)
    der = ssl.PEM_cert_to_DER_cert(pki.of("cxrd").certificate.read_text())
    assert found.sha256 == fingerprint(der)


def test_password_is_not_shown() -> None:
    assert "secret" not in repr(Credentials(Path("a"), Path("b"), "secret"))


def test_the_commands_of_the_page_make_usable_certificates(tmp_path: Path) -> None:
    run(tmp_path, commands("ca") + commands("issue") + commands("encrypt"))
    printed = run(tmp_path, commands("pin"))
    pin = printed.strip().partition("=")[2].replace(":", "").lower()
    pacs = Credentials(tmp_path / "pacs.pem", tmp_path / "pacs.key")
    assert examine(pacs).sha256 == pin
    assert examine(pacs).names == ("pacs.example.org", "192.0.2.7")
    password = (tmp_path / "cxrd.password").read_text().strip()
    encrypted = Credentials(tmp_path / "cxrd.pem", tmp_path / "cxrd.encrypted.key", password)
    assert examine(encrypted).names == ("cxrd.example.org", "localhost", "127.0.0.1")
    for file in tmp_path.iterdir():
        assert file.stat().st_mode & 0o077 == 0, file.name


def test_the_commands_of_the_page_look_at_a_certificate_and_renew_it(
    pki: Authority, strangers: Authority, tmp_path: Path
) -> None:
    run(tmp_path, f"cp '{pki.folder}'/* . && cp '{strangers.ca}' new-ca.pem")
    shown = run(tmp_path, commands("inspect"))
    assert "cxrd.pem: OK" in shown
    assert "IP Address:127.0.0.1" in shown
    assert "TLS Web Client Authentication" in shown
    digests = shown.splitlines()[-2:]
    assert digests[0] == digests[1]
    issue = commands("ca").partition("\n\n")[2]
    run(tmp_path, issue + commands("renew") + commands("two-cas"))
    renewed = Credentials(tmp_path / "cxrd-2.pem", tmp_path / "cxrd-2.key")
    assert examine(renewed).sha256 != examine(pki.of("cxrd")).sha256
    assert len(client_context(tmp_path / "both-cas.pem", renewed).get_ca_certs()) == 2
    run(tmp_path, commands("pkcs12"))
    assert (tmp_path / "pacs.p12").stat().st_size > 0


def unusable_credentials(pki: Authority, tmp_path: Path) -> dict[str, Callable[[], Credentials]]:
    """Return functions that make unusable credentials, by their fault."""

    def changed(script: str) -> Credentials:
        run(tmp_path, f"cp '{pki.folder}'/* . && {script}")
        return Credentials(tmp_path / "made.pem", tmp_path / "made.key")

    def self_signed(options: str) -> Credentials:
        return changed(
            f"openssl req -x509 -nodes -subj /CN=x -keyout made.key -out made.pem {options}"
        )

    encrypt = "cp cxrd.pem made.pem && openssl pkey -in cxrd.key -aes256 -passout pass:right"
    right = pki.of("cxrd")
    return {
        "no certificate": lambda: Credentials(tmp_path / "gone.pem", right.key),
        "no key": lambda: Credentials(right.certificate, tmp_path / "gone.key"),
        "another's key": lambda: Credentials(right.certificate, pki.of("pacs").key),
        "swapped": lambda: Credentials(right.key, right.certificate),
        "damaged": lambda: changed("head -c 600 cxrd.pem > made.pem && cp cxrd.key made.key"),
        "encrypted": lambda: changed(f"{encrypt} -out made.key"),
        "wrong password": lambda: Credentials(
            changed(f"{encrypt} -out made.key").certificate, tmp_path / "made.key", "wrong"
        ),
        "short key": lambda: self_signed("-newkey rsa:1024"),
        "expired": lambda: pki.issue("expired", days=-1),
        "only a server's": lambda: self_signed(
            "-newkey rsa:2048 -addext extendedKeyUsage=serverAuth"
        ),
    }


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("no certificate", r"gone\.pem: the certificate file cannot be read \(No such file"),
        ("no key", r"gone\.key: the key file cannot be read \(No such file"),
        ("another's key", r"pacs\.key is not the key of .*cxrd\.pem"),
        ("swapped", r"cxrd\.key holds no certificate in PEM form"),
        ("damaged", r"made\.pem and .*made\.key cannot be used"),
        ("encrypted", r"made\.key is encrypted; set its password"),
        ("wrong password", r"the password of .*made\.key is not right"),
        ("short key", r"made\.pem has a key that is too short"),
        ("expired", r"expired\.pem expired on \d{4}-\d\d-\d\d; renew it"),
        ("only a server's", r"made\.pem may not be used as a client: its extendedKeyUsage"),
    ],
)
def test_unusable_credentials_are_explained_in_one_line(
    pki: Authority, tmp_path: Path, fault: str, message: str
) -> None:
    credentials = unusable_credentials(pki, tmp_path)[fault]()
    with pytest.raises(CertificateError, match=message) as caught:
        examine(credentials)
    assert "\n" not in str(caught.value)


def test_an_unusable_ca_file_is_explained_in_one_line(pki: Authority, tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match=r"gone\.pem: the CA file cannot be read"):
        client_context(tmp_path / "gone.pem")
    with pytest.raises(CertificateError, match=r"cxrd\.key holds no CA in PEM form"):
        client_context(pki.of("cxrd").key)
    with pytest.raises(CertificateError, match="no CA is named"):
        server_context(pki.of("cxrd"), client_certificate=ClientCertificate.REQUIRED)
