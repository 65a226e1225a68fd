"""The chat template of a tokenizer: a prompt as the user's turn, and what the template writes before the assistant's first words.

Knows a tokenizer and Jinja2; encodes nothing.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from resect.core.errors import InputError, UnknownName
from resect.core.marked_text import HiddenSpellings, MarkedText

from .special_tokens import SpecialTokens

#: Variables of a template that have their values from the prompt.
_SET_HERE = frozenset({"messages", "add_generation_prompt"})
#: A prompt and an answer, to see what a template writes between them.
_QUESTION, _ANSWER = "Which animal?", "Zebra"


@dataclass(frozen=True)
class ChatTemplate:
    """A tokenizer's own chat template.

    Parameters
    ----------
    tokenizer : one that has a chat template
    kwargs : variables of the template
    system : the system text; None: there is no such message, and the template may write one of its own
    spellings : of special tokens, which are text in what is put into the template; None: they are tokens

    Attributes
    ----------
    separator : the white space that the template writes between its prompt and an answer; None: it cannot be told
    is_opened : whether the template writes something else in front of an answer, which is not part of its prompt (a thought)

    Raises InputError where there is no template, or it refuses a user's turn, the system text or a variable.
    """

    tokenizer: Any
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    system: str | None = None
    spellings: re.Pattern[str] | None = None
    separator: str | None = field(init=False)
    is_opened: bool = field(init=False)

    def __post_init__(self) -> None:
        if not getattr(self.tokenizer, "chat_template", None):
            raise InputError("--chat-template is set, but this model's tokenizer has no chat template; leave the flag out.")
        for name in self.kwargs:
            self._check_variable(name)
        opening = self.wrapped(MarkedText(_QUESTION))
        if self.system is not None and opening == self._rendered(MarkedText(_QUESTION), system=f"{self.system} {_ANSWER}"):
            raise InputError("The model's chat template leaves out the system text, so that --system has no effect: leave it out.")
        between = self._before_answer(opening)
        object.__setattr__(self, "is_opened", bool(between and between.strip()))
        object.__setattr__(self, "separator", "" if self.is_opened else between)

    @property
    def source(self) -> str:
        """The Jinja2 text of the template."""
        template = self.tokenizer.chat_template
        return template if isinstance(template, str) else str(self.tokenizer.get_chat_template())

    def wrapped(self, prompt: MarkedText) -> str:
        """Returns the prompt as the user's turn, up to where the assistant's first words begin, with its marks. Raises InputError."""
        return self._rendered(prompt, system=self.system)

    def notes(self) -> list[str]:
        """Returns what a user should know of prompts in this template."""
        notes = []
        if self.is_opened:
            off = " --chat-kwargs enable_thinking=false puts an end to it into the prompt." if self._names("enable_thinking") else ""
            notes.append(
                "The chat template writes a thought, or other text of its own, before an answer, which is no part of the prompt: choices "
                f"are scored as the first words of all.{off}"
            )
        if self._names("strftime_now") and not any("date" in name for name in self.kwargs):
            fix = " --chat-kwargs date_string=… fixes it." if self._names("date_string") else ""
            notes.append(f"The chat template writes today's date into every prompt, so that another day gives other numbers.{fix}")
        return notes

    def _rendered(self, prompt: MarkedText, answer: str | None = None, system: str | None = None) -> str:
        """Returns the conversation, with an answer or up to where it begins. Raises InputError."""
        from jinja2 import TemplateError

        hidden = None if self.spellings is None else HiddenSpellings(self.spellings)
        hide = str if hidden is None else hidden.hide
        turns: list[tuple[str, str]] = [] if system is None else [("system", system)]
        turns += [("user", prompt), *([] if answer is None else [("assistant", answer)])]
        messages = [{"role": role, "content": hide(text)} for role, text in turns]
        try:
            rendered = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=answer is None, **self.kwargs)
        except (TemplateError, TypeError, ValueError, AttributeError, LookupError) as error:
            raise InputError(self._refusal(str(error).rstrip("."))) from error
        return str(rendered) if hidden is None else hidden.restore(str(rendered))

    def _refusal(self, reason: str) -> str:
        what, ways = "a prompt", "leave out --chat-template"
        if self.system is not None:
            what, ways = "the system text, or the prompt", "leave out --system (write it into the instructions)"
        if self.kwargs:
            ways += ", or correct --chat-kwargs"
        return f"The model's chat template refuses {what}: {reason}. To go on, {ways}."

    def _before_answer(self, opening: str) -> str | None:
        """Returns what the template writes between its prompt and an answer; None where it writes the two in another way."""
        try:
            whole = self._rendered(MarkedText(_QUESTION), _ANSWER, self.system)
        except InputError:
            return None
        place = whole.rfind(_ANSWER)
        return str(whole[len(opening) : place]) if whole.startswith(opening) and place >= len(opening) else None

    def _names(self, variable: str) -> bool:
        return re.search(rf"\b{re.escape(variable)}\b", self.source) is not None

    def _check_variable(self, name: str) -> None:
        """Raises UnknownName for a variable that the template does not have: it would have no effect."""
        if name in _SET_HERE:
            raise InputError(f"--chat-kwargs {name}: it is set by the prompt itself; leave it out.")
        if not self._names(name):
            raise UnknownName("variable of the model's chat template", name, sorted(_variables(self.source) - _SET_HERE))


def chat_template_of(
    tokenizer: Any, chat: bool, kwargs: Mapping[str, Any] | None, system: str | None, parse_special: bool
) -> ChatTemplate | None:
    """Returns the chat template that prompts are put into; None without `chat`. Raises as the class, InputError for idle settings."""
    if chat:
        return ChatTemplate(tokenizer, kwargs or {}, system, None if parse_special else SpecialTokens(tokenizer).spellings)
    idle = "--system" if system is not None else "--chat-kwargs" if kwargs else ""
    if idle:
        raise InputError(f"{idle} is for the chat template alone: give --chat-template too, or leave {idle} out.")
    return None


def _variables(source: str) -> set[str]:
    """Returns the variables that a template reads; none where it cannot be parsed here."""
    import jinja2
    import jinja2.meta

    try:
        return jinja2.meta.find_undeclared_variables(jinja2.Environment(extensions=["jinja2.ext.loopcontrols"]).parse(source))
    except jinja2.TemplateSyntaxError:
        return set()
