"""What no node lets in: numbers that are none, pictures and masks without pixels, other shapes."""

import inspect

import pytest
import torch
from comfy_api.latest import io


@pytest.fixture(scope="module")
def source(comfy):
    """A node of the tests that hands out whatever it was given, as any type."""
    import nodes

    class Source(io.ComfyNode):
        @classmethod
        def define_schema(cls):
            return io.Schema(node_id="TestSource", display_name="source", category="tests", inputs=[io.String.Input("name")],
                             outputs=[io.AnyType.Output("value")])

        @classmethod
        def execute(cls, name):
            return io.NodeOutput(values[name])

    values = {}
    nodes.NODE_CLASS_MAPPINGS["TestSource"] = Source
    yield values
    del nodes.NODE_CLASS_MAPPINGS["TestSource"]


def link(source, key, value):
    source[key] = value
    return {key: {"class_type": "TestSource", "inputs": {"name": key}}}


def refusal(comfy, source, node, value, name, **inputs):
    """The error of a node whose input `name` is the value."""
    comfy.forget()
    prompt = link(source, "bad", value) | {"node": {"class_type": node, "inputs": {name: ["bad", 0], **inputs}}}
    return comfy.run(prompt, outputs=[] if node == "CSG_CompareSheet" else ["node"]).errors.get("node", "")


BAD = {"none": torch.zeros(0, 8, 8, 3), "no height": torch.zeros(1, 0, 8, 3), "no batch": torch.zeros(8, 8, 3),
       "two channels": torch.zeros(1, 8, 8, 2), "bytes": torch.zeros(1, 8, 8, 3, dtype=torch.uint8), "text": "a text"}  # fmt: skip


@pytest.mark.parametrize("image", BAD.values(), ids=BAD)
@pytest.mark.parametrize(("node", "name", "more"), [
    ("CSG_CompareSheet", "images", {"titles": ""}), ("CSG_TownScore", "image", {"seed": 1, "do": ""}),
    ("CSG_MSSSIM", "image_a", {}),
])  # fmt: skip
def test_pictures_that_are_none_are_refused_in_words(comfy, source, node, name, more, image):
    more = more | ({"image_b": ["bad", 0]} if node == "CSG_MSSSIM" else {})
    words = refusal(comfy, source, node, image, name, **more)
    assert words.startswith(f"{name} ") and ("expected" in words or "no picture" in words), words


def test_a_grey_picture_is_one_of_three_equal_channels(comfy, source):
    comfy.forget()
    prompt = link(source, "grey", torch.rand(1, 256, 256, 1)) | {"3": {"class_type": "CSG_CompareSheet", "inputs": {
        "images": ["grey", 0], "titles": ""}}}
    sheet = comfy.run(prompt, outputs=["3"]).value("3")
    part = sheet[0, 60:250, 20:250]
    assert torch.equal(part[..., 0], part[..., 2]) and part.std() > 0.1


@pytest.mark.parametrize("number", [float("nan"), "nan"], ids=["number", "text"])
@pytest.mark.parametrize("name", ["scale", "threshold"])
def test_a_number_that_is_none_is_refused_by_its_input(comfy, source, name, number):
    comfy.forget()
    edit = {"prompt": "rain", "scale": 8.0, "threshold": 0.7, name: number}
    town = {"town": {"class_type": "CSG_LoadTown", "inputs": {}}}
    inputs = edit_inputs(comfy, edit)
    errors = comfy.run(town | {"node": {"class_type": "CSG_ConceptEdit", "inputs": inputs}}, outputs=["node"]).errors
    assert name in errors["node"] and "finite number" in errors["node"], errors


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["scale", "threshold"])
def test_a_number_that_is_none_is_refused_when_it_comes_over_a_link_too(comfy, source, name, number):
    comfy.forget()
    prompt = link(source, "bad", number) | {"town": {"class_type": "CSG_LoadTown", "inputs": {}}}
    inputs = edit_inputs(comfy, {"prompt": "rain", "scale": 8.0, "threshold": 0.7}) | {name: ["bad", 0]}
    errors = comfy.run(prompt | {"node": {"class_type": "CSG_ConceptEdit", "inputs": inputs}}, outputs=["node"]).errors
    assert errors["node"] == f"{name} is {number}; expected a finite number. Type one in, or look at the node that it comes from."


