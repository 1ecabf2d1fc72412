"""Captions in their published formats, and draws without replacement."""

import json

import pytest

from csg.evaluation.runner.datasets import DatasetError, drawn, pictures_in, read_captions, samples


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("0.jpg", "1.jpg", "2.jpg", "10.jpg", "notes.txt"):
        (folder / name).write_bytes(b"")
    return folder


def test_pictures_of_one_name_are_refused(pictures):
    (pictures / "2.png").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"2\.jpg and 2\.png .* have the same name"):
        pictures_in(pictures)


def coco(path):
    """As in captions_val2017.json: several annotations per picture, in no order."""
    document = {
        "info": {},
        "licenses": [],
        "images": [
            {"id": 397133, "file_name": "000000397133.jpg", "height": 427, "width": 640},
            {"id": 37777, "file_name": "000000037777.jpg", "height": 230, "width": 352},
        ],
        "annotations": [
            {"image_id": 397133, "id": 370509, "caption": "A man is in a kitchen making pizzas. "},
            {"image_id": 37777, "id": 441, "caption": "The dining table near the kitchen."},
            {"image_id": 397133, "id": 368, "caption": "A baker is working in the kitchen."},
        ],
    }
    path.write_text(json.dumps(document))
    return path


def test_coco_takes_the_first_annotation(tmp_path):
    found = read_captions(coco(tmp_path / "captions_val2017.json"))
    assert found == {
        "000000397133": "A baker is working in the kitchen.",
        "000000037777": "The dining table near the kitchen.",
    }


def test_celeba_takes_the_first_line_of_each_file(tmp_path):
    folder = tmp_path / "celeba-caption"
    folder.mkdir()
    (folder / "0.txt").write_text("She wears lipstick.\nThe woman has wavy hair.\n")
    (folder / "10.txt").write_text("\nHe has a beard.\n")
    assert read_captions(folder) == {"0": "She wears lipstick.", "10": "He has a beard."}


def test_plain_captions(tmp_path):
    (tmp_path / "plain.json").write_text(json.dumps({"0.jpg": "one", "1": ["two", "zwei"]}))
    (tmp_path / "metadata.jsonl").write_text(
        '{"file_name": "0.jpg", "text": "one"}\n\n{"file_name": "1.jpg", "text": "two"}\n'
    )
    assert (
        read_captions(tmp_path / "plain.json") == read_captions(tmp_path / "metadata.jsonl") == {"0": "one", "1": "two"}
    )


@pytest.mark.parametrize("content", ["no json", "[1, 2]", '{"annotations": [{}], "images": []}', "{}", '{"0.jpg": 3}'])
def test_another_format_is_told_with_those_that_are_read(tmp_path, content):
    (tmp_path / "captions.json").write_text(content)
    with pytest.raises(DatasetError, match=r"captions\.json.*MS-COCO.*celeba-caption"):
        read_captions(tmp_path / "captions.json")


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(DatasetError, match="holds no captions"):
        read_captions(tmp_path / "nowhere.json")


def test_numbered_pictures_come_in_their_order(pictures):
    assert [p.name for p in pictures_in(pictures)] == ["0.jpg", "1.jpg", "2.jpg", "10.jpg"]


def test_an_empty_folder_is_told(tmp_path):
    with pytest.raises(DatasetError, match="no pictures"):
        pictures_in(tmp_path)


def test_samples_join_pictures_and_captions(pictures, tmp_path):
    (tmp_path / "captions.json").write_text(json.dumps({"1.jpg": "one", "10.jpg": "ten", "77.jpg": "elsewhere"}))
    assert [(s.name, s.caption) for s in samples(pictures, tmp_path / "captions.json")] == [("1", "one"), ("10", "ten")]
    assert {s.caption for s in samples(pictures, None)} == {""}


def test_captions_of_another_data_set_are_told(pictures, tmp_path):
    with pytest.raises(DatasetError, match="None of the 4 pictures"):
        samples(pictures, coco(tmp_path / "captions_val2017.json"))


def test_a_draw_is_fixed_by_its_seed_and_grows(pictures):
    everything = samples(pictures, None)
    two, three = drawn(everything, 2, 5), drawn(everything, 3, 5)
    assert three[:2] == two and len({s.name for s in three}) == 3
    assert drawn(list(reversed(everything)), 2, 5) == two
    assert len({tuple(s.name for s in drawn(everything, 2, seed)) for seed in range(20)}) > 3
    assert sorted(s.name for s in drawn(everything, None, 5)) == sorted(s.name for s in everything)


def test_more_than_there_are_is_refused(pictures):
    with pytest.raises(DatasetError, match="only 4"):
        drawn(samples(pictures, None), 5, 0)
