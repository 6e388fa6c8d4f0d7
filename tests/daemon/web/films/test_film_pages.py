"""Pictures, overlays and pixels of films over HTTP, and all that is not shown."""

import gzip
import json
import re
import struct

import numpy as np
import pytest

from cxr_model.predict.transform import reduced
from daemon.analyse.pipeline import Pipeline
from daemon.analyse.reader.film import Film
from storage.audit.records import AuditKind
from storage.records import ObjectKind
from tests.servers.film_site import FilmSite, change

pytestmark = pytest.mark.network

IMAGE = "image/avif,image/webp,*/*;q=0.8"


def labels(shown: FilmSite, name: str) -> list[str]:
    return [one.label for one in shown.films[name].findings if one.present]


@pytest.mark.parametrize("name", ["plain", "lying"])
def test_the_picture_is_that_of_the_analysis(
    shown: FilmSite, pipeline: Pipeline, name: str
) -> None:
    film = shown.films[name]
    read = pipeline.read(shown.bench.spool.read(film.spool_path, film.sha256))
    assert isinstance(read, Film)
    got = shown.get(name, "/picture.png?side=100")
    assert (got.picture == read.pose.to_display(reduced(read.picture, 100))).all()
    full = shown.get(name, "/picture.png")
    assert (full.picture == read.pose.to_display(reduced(read.picture, 1200))).all()
    assert full.headers["cache-control"] == "no-store"


def test_an_overlay_on_the_film_is_the_dicom_heatmap(shown: FilmSite) -> None:
    film, (label, *_) = shown.films["plain"], labels(shown, "plain")
    (made, *_) = [
        one for one in film.objects if one.label == label and one.kind is ObjectKind.HEATMAP
    ]
    heatmap = shown.get("plain", f"/object.png?uid={made.sop_instance_uid}&side=4096").picture
    laid = shown.get("plain", f"/overlay.png?finding={label}&film=true&side=4096").picture
    difference = np.abs(laid.astype(int) - heatmap[: laid.shape[0]]).max(axis=-1)
    assert (difference > 3).mean() < 0.002


def test_an_overlay_is_transparent_and_on_the_pixels_of_the_picture(shown: FilmSite) -> None:
    (label, *_) = labels(shown, "lying")
    picture = shown.get("lying", "/picture.png?side=120").picture
    lined = shown.get("lying", f"/overlay.png?finding={label}&side=120").picture
    plain = shown.get("lying", f"/overlay.png?finding={label}&side=120&contour=false").picture
    assert lined.shape == plain.shape == (*picture.shape, 4)
    assert (lined != plain).any()
    assert (plain[..., 3] == 0).any()
    assert plain[..., 3].max() <= 102


def test_outlines_lie_on_the_upright_film(shown: FilmSite) -> None:
    said = json.loads(shown.get("lying", "/contours.json").body)
    assert (said["rows"], said["columns"]) == (160, 200)
    assert {one["finding"] for one in said["outlines"]} == set(labels(shown, "lying"))
    (first, *_) = said["outlines"]
    mask = shown.get("lying", f"/overlay.png?finding={first['finding']}").picture
    plain = shown.get("lying", f"/overlay.png?finding={first['finding']}&contour=false").picture
    rows, columns = np.nonzero((mask != plain).any(axis=-1))
    box = [columns.min() / 200, columns.max() / 200, rows.min() / 160, rows.max() / 160]
    x, y = np.transpose(first["points"])
    assert np.allclose([x.min(), x.max(), y.min(), y.max()], box, atol=0.03)


def test_a_film_that_was_refused_is_shown_too(shown: FilmSite) -> None:
    assert shown.get("lateral", "/picture.png").picture.ndim == 2
    assert shown.get("colour", "/picture.png").picture.shape == (90, 70, 3)


@pytest.mark.parametrize("packed", [False, True])
def test_stored_pixels_are_all_sent(shown: FilmSite, packed: bool) -> None:
    film = shown.films["lying"]
    headers = {"Accept-Encoding": "gzip"} if packed else {}
    got = shown.get("lying", "/pixels", **headers)
    body = gzip.decompress(got.body) if packed else got.body
    assert got.headers.get("content-encoding") == ("gzip" if packed else None)
    assert got.headers["x-uncompressed-length"] == str(len(body)) == str(200 * 160 * 2)
    facts = json.loads(shown.get("lying", "/pixels.json").body)
    assert (facts["rows"], facts["columns"], facts["kind"]) == (200, 160, "uint16")
    both = shown.get("lying", "/pixels?facts=true").body
    (length,) = struct.unpack_from("<I", both)
    assert json.loads(both[4 : 4 + length]) == facts
    assert (4 + length) % 8 == 0
    assert both[4 + length :] == body
    dicom = shown.bench.spool.read(film.spool_path, film.sha256)
    assert body in dicom


