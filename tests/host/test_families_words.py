"""Words are found where they stand in a conditioning, with every tokenizer that ComfyUI has for these families.

The encoders' weights are not needed: in their places stand encoders whose output at every token is that token's number,
behind ComfyUI's own code that joins and cuts the parts. So a column can be asked which token it holds.
"""

import base64
import io
import json
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

CAPTION = "a photo of an image: the user saw a red car, wet ground with puddles and a snowman in the street"
PHRASES = ("red car", "wet ground with puddles", "snowman", "image", "user", "street")
CORPUS = [CAPTION, "a user with an image", "the wet street", "red ground", "a man in the snow", "雪人 在 街上", "濡れた地面に雪だるま"] * 40


PICTURE, SEEN = -1, 7  # the number of a picture's columns, and how many there are


class Numbers(torch.nn.Module):
    """A text encoder that gives back each token's number and its own tag: (1, tokens, width), or (1, layers, tokens, width)."""

    def __init__(self, tag, width=8, layers=(), mask=False):
        super().__init__()
        self.tag, self.width, self.layers, self.mask = tag, width, layers, mask

    def encode_token_weights(self, chunks):
        tokens = [token for chunk in chunks for token, *_ in chunk]
        ids = torch.tensor([float(one) for token in tokens for one in ([PICTURE] * SEEN if isinstance(token, dict) else [token])])
        out = torch.zeros(1, *self.layers, len(ids), self.width)
        out[..., 0], out[..., 1] = ids, self.tag
        return (out, torch.zeros(1, 8), {"attention_mask": torch.ones(1, len(ids))})[: 3 if self.mask else 2]


TAGS = {"clip_l": 1, "clip_g": 2, "t5xxl": 3, "llama": 4}


def clip_of(tokenizer, model, **encoders):
    """A CLIP of these parts: ComfyUI's tokenizer, and its model without the weights."""
    torch.nn.Module.__init__(model)
    for name, encoder in encoders.items():
        setattr(model, name, encoder)

    def tokenize(text, return_word_ids=False, **options):
        return tokenizer.tokenize_with_weights(text, return_word_ids, **options)

    def encode(tokens):
        out, pooled, *extra = model.encode_token_weights(tokens)
        return [[out, {"pooled_output": pooled} | (extra[0] if extra else {})]]

    return SimpleNamespace(tokenizer=tokenizer, cond_stage_model=model, tokenize=tokenize, encode_from_tokens_scheduled=encode)


def blank(kind, **values):
    model = kind.__new__(kind)
    vars(model).update(values)
    return model


def spiece(add_dummy_prefix):
    """A small sentencepiece model, such as a checkpoint brings with it."""
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS), model_writer=model, vocab_size=420, hard_vocab_limit=False, byte_fallback=True,
        add_dummy_prefix=add_dummy_prefix, minloglevel=2, pad_id=0, eos_id=1, bos_id=2, unk_id=3,
    )  # fmt: skip
    return torch.frombuffer(bytearray(model.getvalue()), dtype=torch.uint8)


def tekken():
    """A small Mistral vocabulary of bytes and a few words, such as a checkpoint brings with it."""
    names = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "<7>", "<8>", "<9>", "<10>", "<pad>"]
    special = [{"rank": i, "token_str": name} for i, name in enumerate(names)]
    words = [bytes([b]) for b in range(256)] + [b" r", b" re", b" red", b" c", b" ca", b" car", b"re", b"red"]
    vocab = [{"rank": i, "token_bytes": base64.b64encode(w).decode()} for i, w in enumerate(words)]
    config = {"default_vocab_size": len(words) + len(special), "pattern": r"\s+|\w+|[^\w\s]+"}
    content = json.dumps({"config": config, "vocab": vocab, "special_tokens": special})
    return torch.frombuffer(bytearray(content.encode()), dtype=torch.uint8)


