"""Captions in their published formats, and draws without replacement."""

import json

import pytest
from PIL import Image

from csg.evaluation.datasets import DatasetError, drawn, pictures_in, read_captions, samples


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


def photos(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(folder / name)
    return folder


def test_hidden_files_and_folders_are_no_pictures(tmp_path):
    photos(tmp_path, "a.jpg")
    (tmp_path / "._a.jpg").write_bytes(bytes(64))
    (tmp_path / "...png").write_bytes(bytes(64))
    (tmp_path / "b.jpg").mkdir()
    assert [p.name for p in pictures_in(tmp_path)] == ["a.jpg"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_marks_of_encodings_are_no_text(tmp_path, encoding):
    folder = photos(tmp_path / "p", "1.jpg")
    files = {"a.json": '{"1.jpg": "a café"}', "b.jsonl": '{"file_name": "1.jpg", "text": "a café"}\n', "t/1.txt": "a café\n"}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(text.encode(encoding))
        assert samples(folder, tmp_path / (name if "/" not in name else "t"))[0].caption == "a café"


def test_a_caption_file_in_another_encoding_is_named(tmp_path):
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "11.txt").write_bytes("a café".encode("cp1252"))
    with pytest.raises(DatasetError, match=r"11\.txt is no UTF-8 text \(byte 5\); save it as UTF-8"):
        read_captions(tmp_path / "t")


def test_one_name_in_two_folders_is_refused_and_many_captions_of_one_picture_are_not(tmp_path):
    file = tmp_path / "c.json"
    file.write_text(json.dumps({"train/1.jpg": "first", "val/1.jpg": "second"}))
    with pytest.raises(DatasetError, match="train/1.jpg and val/1.jpg have captions under one name"):
        read_captions(file)
    file.write_text(json.dumps([{"file_name": "train\\1.jpg", "text": None}, {"file_name": "train\\1.jpg", "text": "x"},
                                {"file_name": "train\\1.jpg", "text": "y"}]))  # fmt: skip
    assert read_captions(file) == {"1": "x"}


def test_empty_captions_and_unlisted_pictures_are_passed_over_and_told(tmp_path, caplog):
    images = [{"id": k, "file_name": f"{k}.jpg"} for k in (1, 2, 3)]
    annotations = [{"id": 1, "image_id": 1, "caption": " "}, {"id": 2, "image_id": 1, "caption": "a room"},
                   {"id": 3, "image_id": 99, "caption": "elsewhere"}, {"id": 4, "image_id": 2, "caption": None}]  # fmt: skip
    (tmp_path / "coco.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    assert read_captions(tmp_path / "coco.json") == {"1": "a room"}
    assert "1 pictures have no caption text and are left out, 2.jpg first" in caplog.text