@pytest.mark.parametrize(
    ("name", "status", "reason"),
    [
        ("damaged", 422, "no picture can be made of this file"),
        ("lost", 404, "the file of this film is missing or altered"),
        ("purged", 410, "was deleted on 20"),
        ("aside", 410, "an operator set this film aside on 20"),
    ],
)
def test_what_cannot_be_shown_is_said_in_a_sentence(
    shown: FilmSite, name: str, status: int, reason: str
) -> None:
    picture = shown.get(name, "/picture.png", IMAGE)
    assert picture.status == status
    assert picture.headers["content-type"].startswith("image/svg+xml")
    words = " ".join(re.findall(r"<text[^>]*>(.*?)</text>", picture.body.decode()))
    assert reason.lower() in words.lower()
    for tail in ("/pixels", "/pixels.json", "/contours.json"):
        told = shown.get(name, tail)
        assert told.status == status
        assert reason in json.loads(told.body)["error"]
    assert "spool/" not in words


def test_a_page_says_why_there_is_no_film(shown: FilmSite) -> None:
    page = shown.get("purged", "/view", "text/html").body.decode()
    assert "The file of this film was deleted on" in page
    assert "data-viewer" not in page
    assert "picture.png" not in shown.get("aside", "", "text/html").body.decode()


def test_a_film_is_shown_only_in_its_study(shown: FilmSite) -> None:
    film, other = shown.films["plain"], shown.films["lateral"]
    for path in (
        f"/studies/{other.study_instance_uid}/films/{film.id}/picture.png",
        f"/studies/{film.study_instance_uid}/films/999999/picture.png",
        f"/studies/{film.study_instance_uid}/films/0x1/picture.png",
        f"/studies/{film.study_instance_uid}/films/{10**30}/picture.png",
        f"/studies/{film.study_instance_uid}/films/..%2f1/picture.png",
        f"{shown.path('plain')}/picture.png?source=elsewhere",
    ):
        assert shown.ask(path).status == 404, path
    assert shown.get("plain", f"/picture.png?source={film.source}").status == 200
    (made, *_) = [one for one in film.objects if one.kind is ObjectKind.HEATMAP]
    for name, uid in (("lying", made.sop_instance_uid), ("plain", film.sop_instance_uid)):
        assert shown.get(name, f"/object.png?uid={uid}").status == 404


@pytest.mark.parametrize(
    ("tail", "status"),
    [
        ("/picture.png?side=15", 400),
        ("/picture.png?side=4097", 400),
        ("/picture.png?side=1e3", 400),
        ("/picture.png?side=-20", 400),
        ("/picture.png?side=%C2%B2%C2%B2", 400),
        ("/overlay.png?finding=Mass&contour=maybe", 400),
        ("/overlay.png?finding=../../etc", 404),
        ("/overlay.png", 404),
        ("/object.png", 404),
        ("/pixels?facts=1", 400),
    ],
)
def test_values_that_cannot_be_used_are_refused(shown: FilmSite, tail: str, status: int) -> None:
    assert shown.get("plain", tail).status == status


def test_a_damaged_map_is_said_and_a_missing_one_leads_to_the_heatmap(shown: FilmSite) -> None:
    film, present = shown.films["plain"], labels(shown, "plain")
    store = shown.bench.store
    kept = {label: store.results.heat(film.id, label) for label in present}
    database = shown.site.data / "store.sqlite"
    forget = "DELETE FROM heat_maps WHERE instance_id = ? AND label = ?"
    keep = "INSERT INTO heat_maps (instance_id, label, heat) VALUES (?, ?, ?)"
    for label in present[:2]:
        change(database, forget, film.id, label)
    try:
        change(database, keep, film.id, present[0], b"heat\x09\0\0\0\0")
        got = shown.get("plain", f"/overlay.png?finding={present[0]}", IMAGE)
        assert got.status == 422
        assert b"version 9" in got.body
        assert shown.get("plain", f"/overlay.png?finding={present[1]}").status == 404
        page = shown.get("plain", "", "text/html").body.decode()
        assert f"{present[1].replace('_', ' ')}: analysed by an earlier version" in page
        assert "object.png?uid=" in page
    finally:
        for label in present[:2]:
            change(database, forget, film.id, label)
            change(database, keep, film.id, label, kept[label])


def test_a_look_at_a_film_is_one_event(shown: FilmSite) -> None:
    store = shown.bench.store

    def looks() -> list[str]:
        rows = store.audit.rows()
        return [row.subject for row in rows if row.kind == AuditKind.FILM_VIEWED]

    before = len(looks())
    film = shown.films["lost"]
    assert shown.get("lost", "/picture.png").status == 404
    assert len(looks()) == before, "a film that was not shown was not looked at"
    for name in ("lateral", "lateral", "colour"):
        shown.get(name, "/picture.png?side=50")
        shown.get(name, "/pixels.json")
    subjects = " ".join(looks())
    assert film.sop_instance_uid not in subjects
    for name in ("lateral", "colour"):
        assert subjects.count(f"instance={shown.films[name].sop_instance_uid} ") == 1


def test_a_panel_names_each_overlay(shown: FilmSite) -> None:
    present = labels(shown, "plain")
    page = shown.get("plain", "", "text/html").body.decode()
    for label in present:
        assert f"overlay.png?finding={label}&amp;film=true" in page
        assert f'value="{label}"' in page
    assert page.count("probability 0.") == 2 * len(present)
    assert "style=" not in page
    assert "Research use only, not for diagnosis" in page