def sd3(l=True, g=True, t5=True):
    from comfy.text_encoders import sd3_clip as module

    return clip_of(module.SD3Tokenizer(), blank(module.SD3ClipModel, t5_attention_mask=False), clip_l=Numbers(1, 768) if l else None,
                   clip_g=Numbers(2, 1280) if g else None, t5xxl=Numbers(3, 4096) if t5 else None)  # fmt: skip


def hidream(t5=True):
    """With the tokenizer that Llama's file describes: of transformers, some versions read another out of it, without spaces."""
    import transformers
    from comfy.text_encoders import hidream as module

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module.hunyuan_video, "LlamaTokenizerFast", transformers.PreTrainedTokenizerFast)
        return _hidream(module, t5)


def _hidream(module, t5):
    return clip_of(module.HiDreamTokenizer(), blank(module.HiDreamTEModel), clip_l=Numbers(1), clip_g=Numbers(2),
                   t5xxl=Numbers(3) if t5 else None, llama=Numbers(4, layers=(2,)))  # fmt: skip


def flux():
    from comfy.text_encoders import flux as module

    return clip_of(module.FluxTokenizer(), blank(module.FluxClipModel), clip_l=Numbers(1), t5xxl=Numbers(3))


def single(tokenizer, model, key, layers=(), mask=False):
    attribute = key if hasattr(tokenizer, key) else f"clip_{key}"
    return clip_of(tokenizer, blank(model, clip=attribute, clip_name=key), **{attribute: Numbers(5, 8, layers, mask)})


def klein():
    from comfy.text_encoders import flux as module

    return single(module.KleinTokenizer(), module.Flux2TEModel, "qwen3_4b", (3,), True)


def load_tekken(data):
    """What ComfyUI makes of a Mistral vocabulary, for every version of transformers: some take a file's name instead."""
    from transformers.integrations.mistral import MistralConverter

    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        Path(file.name).write_bytes(data.numpy().tobytes())
        return {"tokenizer_object": MistralConverter(file.name).converted(), "legacy": False}


def flux2():
    from comfy.text_encoders import flux as module

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "load_mistral_tokenizer", load_tekken)
        return _flux2(module)


def _flux2(module):
    return single(module.Flux2Tokenizer(tokenizer_data={"tekken_model": tekken()}), module.Flux2TEModel, "mistral3_24b", (3,), True)


def qwen_image():
    from comfy.text_encoders import qwen_image as module

    return single(module.QwenImageTokenizer(), module.QwenImageTEModel, "qwen25_7b", mask=True)


def z_image():
    from comfy.text_encoders import z_image as module

    return single(module.ZImageTokenizer(), module.ZImageTEModel, "qwen3_4b")


def lumina2():
    from comfy.text_encoders import lumina2 as module

    return single(module.LuminaTokenizer(tokenizer_data={"spiece_model": spiece(False)}), module.LuminaModel, "gemma2_2b")


def chroma():
    from comfy.text_encoders import pixart_t5 as module

    return single(module.PixArtTokenizer(), module.PixArtT5XXL, "t5xxl")


def aura():
    from comfy.text_encoders import aura_t5 as module

    return single(module.AuraT5Tokenizer(), module.AuraT5Model, "pile_t5xl")


def wan():
    from comfy.text_encoders import wan as module

    return single(module.WanT5Tokenizer(tokenizer_data={"spiece_model": spiece(True)}), module.WanT5Model, "umt5xxl")


def sdxl():
    from comfy import sdxl_clip as module

    return clip_of(module.SDXLTokenizer(), blank(module.SDXLClipModel), clip_l=Numbers(1, 768), clip_g=Numbers(2, 1280))


def anima():
    from comfy.text_encoders import anima as module

    return clip_of(module.AnimaTokenizer(), blank(module.AnimaTEModel, clip="qwen3_06b", clip_name="qwen3_06b"), qwen3_06b=Numbers(5))


MADE = {}


