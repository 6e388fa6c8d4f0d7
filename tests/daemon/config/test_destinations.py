"""`receives` of the peers decides which objects are built and where they are sent."""

import pytest
from pydantic import ValidationError

from daemon.config.destinations import classes_for, picture_contexts
from daemon.config.peers import PeerConfig
from daemon.config.picture_form import DEFAULT_FORM, PictureForm
from daemon.config.products import (
    forms_to_build,
    kinds_for,
    kinds_to_build,
    report_forms,
)
from daemon.config.receivers import PictureSyntax, Product
from daemon.config.settings import Config
from dicom_io.objects.classes import RESULT_CLASSES
from dicom_io.objects.compression import JPEG_BASELINE, RLE
from storage.records import ObjectKind

SC = "1.2.840.10008.5.1.4.1.1.7"


def peer(
    *receives: Product, syntax: PictureSyntax = PictureSyntax.UNCOMPRESSED, name: str = "pacs"
) -> PeerConfig:
    return PeerConfig(
        name=name,
        ae_title="PACS",
        host="127.0.0.1",
        port=104,
        receives=receives,
        picture_syntax=syntax,
    )


def test_a_peer_gets_the_listed_kinds_and_the_report_last() -> None:
    assert kinds_for(peer(*Product)) == [
        ObjectKind.HEATMAP,
        ObjectKind.SUMMARY,
        ObjectKind.PRESENTATION_STATE,
        ObjectKind.SEGMENTATION,
        ObjectKind.REPORT,
    ]
    assert kinds_for(peer(Product.SEGMENTATION)) == [ObjectKind.SEGMENTATION]


def test_a_peer_that_prefers_jpeg_gets_the_lossy_copies_instead() -> None:
    jpeg_peer = peer(*Product, syntax=PictureSyntax.JPEG_BASELINE)
    assert kinds_for(jpeg_peer)[:2] == [ObjectKind.HEATMAP_JPEG, ObjectKind.SUMMARY_JPEG]
    assert picture_contexts(jpeg_peer) == [(SC, JPEG_BASELINE)]


def test_every_product_is_of_a_class_that_is_proposed() -> None:
    assert set(classes_for(peer(*Product))) == set(RESULT_CLASSES)
    assert classes_for(peer(Product.HEATMAP, Product.SUMMARY)) == [SC]


def test_only_pictures_have_a_preferred_syntax() -> None:
    assert picture_contexts(peer(Product.SUMMARY, syntax=PictureSyntax.RLE)) == [(SC, RLE)]
    assert picture_contexts(peer(Product.REPORT, syntax=PictureSyntax.RLE)) == []
    assert picture_contexts(peer(Product.HEATMAP)) == []


@pytest.mark.parametrize(
    ("peers", "built"),
    [
        ([], {ObjectKind.HEATMAP}),
        ([peer(Product.REPORT)], {ObjectKind.HEATMAP, ObjectKind.REPORT}),
        (
            [peer(Product.SEGMENTATION), peer(Product.PRESENTATION_STATE, name="other")],
            {ObjectKind.HEATMAP, ObjectKind.SEGMENTATION, ObjectKind.PRESENTATION_STATE},
        ),
        (
            [peer(Product.SUMMARY, syntax=PictureSyntax.JPEG_BASELINE)],
            {ObjectKind.HEATMAP, ObjectKind.SUMMARY, ObjectKind.SUMMARY_JPEG},
        ),
    ],
)
def test_listed_kinds_and_their_references_are_built(
    peers: list[PeerConfig], built: set[ObjectKind]
) -> None:
    assert kinds_to_build(peers) == built


@pytest.mark.parametrize(
    ("side", "lossy", "size", "name"),
    [
        (1536, False, "", ""),
        (1536, True, "", "jpeg"),
        (None, False, "full", "full"),
        (2048, True, "2048", "2048 jpeg"),
    ],
)
def test_a_form_is_named_by_its_departure_from_the_default(
    side: int | None, lossy: bool, size: str, name: str
) -> None:
    form = PictureForm(side, lossy)
    assert (form.size, form.name) == (size, name)


@pytest.mark.parametrize("side", [511, 16385, 0, -1, "large", 1536.5])
def test_a_size_out_of_bounds_is_refused(side: object) -> None:
    with pytest.raises(ValidationError, match="picture_max_side"):
        PeerConfig.model_validate(
            {"name": "x", "ae_title": "X", "sends": True, "picture_max_side": side}
        )


def test_only_the_forms_of_a_sources_destinations_are_built() -> None:
    sender = {"sends": True, "picture_max_side": None}
    north = peer(Product.REPORT, Product.HEATMAP, name="north").model_copy(update=sender)
    south = peer(Product.REPORT, name="south").model_copy(update={**sender, "ae_title": "SOUTH"})
    viewer = peer(Product.HEATMAP, name="viewer", syntax=PictureSyntax.JPEG_BASELINE)
    config = Config(peers=(north, south, viewer))
    full, jpeg = PictureForm(None), PictureForm(is_lossy=True)
    assert forms_to_build(config, "north") == {DEFAULT_FORM, full, jpeg}
    assert forms_to_build(config, "south") == {DEFAULT_FORM, jpeg}
    assert forms_to_build(config, "gone") == {DEFAULT_FORM}
    assert report_forms(config, "north") == (DEFAULT_FORM, full)
    assert report_forms(config, "south") == (DEFAULT_FORM,)
