"""Bytes of pictures, the album, the model, and notebooks, with the Python client."""

from __future__ import annotations

import base64
import io
import math
import re
import zipfile
from pathlib import Path

import pytest

import serving
from bridgetower_search import Client, Forbidden, Image, NotFound

JPEG = b"\xff\xd8\xff"


def dot(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def test_a_row_gives_its_thumbnail_its_file_and_its_heat_map(client: Client, couch: Path) -> None:
    row = next(row for row in client.search("a cat on a couch", n=10) if row.path == str(couch))
    small, large = row.thumbnail(160), row.thumbnail()
    assert small.startswith(JPEG) and large.startswith(JPEG) and len(small) < len(large)
    assert row.file() == couch.read_bytes() and row.file().media_type == "image/jpeg"
    words = [word.word for word in client.words(row, "a cat on a couch")]
    assert "cat" in words and "couch" in words
    cat = row.why("a cat on a couch", words.index("cat"))
    assert cat.startswith(JPEG) and cat != row.why("a cat on a couch", words.index("couch"))


def test_a_picture_says_what_is_known_of_it(client: Client, couch: Path) -> None:
    found = client.search(image=couch, n=1)[0]
    picture = client.picture(found.id)
    assert (picture.id, picture.path) == (found.id, str(couch))
    assert picture.bytes == couch.stat().st_size and picture.format == "jpeg"
    assert picture.width > 0 and picture.height > 0 and picture.file() == couch.read_bytes()


def test_a_notebook_shows_results_as_pictures_and_escapes_names(client: Client) -> None:
    page = client.search("a cat on a couch", n=2, all=True)
    html = page._repr_html_()
    shown = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', html)
    assert len(shown) == 2
    assert base64.b64decode(shown[0]) == page[0].thumbnail()
    assert f"{page[0].score:.0%}" in html
    page[0].path = "<script>alert(1)</script>"
    assert "<script>" not in page._repr_html_()
    assert "Nothing here shows that" in client.search("a cat", min_score=1.0)._repr_html_()
    assert page[0].thumbnail()._repr_mimebundle_()["image/jpeg"].startswith(JPEG)
    assert "data:image/webp" in Image(b"x", "image/webp")._repr_mimebundle_()["text/html"]


def test_an_uploaded_picture_is_found_and_goes_when_deleted(writer: Client, server: serving.Served) -> None:
    from_album = serving.ROOT / "tests" / "clients" / "upload.png"
    sent = writer.upload(from_album, caption="three squares of the tests")
    assert not sent.known and Path(sent.path).is_relative_to(server.album.resolve())
    assert Path(sent.path).read_bytes() == from_album.read_bytes()
    assert writer.picture(sent.id).captions == ["three squares of the tests"]
    assert writer.search(image=from_album, n=1)[0].id == sent.id
    assert writer.search("three squares of the tests", n=1)[0].id == sent.id
    again = writer.upload(from_album.read_bytes())
    assert again.known and again.id == sent.id
    writer.delete(sent.id)
    assert not Path(sent.path).exists()
    with pytest.raises(NotFound):
        writer.picture(sent.id)


def test_a_token_for_reading_neither_uploads_nor_deletes(client: Client, couch: Path) -> None:
    with pytest.raises(Forbidden):
        client.upload(couch)
    with pytest.raises(Forbidden):
        client.delete(client.search(image=couch, n=1)[0])


def test_an_export_holds_the_files_as_they_are(client: Client, tmp_path: Path) -> None:
    rows = client.search("a cat", n=3, all=True)
    archive = zipfile.ZipFile(client.export(rows, tmp_path / "found.zip"))
    assert archive.testzip() is None
    stored = sorted(archive.read(name) for name in archive.namelist() if not name.endswith((".txt", ".json")))
    assert stored == sorted(bytes(row.file()) for row in rows)


def test_embeddings_are_of_unit_length_and_lie_in_one_space(client: Client, couch: Path) -> None:
    cat, castle, picture = client.embed(["a cat on a couch", "a castle at night", couch])
    assert len(cat) == len(castle) == len(picture) > 100
    for vector in (cat, castle, picture):
        assert math.isclose(math.hypot(*vector), 1.0, abs_tol=1e-3)
    assert dot(cat, picture) > dot(castle, picture)
    assert client.embed("a cat on a couch")[0] == pytest.approx(cat, abs=1e-4)


def test_reranking_puts_the_picture_that_shows_it_first(client: Client, couch: Path) -> None:
    castle = serving.ROOT / "samples" / "food" / "IMG_0010.jpg"
    known = client.search(image=couch, n=1)[0]
    for images in ([castle, couch], [castle.read_bytes(), known]):
        ranked = client.rerank("a cat on a couch", images)
        assert [one.index for one in ranked] == [1, 0]
        assert ranked[0].score > ranked[1].score
    texts = ["a castle at night", "a cat on a couch"]
    assert client.rerank(image=couch, texts=texts)[0].index == 1
    with pytest.raises(TypeError):
        client.rerank("a cat", texts=texts)


def test_features_tell_the_outputs_of_the_heads(client: Client, couch: Path) -> None:
    features = client.features("a cat on a couch", couch)
    assert features


def test_a_picture_that_is_none_is_refused(client: Client) -> None:
    from bridgetower_search import Problem

    with pytest.raises(Problem) as caught:
        client.search(image=io.BytesIO(b"GIF89a no picture").getvalue())
    assert caught.value.status == 422 and caught.value.type.startswith("/problems/")
