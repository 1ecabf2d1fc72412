"""Which rows a step asks the model for, and whose words are looked at in whose row.

A row is one conditioning under which the model predicts: a whole prompt, a concept's phrase, or its factual phrase. What
is looked for in the attention (a look) belongs to a concept, its factual phrase or a preserved concept; its words stand
in a row of their own, or in that of a whole caption.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from torch import Tensor

from . import guidance as csg
from .attention import Words
from .edits import (
    GLOBAL,
    LOCAL,
    REFERENCES,
    SOURCE,
    UNCONDITIONAL,
    Base,
    ConceptTerm,
    Conditioning,
    Edits,
    same_conditioning,
)


class Prompt(Enum):
    """The rows of whole prompts: the base's two, and the captions before and after the intervention."""

    NEGATIVE = "negative"
    POSITIVE = "positive"
    BEFORE = "before"
    AFTER = "after"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Concept:
    """The phrase of the term with this index."""

    index: int

    def __str__(self) -> str:
        return f"concept {self.index}"


@dataclass(frozen=True)
class Factual:
    """The factual phrase of the term with this index."""

    index: int

    def __str__(self) -> str:
        return f"factual {self.index}"


@dataclass(frozen=True)
class Preserved:
    """A preserved concept, by name; it has no row of its own."""

    name: str

    def __str__(self) -> str:
        return f"preserved {self.name}"


Row = Prompt | Concept | Factual
Look = Concept | Factual | Preserved


@dataclass(frozen=True)
class Plan:
    """Everything about an edit that is decided before the first step.

    `conditionings` holds the text of every row but the default unconditional, which is the host's to make.
    """

    edits: Edits = field(default_factory=Edits)
    base: Base = field(default_factory=Base)
    settings: csg.GuidanceSettings = field(default_factory=csg.GuidanceSettings)
    conditionings: Mapping[Row, Conditioning] = field(default_factory=dict)
    words: Mapping[Look, Words] = field(default_factory=dict)

    @property
    def terms(self) -> tuple[ConceptTerm, ...]:
        """The concept terms, in the order of the edits."""
        return self.edits.terms

    def with_terms(self, terms: Iterable[ConceptTerm]) -> Plan:
        """The same plan with other strengths, masks or steps of the same terms."""
        return replace(self, edits=replace(self.edits, terms=tuple(terms)))

    def jointly(self, joint: bool) -> Plan:
        """Whether concepts act only once all have passed their warm-up (the authors' repository)."""
        return replace(self, settings=replace(self.settings, joint_warmup=joint))

    def at_once(self) -> Plan:
        """The same plan, in which terms by captions act from the first step, whatever their warm-up."""
        return self.with_terms(replace(t, warmup=0) if self.settings.by_captions(t) else t for t in self.terms)

    def active(self, i: int) -> list[int]:
        """Indices of the terms that act at step `i`."""
        return csg.active_terms(self.terms, i, self.settings.joint_warmup)

    def first_guided_step(self, steps: int) -> int:
        """See `csg.diffusion.guidance.first_guided_step`."""
        return csg.first_guided_step(self.terms, steps, self.settings.joint_warmup)

    def looks(self, preserves: bool) -> bool:
        """Whether the concepts' attention is needed: for their masks, or to tell their places from preserved ones."""
        return self.settings.uses_attention or preserves

    def looks_back(self, preserves: bool) -> bool:
        """Whether the original picture's own path is looked at, too."""
        return self.settings.mask_source != csg.EDIT or preserves

    @property
    def before(self) -> Prompt:
        """The row of the caption before: the base's own where it says just that."""
        return Prompt.BEFORE if Prompt.BEFORE in self.conditionings else Prompt.POSITIVE

    @property
    def base_rows(self) -> tuple[Prompt, Prompt]:
        """The rows that the base prediction is made of, (positive, negative); equal ones where it needs one alone."""
        if self.base.kind == UNCONDITIONAL:
            return Prompt.NEGATIVE, Prompt.NEGATIVE
        return Prompt.POSITIVE, Prompt.NEGATIVE if self.base.guided else Prompt.POSITIVE

    def rows(self, active: Sequence[int], looks: bool, with_base: bool = True) -> list[Row]:
        """The rows of a step at which the terms `active` act: the base's first, each once.

        `with_base`: False where another guider predicts the base.
        """
        shared = [k for k in active if self.settings.by_captions(self.terms[k])]
        single = [k for k in active if k not in shared]
        rows: list[Row] = list(self.base_rows) if with_base else []
        if single:
            rows.append(Prompt.NEGATIVE)
        if shared:
            rows += [row for row in (Prompt.AFTER, Prompt.BEFORE) if row in self.conditionings]
        rows += [row for k in (*single, *(shared if looks else ())) if (row := Concept(k)) in self.conditionings]
        if self.settings.contrast == csg.FACTUAL:
            rows += [row for k in single if (row := Factual(k)) in self.conditionings]
        return list(dict.fromkeys(rows))

    def local(self, active: Sequence[int]) -> list[int]:
        """Those of the `active` terms that have a place."""
        return [k for k in active if self.terms[k].scope == LOCAL]

    def factual_looks(self, local: Sequence[int], looks: bool) -> list[Factual]:
        """The factual phrases of these terms that are sought in the original picture, for the masks."""
        if not looks or self.settings.mask_source == csg.EDIT:
            return []
        return [look for k in local if (look := Factual(k)) in self.words]

    def preserved_looks(self, preserves: bool) -> list[Preserved]:
        """The preserved concepts that are sought in the original picture."""
        return [look for name in self.edits.preserved if (look := Preserved(name)) in self.words] if preserves else []

    def rows_of(self, looks: Iterable[Look]) -> list[Row]:
        """The rows in which these looks' words stand, each once."""
        return list(dict.fromkeys(self.words[look].row for look in looks))

    def phrase(self, look: Look) -> str:
        """What a look is called in a message."""
        return look.name if isinstance(look, Preserved) else self.terms[look.index].phrase[:60]