@pytest.mark.parametrize("value", ["nan", torch.zeros(2), 10**400], ids=["text", "pictures", "endless"])
@pytest.mark.parametrize("name", ["scale", "warmup"])
def test_what_is_no_number_is_refused_in_words(comfy, source, name, value):
    comfy.forget()
    prompt = link(source, "bad", value) | {"town": {"class_type": "CSG_LoadTown", "inputs": {}}}
    inputs = edit_inputs(comfy, {"prompt": "rain", "scale": 8.0, "threshold": 0.7}) | {name: ["bad", 0]}
    errors = comfy.run(prompt | {"node": {"class_type": "CSG_ConceptEdit", "inputs": inputs}}, outputs=["node"]).errors
    assert errors["node"].startswith(f"{name} is ") and "expected a number" in errors["node"], errors


WRONG = {"FLOAT": float("nan"), "INT": float("inf"), "IMAGE": torch.zeros(0, 8, 8, 3), "MASK": torch.zeros(1, 0, 8)}


def test_every_node_looks_at_every_number_picture_and_mask_that_comes_in(comfy):
    """Before the node itself sees any of them."""
    import nodes

    ours = {name: node for name, node in nodes.NODE_CLASS_MAPPINGS.items() if name.startswith("CSG_")}
    checked = 0
    for name, node in ours.items():
        for each in node.define_schema().inputs:
            if (kind := each.get_io_type()) in WRONG:
                with pytest.raises(ValueError) as refused:
                    node.execute(**{each.id: WRONG[kind]})
                assert str(refused.value).startswith(f"{each.id} "), (name, each.id)
                checked += 1
    assert len(ours) > 30 and checked > 60


LONG = ["x" * 200_000, "a = " + "y" * 200_000, "y" * 200_000 + " = b", "x\n" * 50_000]


@pytest.mark.parametrize("text", LONG, ids=["word", "value", "name", "lines"])
def test_no_node_answers_a_long_text_with_a_long_message(comfy, text):
    """Whatever else is missing: a text is refused by itself, or not at all."""
    import nodes

    answers = {}
    for name, node in nodes.NODE_CLASS_MAPPINGS.items():
        for each in node.define_schema().inputs if name.startswith("CSG_") else ():
            if each.get_io_type() in ("STRING", "COMBO"):
                answers |= {(name, each.id, call): answer_of(node, call, each.id, text) for call in ("execute", "validate_inputs")}
    assert sum(1 for answer in answers.values() if answer) > 40
    assert not [where for where, answer in answers.items() if len(answer) > 1000]


def answer_of(node, call, name, text):
    """What a node says of a text alone, all other inputs without a default being None."""
    function = getattr(node, call, None)
    if function is None:
        return ""
    needed = {key: None for key, each in inspect.signature(function).parameters.items() if each.default is each.empty and each.kind < 2}
    try:
        outcome = function(**needed | {name: text})
        if inspect.iscoroutine(outcome):
            outcome.close()
    except Exception as error:
        return str(error)
    return outcome if isinstance(outcome, str) else ""


def test_a_mask_without_height_is_refused(comfy, source):
    comfy.forget()
    prompt = link(source, "bad", torch.zeros(1, 0, 8)) | {"town": {"class_type": "CSG_LoadTown", "inputs": {}}}
    inputs = edit_inputs(comfy, {"prompt": "rain", "scale": 8.0, "threshold": 0.7}) | {"mask": ["bad", 0]}
    errors = comfy.run(prompt | {"node": {"class_type": "CSG_ConceptEdit", "inputs": inputs}}, outputs=["node"]).errors
    assert "mask has no pixels" in errors["node"], errors


def edit_inputs(comfy, given):
    """All required inputs of Concept Edit: the given ones, and the defaults of the others."""
    import nodes

    kinds = nodes.NODE_CLASS_MAPPINGS["CSG_ConceptEdit"].INPUT_TYPES()["required"]
    defaults = {name: options[0].get("default") for name, (_, *options) in kinds.items() if options}
    return {name: given.get(name, ["town", 1] if kinds[name][0] == "CLIP" else defaults.get(name)) for name in kinds} | {
        name: value for name, value in given.items() if name in kinds}