def made(make):
    """A CLIP, made once: reading a tokenizer's files takes a second."""
    if make not in MADE:
        MADE[make] = make()
    return MADE[make]


CLIPS = (sd3, hidream, flux, klein, flux2, qwen_image, z_image, lumina2, chroma, aura, wan, sdxl)


@pytest.fixture(scope="module")
def words(comfy):
    return comfy.module("nodes.host_words")


def held(clip, text, column):
    """The tokenizer and the number of the token that a column of the text's conditioning holds."""
    out = clip.cond_stage_model.encode_token_weights(clip.tokenize(text))
    second = column >= out[0].shape[1]
    features = out[2]["conditioning_llama3"][0, 0, column - out[0].shape[1]] if second else out[0][0, column]
    first = 0 if features[1] else 768  # CLIP-G stands behind CLIP-L
    names = [name for name in vars(clip.tokenizer) if hasattr(getattr(clip.tokenizer, name), "inv_vocab")]
    known = {tag: name for name, tag in TAGS.items()} | {5: names[0]}
    return known[int(features[first + 1])], int(features[first])


def spelled(clip, text, columns):
    """What the tokens at these columns decode to, by tokenizer."""
    found = {}
    for column in columns:
        name, token = held(clip, text, column)
        found.setdefault(name, []).append(token)
    return {name: getattr(clip.tokenizer, name).tokenizer.decode(ids).strip().lower() for name, ids in found.items()}


