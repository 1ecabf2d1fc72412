"""The harness itself: what it reports is what ComfyUI did."""

GRID = {"1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 8, "batch_size": 1, "color": 255}}}


def test_values_of_a_node_that_is_no_output_are_seen(comfy):
    assert comfy.run(GRID, outputs=["1"]).value(1).shape == (1, 8, 16, 3)


def test_a_second_run_comes_from_the_cache(comfy):
    comfy.forget()
    assert not comfy.run(GRID, outputs=["1"]).cached
    assert "1" in comfy.run(GRID, outputs=["1"]).cached


def test_a_refused_prompt_names_node_and_input(comfy):
    outcome = comfy.run({"1": {"class_type": "EmptyImage", "inputs": {"width": 0, "height": 8, "batch_size": 1,
                                                                     "color": 0}}}, outputs=["1"])
    assert "width" in outcome.errors["1"]


def test_an_unknown_node_is_an_error(comfy):
    assert "Nowhere" in comfy.run({"1": {"class_type": "Nowhere", "inputs": {}}}).errors["prompt"]


def test_a_failing_node_gives_its_message(comfy, input_file):
    name = input_file("broken.png", "no image")
    prompt = {"1": {"class_type": "LoadImageMask", "inputs": {"image": name, "channel": "red"}},
              "2": {"class_type": "MaskToImage", "inputs": {"mask": ["1", 0]}}}
    outcome = comfy.run(prompt, outputs=["2"])
    assert outcome.errors.keys() == {"1"}
    assert "identify image" in outcome.errors["1"]