def plan(edits: Edits, base: Base, settings: csg.GuidanceSettings) -> Plan:
    """Plan a run; ValueError for a global concept without whole captions."""
    rows: dict[Row, Conditioning] = {} if base.negative is None else {Prompt.NEGATIVE: base.negative}
    if base.kind != UNCONDITIONAL:
        rows[Prompt.POSITIVE] = base.positive
    tells_before = base.kind == SOURCE and same_conditioning(edits.source, base.positive, REFERENCES)
    shared = any(settings.by_captions(term) for term in edits.terms)
    if shared:
        if edits.target is None or edits.source is None:
            raise ValueError("A global concept needs the whole captions: make the edits with Encode Concept Edits.")
        rows[Prompt.AFTER] = edits.target
    preserves = bool(edits.preserved) and edits.source is not None
    if (shared or preserves) and not tells_before:
        rows[Prompt.BEFORE] = edits.source
    made = Plan(edits, base, settings, rows)
    words: dict[Look, Words] = {}
    for k, term in enumerate(edits.terms):
        if term.scope != GLOBAL:
            _add_term(made, k, term, rows, words)
    if preserves:
        length = edits.source[0][0].shape[1]
        words |= {Preserved(name): Words(tokens, length, made.before) for name, tokens in edits.preserved.items()}
    return replace(made, words=words)


def _add_term(plan: Plan, k: int, term: ConceptTerm, rows: dict[Row, Conditioning], words: dict[Look, Words]) -> None:
    """The term's own rows; one whose words stand in a caption is looked at there, and needs none for itself."""
    edits, settings = plan.edits, plan.settings
    before = edits.source, plan.before
    if settings.by_captions(term) and term.caption_tokens:
        words[Concept(k)] = _in_caption(term.caption_tokens, *(before if term.remove else (edits.target, Prompt.AFTER)))
    else:
        rows[Concept(k)] = term.conditioning
        words[Concept(k)] = _in_caption(term.tokens, term.conditioning, Concept(k))
    wanted = settings.contrast == csg.FACTUAL or settings.mask_source != csg.EDIT
    if not wanted or term.factual_conditioning is None:
        return
    if settings.by_captions(term) and term.factual_caption_tokens:
        words[Factual(k)] = _in_caption(term.factual_caption_tokens, *before)
    else:
        rows[Factual(k)] = term.factual_conditioning
        words[Factual(k)] = _in_caption(term.factual_tokens, term.factual_conditioning, Factual(k))


def _in_caption(tokens: tuple[int, ...], conditioning: Conditioning, row: Row) -> Words:
    return Words(tokens, conditioning[0][0].shape[1], row)


def placed(terms: Iterable[ConceptTerm], latent: Tensor) -> tuple[ConceptTerm, ...]:
    """The terms with their users' masks (B or 1, 1, h, w) at the size and device of `latent` (B, C, h, w).

    ValueError for a number of masks that fits no number of pictures.
    """
    return tuple(term if term.mask is None else replace(term, mask=_placed_mask(term, latent)) for term in terms)


def _placed_mask(term: ConceptTerm, latent: Tensor) -> Tensor:
    mask = csg.user_mask(term.mask, latent)
    if len(mask) not in (1, len(latent)):
        raise ValueError(
            f"The mask of {term.phrase[:60]!r} holds {len(mask)} masks for {len(latent)} picture(s). "
            "Give one mask for all, or one for each picture."
        )
    return mask