@pytest.mark.parametrize("make", CLIPS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("phrase", PHRASES)
def test_a_phrase_is_found_inside_a_caption(words, make, phrase):
    """Also words that a chat template has before it, and words that are cut otherwise when they stand alone."""
    clip = made(make)
    columns = words.ClipText(clip).positions(CAPTION, phrase)
    texts = spelled(clip, CAPTION, columns)
    assert len(texts) == (2 if make in (sd3, hidream) else 1)
    assert all(text == phrase for text in texts.values())


@pytest.mark.parametrize("phrase", PHRASES)
def test_animas_words_are_t5s(words, phrase):
    clip = made(anima)
    tokens = [token for token, _ in clip.tokenize(CAPTION)["t5xxl"][0]]
    columns = words.ClipText(clip).positions(CAPTION, phrase)
    assert clip.tokenizer.t5xxl.tokenizer.decode([tokens[c] for c in columns]).strip() == phrase


@pytest.mark.parametrize("make", CLIPS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("phrase", [*PHRASES, "a red car, wet", "(snowman:1.2)"])
def test_a_phrase_alone_is_all_its_own_words(words, make, phrase):
    clip = made(make)
    weighted = clip.tokenize("(x:2)")
    plain = any(weight != 1 for chunks in weighted.values() for chunk in chunks for _, weight in chunk)
    expected = "snowman" if plain and phrase.startswith("(") else phrase
    texts = spelled(clip, phrase, words.ClipText(clip).positions(phrase, phrase))
    assert all(text.replace(" ", "") == expected.replace(" ", "") for text in texts.values()) and texts


@pytest.mark.parametrize("make", CLIPS, ids=lambda make: make.__name__)
@pytest.mark.parametrize(("caption", "phrase"), [("一张照片，雪人在街上", "雪人"), ("濡れた地面に雪だるまがいる", "雪だるま")])
def test_scripts_without_spaces(words, make, caption, phrase):
    """A tokenizer without these letters may find nothing; what is found is no more than it must be."""
    clip = made(make)
    columns = words.ClipText(clip).positions(caption, phrase)
    if make in (qwen_image, z_image, klein, flux2, lumina2, wan, sdxl):
        assert columns
    assert len(columns) <= len(phrase.encode()) + 2


@pytest.mark.parametrize("make", CLIPS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("phrase", ["man", "car, w", "stree", "blue car", "assistant", "<|im_start|>"])
def test_what_is_no_word_of_the_caption_is_not_found(words, make, phrase):
    assert words.ClipText(made(make)).positions(CAPTION, phrase) == ()


@pytest.mark.parametrize("make", CLIPS, ids=lambda make: make.__name__)
def test_nothing_stands_nowhere(words, make):
    assert words.ClipText(made(make)).positions("", "") == () == words.ClipText(made(make)).positions(CAPTION, "")


@pytest.mark.parametrize(("encoders", "weights", "first"), [
    ({}, {1.0, 0.3}, 77), ({"t5": False}, {1.0}, None), ({"l": False}, {1.0, 0.3}, 77), ({"g": False}, {1.0, 0.3}, 77),
    ({"l": False, "g": False}, {0.3}, 0)])  # fmt: skip
def test_sd3_with_some_of_its_encoders(words, encoders, weights, first):
    """T5's copy of the words counts less, and stands behind CLIP's 77 tokens where there is a CLIP."""
    columns = words.ClipText(sd3(**encoders)).positions("red car", "red car")
    assert {c.weight for c in columns} == weights
    t5 = [int(c) for c in columns if c.weight == 0.3]
    assert t5 == ([] if first is None else [first, first + 1])


def test_hidreams_llama_keeps_its_place_without_t5(words):
    assert [int(c) for c in words.ClipText(hidream(t5=False)).positions("red car", "red car")] == [129, 130]


def test_long_captions_have_several_parts(words):
    """CLIP's tokens come in parts of 77, each with its own begin and end; T5's follow after all of them."""
    caption = ", ".join(["a house with many small windows"] * 20) + ", a red car"
    for clip in (made(sd3), made(sdxl)):
        texts = spelled(clip, caption, words.ClipText(clip).positions(caption, "red car"))
        assert set(texts.values()) == {"red car"} and len(texts) == (2 if hasattr(clip.tokenizer, "t5xxl") else 1)


SHOWN = torch.rand(1, 40, 60, 3, generator=torch.Generator().manual_seed(1))
ROWS = ("Change the car to a red car.", "Add the snowman: a snowman.", "Leave the picture exactly as it is: red car, a snowman.", "red car")


@pytest.mark.parametrize("text", ROWS)
def test_a_phrase_is_found_beside_a_picture(words, text):
    """Qwen-Image-Edit's text encoder sees the picture: its one token becomes many columns before the words."""
    clip = made(qwen_image)
    seeing, blind = words.ClipText(clip, SHOWN), words.ClipText(clip)
    context = seeing.encode(text)[0][0][0, :, 0]
    for phrase in ("red car", "a snowman", "assistant", "Picture", "vision"):
        columns = seeing.positions(text, phrase)
        assert len(columns) == len(blind.positions(text, phrase))
        held = clip.tokenizer.qwen25_7b.tokenizer.decode([int(context[c]) for c in columns])
        assert held.strip().lower() == (phrase.lower() if phrase.lower() in text.lower() else "") and all(c.weight == 1 for c in columns)
    assert (context == PICTURE).sum() == SEEN


def test_the_picture_is_shown_as_comfyuis_own_node_shows_it(words):
    from comfy_extras.nodes_qwen import TextEncodeQwenImageEditPlus

    clip = made(qwen_image)
    (expected, _), = TextEncodeQwenImageEditPlus.execute(clip, ROWS[0], None, SHOWN).result[0]
    (context, _), = words.ClipText(clip, torch.cat([SHOWN, torch.ones(1, 40, 60, 1)], -1)).encode(ROWS[0])  # alpha is left out
    assert torch.equal(context, expected) and len(expected[0]) > 20


def test_a_picture_for_an_encoder_that_sees_none_is_refused(words):
    with pytest.raises(ValueError, match=r"this text encoder \(t5xxl\) sees no pictures.*Disconnect it"):
        words.ClipText(made(chroma), SHOWN)
    with pytest.raises(ValueError, match="a batch of 2 pictures; the text encoder is shown one"):
        words.ClipText(made(qwen_image), SHOWN.repeat(2, 1, 1, 1))
