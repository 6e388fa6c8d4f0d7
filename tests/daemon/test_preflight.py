"""`cxrd check` proposes to each destination what it would be sent."""

from pathlib import Path

import pytest

from daemon.config import Config, ListenerConfig, ModelConfig, PeerConfig, PictureSyntax, Product
from daemon.config_syslog import SyslogConfig, SyslogTransport
from daemon.preflight import CheckResult, run_checks
from dicom_io.association import HEATMAP_CLASS, REPORT_CLASS
from dicom_io.compression import RLE
from dicom_io.syntaxes import PLAIN_SYNTAXES
from tests.daemon.running import HOST, free_port
from tests.daemon.syslog_server import StreamServer
from tests.dicom_io.test_sender import archive

PICTURES = (Product.REPORT, Product.HEATMAP)


def checked(folder: Path, bundle: Path, port: int, receives: tuple[Product, ...]) -> CheckResult:
    """What the check says of a destination that prefers RLE."""
    peer = PeerConfig(
        name="archive",
        ae_title="PACS",
        host=HOST,
        port=port,
        sends=True,
        receives=receives,
        picture_syntax=PictureSyntax.RLE,
    )
    config = Config(
        data_dir=folder,
        model=ModelConfig(bundle=str(bundle), threads=1),
        listener=ListenerConfig(port=free_port()),
        peers=(peer,),
    )
    *_, last = run_checks(config)
    return last


@pytest.mark.parametrize("takes_rle", [True, False])
def test_a_refused_picture_syntax_is_said_and_no_fault(
    tmp_path: Path, bundle: Path, takes_rle: bool
) -> None:
    syntaxes = (*PLAIN_SYNTAXES, *((RLE,) if takes_rle else ()))
    with archive(classes=(REPORT_CLASS, HEATMAP_CLASS), syntaxes=syntaxes) as destination:
        result = checked(tmp_path, bundle, destination.port, PICTURES)
    assert result.passed
    assert ("pictures go uncompressed" in result.detail) is not takes_rle


def test_a_class_that_would_be_sent_and_is_refused_is_named(tmp_path: Path, bundle: Path) -> None:
    with archive(classes=(REPORT_CLASS, HEATMAP_CLASS)) as destination:
        wanted = (*PICTURES, Product.SEGMENTATION)
        result = checked(tmp_path, bundle, destination.port, wanted)
    assert not result.passed
    assert "Segmentation Storage" in result.detail
    assert "Presentation State" not in result.detail


def test_a_syslog_server_that_is_not_there_is_named(tmp_path: Path, bundle: Path) -> None:
    def syslog(port: int) -> CheckResult:
        config = Config(
            data_dir=tmp_path,
            model=ModelConfig(bundle=str(bundle), threads=1),
            listener=ListenerConfig(port=free_port()),
            syslog=SyslogConfig(host=HOST, port=port, transport=SyslogTransport.TCP),
            peers=(),
        )
        return next(result for result in run_checks(config) if result.name == "syslog")

    with StreamServer() as server:
        assert syslog(server.port).passed
    refused = syslog(free_port())
    assert not refused.passed
    assert "cannot be reached" in refused.detail
