"""Searching with the Python client, as its README says."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from bridgetower_search import Client, Filter
from serving import ROOT


def test_words_find_the_picture_that_shows_them(client: Client, couch: Path) -> None:
    page = client.search("a cat on a couch", n=5)
    assert str(couch) in [row.path for row in page]
    first = page[0]
    assert len(first.id) == 64 and first.rank == 1
    assert first.score_kind == "probability" and first.score == first.probability
    assert 0.0 < first.score <= 1.0
    assert page.pictures == page.allowed > 70 and page.looked_at > 0
    scores = [row.score for row in page]
    assert scores[0] == max(scores)


def test_nothing_here_shows_that_is_an_empty_page_that_says_how_near_it_came(client: Client) -> None:
    page = client.search("a cat on a couch", min_score=0.99999)
    assert not page and len(page) == 0 and page.next is None
    assert page.best is not None and page.best.probability is not None
    assert 0.0 <= page.best.probability < 0.99999


@pytest.mark.parametrize("form", ["path", "text path", "bytes", "object that saves itself"])
def test_a_picture_given_in_any_form_finds_itself_first(client: Client, couch: Path, form: str) -> None:
    class Drawn:
        def save(self, fp: io.BytesIO, format: str | None = None) -> None:
            fp.write(couch.read_bytes())

    image = {"path": couch, "text path": str(couch), "bytes": couch.read_bytes()}.get(form) or Drawn()
    page = client.search(image=image, n=3)
    assert page[0].path == str(couch)
    assert page[0].score_kind == "similarity" and page[0].score > 0.99


def test_an_indexed_picture_by_id_or_row_finds_others_than_itself(client: Client, couch: Path) -> None:
    row = client.search(image=couch, n=1)[0]
    by_id = client.search(image=row.id, n=5)
    assert row.id not in [one.id for one in by_id]
    assert [one.id for one in client.search(image=row, n=5)] == [one.id for one in by_id]
    assert [one.id for one in row.similar(n=5)] == [one.id for one in client.similar(row, n=5)]


def test_words_and_a_picture_are_one_query(client: Client, couch: Path) -> None:
    page = client.search("a dog", image=couch, n=3, all=True)
    assert len(page) == 3
    assert [row.id for row in page] != [row.id for row in client.search("a dog", n=3, all=True)]


def test_what_should_not_be_seen_is_told_to_the_server(client: Client) -> None:
    page = client.search("a cat on a couch", not_="a couch", explain=True, all=True)
    assert page.explain is not None
    reasons = page[0].reasons
    assert reasons is not None and len(reasons["not"]) == 1
    two = client.search("a cat", not_=["a couch", "snow"], explain=True, all=True)[0].reasons
    assert two is not None and len(two["not"]) == 2


def test_filters_limit_what_can_be_found(client: Client) -> None:
    food = str(ROOT / "samples" / "food")
    page = client.search("a cat", filter=Filter(folders=[food], types=["jpeg"]), all=True, n=50)
    assert page and 0 < page.allowed < page.pictures
    assert all(row.path and row.path.startswith(food) and row.format == "jpeg" for row in page)
    listed = client.browse(filter=Filter(folders=[food], types=["jpeg"]), n=50)
    assert listed.total == page.allowed
    assert sorted(row.id for row in listed) == sorted({row.id for row in listed})


def test_a_filter_that_makes_no_sense_is_refused_by_name(client: Client) -> None:
    from bridgetower_search import Problem

    with pytest.raises(Problem) as caught:
        client.search("a cat", filter=Filter(after="the day before yesterday"))
    assert caught.value.status == 400 and "the day before yesterday" in caught.value.detail


def test_pages_follow_each_other_without_gap_or_repetition(client: Client, couch: Path) -> None:
    whole = [row.id for row in client.search("a cat", n=30, all=True, rerank=0)]
    paged = []
    for row in client.search_pages("a cat", n=7, all=True, rerank=0):
        paged.append(row.id)
        if len(paged) == 30:
            break
    assert paged == whole and len(set(paged)) == 30


def test_the_next_page_of_a_picture_that_was_sent_sends_it_again(client: Client, couch: Path) -> None:
    first = client.search(image=couch, n=4)
    second = first.next_page()
    assert second is not None and second[0].rank == 5
    assert {row.id for row in first}.isdisjoint(row.id for row in second)


def test_browsing_goes_through_every_picture_once(client: Client) -> None:
    total = client.browse(n=1).total
    ids = [row.id for row in client.browse_pages(n=20)]
    assert len(ids) == len(set(ids)) == total > 70
    by_path = [row.path for row in client.browse_pages(n=50, sort="path")]
    assert by_path == sorted(by_path, key=str)


def test_facets_count_what_filters_allow(client: Client) -> None:
    facets = client.facets()
    assert facets.total == sum(one.count for one in facets.types) == client.browse(n=1).total
    jpeg = next(one for one in facets.types if one.type == "jpeg")
    assert client.browse(filter=Filter(types=["jpeg"]), n=1).total == jpeg.count
    assert any(one.folder.endswith("food") for one in facets.folders)


def test_candidates_come_before_reranked_results(client: Client) -> None:
    events = list(client.search_live("a cat on a couch, asked step by step", n=5, all=True))
    names = [name for name, _ in events]
    assert names == ["candidates", *["progress"] * (len(events) - 2), "results"] and len(events) > 2
    pages = [page for _, page in events]
    assert pages[0].looked_at == 0 and pages[0][0].thumbnail()
    again = client.search("a cat on a couch, asked step by step", n=5, all=True)
    assert [row.id for row in pages[-1]] == [row.id for row in again]
    # What is told on the way is what the end says, in the order that was there.
    before = pages[-2]
    assert [row.id for row in before] == [row.id for row in pages[0]]
    assert before.looked_at == pages[-1].looked_at
    scores = {row.id: row.probability for row in client.search("a cat on a couch, asked step by step", n=50, all=True)}
    assert [row.probability for row in before] == [scores[row.id] for row in before]


def test_the_state_of_the_server_names_its_index(client: Client) -> None:
    page = client.search("a cat", n=1, all=True)
    (index,) = client.indexes()
    assert index.name == page.index and index.pictures == page.pictures and index.model == "mini" and index.by_words
    status = client.status()
    assert status.ready and status.uploads and status.indexes == [index]
    assert client.search("a cat", n=1, all=True, index=page.index)[0].id == page[0].id
