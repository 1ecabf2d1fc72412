"""A vision-language model of known quality: it knows every scene by its picture, and errs only where it was told to."""

import base64
import io
import json
import re

from PIL import Image
from town_expected import TRUE_EDGES, most_probable
from town_training.dialogues import IMPORTANCE
from town_vlm_questions import scenes

from csg.town import world
from csg.vlm.pictures import for_model
from tests.unit.vlm.chat_server import prompt_of

TURNED = (("season", "foliage"), ("time", "lamp"))
OWN_NAMES = {"time": "Time of Day", "lamp": "street-lamp"}
OWN_VALUES = {"weather": {"sunny": "clear", "rainy": "rain", "snowy": "snow"}, "season": {"autumn": "fall"}}


def pixels(picture):
    return picture.convert("RGB").tobytes()


class Scripted:
    """`reply_to` of a chat server. `flawed` brings the errors, `obeys` whether it follows the graph that it is given."""

    def __init__(self, count, flawed=True, obeys=False):
        self.flawed, self.obeys, self.asked = flawed, obeys, []
        self.scenes = {}
        for scene in scenes(count):
            for picture in (scene.image, scene.after):
                self.scenes[pixels(for_model(picture))] = scene

    def __call__(self, request):
        if "response_format" not in request:  # the question that only wakes it
            return "yes"
        content = request["messages"][-1]["content"]
        urls = [part["image_url"]["url"] for part in content if part["type"] == "image_url"]
        pictures = [Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) for url in urls]
        kind = min(request["response_format"]["json_schema"]["schema"]["properties"])
        self.asked.append(kind)
        data = re.findall(r"<data>\n(.*?)\n</data>", prompt_of(request), re.DOTALL)
        return json.dumps(getattr(self, f"_{kind}")(self.scenes[pixels(pictures[-1])], data))

    def _base_prompt(self, scene, data):
        """The extraction: every fourth scene's weather is wrong, headlights are left out, a mood is invented."""
        values = dict(scene.values)
        names = [name for name in IMPORTANCE if not (self.flawed and name == "headlights")]
        if self.flawed and scene.number % 4 == 0:
            values["weather"] = next(value for value in world.BY_NAME["weather"].domain if value != values["weather"])
        concepts = []
        for name in names:
            own = OWN_VALUES.get(name, {})
            domain = {own.get(value, value): phrase for value, phrase in world.BY_NAME[name].phrases.items()}
            concepts.append({"name": OWN_NAMES.get(name, name), "value": own.get(values[name], values[name]), "values": domain})
        edges = self._drawn([edge for edge in TRUE_EDGES if set(edge) <= set(names)])
        if self.flawed:
            concepts.append({"name": "mood", "value": "calm", "values": ["calm", "gloomy"]})
            edges += [{"cause": "weather", "effect": "mood"}, {"cause": "snowman", "effect": "person", "status": "proposed"}]
        for edge in edges:
            edge |= {end: OWN_NAMES.get(edge[end], edge[end]) for end in ("cause", "effect")}
        return {"base_prompt": "a street", "concepts": concepts, "edges": edges}

    def _edges(self, scene, data):
        """The edges alone: the last true one is only proposed."""
        edges = self._drawn(TRUE_EDGES)
        if self.flawed:
            edges[-1]["status"] = "proposed"
        return {"edges": edges}

    def _drawn(self, edges):
        """Two edges are turned round."""
        turned = [edge[::-1] if self.flawed and edge in TURNED else edge for edge in edges]
        return [{"cause": cause, "effect": effect} for cause, effect in turned]

    def _concept(self, scene, data):
        """The target: wrong in every third scene."""
        (target,) = scene.do
        return {"concept": "lamp" if self.flawed and scene.number % 3 == 0 else target}

    def _prompt(self, scene, data):
        """A propagation along the graph that stands in the question, or along the world's all the same."""
        graph, do = json.loads(data[0]), json.loads(data[1])
        given = [(edge["cause"], edge["effect"]) for edge in graph["edges"]]
        after = most_probable(scene.values, do, given if self.obeys else TRUE_EDGES)
        return {"values": [{"concept": name, "value": after[name]} for name in json.loads(data[3])], "prompt": "a street"}

    def _answer(self, scene, data):
        """Yes to everything, or the truth."""
        seen = any(world.BY_NAME[name].phrases[value] == data[0] for name, value in scene.values.items())
        return {"answer": "yes" if self.flawed or seen else "no"}

    def _interventions(self, scene, data):
        """Nothing that can be used, or three suggestions on concepts without effects."""
        names = ("house", "lamp", "windows")
        other = {name: next(value for value in world.BY_NAME[name].domain if value != scene.values[name]) for name in names}
        chosen = [{"concept": "mood", "value": "gloomy"}] if self.flawed else [{"concept": n, "value": v} for n, v in other.items()]
        return {"interventions": [{**one, "reason": "why not", "values": [], "prompt": "a street"} for one in chosen]}
