"""Report of a config conversion, and the error for configs that cannot be converted."""
from dataclasses import dataclass, field
from typing import NamedTuple


class ConfigError(ValueError):
    pass


class Note(NamedTuple):
    """A remark on a key of a config, such as ``train_dataloader.dataset.pipeline.3``; '' is the whole config."""
    path: str
    text: str

    def __str__(self) -> str:
        return f'{self.path}: {self.text}' if self.path else self.text


@dataclass
class Report:
    """Changes, settings without a counterpart, values to fill in; ``complete`` unless one must be replaced by hand."""
    changed: list[Note] = field(default_factory=list)
    not_mapped: list[Note] = field(default_factory=list)
    fill_in: list[Note] = field(default_factory=list)
    complete: bool = True

    def change(self, path: str, text: str) -> None:
        self.changed.append(Note(path, text))

    def drop(self, path: str, text: str) -> None:
        """Notes a setting without a counterpart that the config does not need."""
        self.not_mapped.append(Note(path, text))

    def by_hand(self, path: str, text: str) -> None:
        """Notes a setting without a counterpart that the config needs."""
        self.not_mapped.append(Note(path, f'{text}; replace it by hand'))
        self.complete = False

    def ask(self, path: str, text: str) -> None:
        self.fill_in.append(Note(path, text))

    def __str__(self) -> str:
        lines = []
        for title, notes in (('changed', self.changed), ('not mapped', self.not_mapped), ('to fill in', self.fill_in)):
            lines += [f'{title}:', *[f'  {note}' for note in notes or ['nothing']]]
        return '\n'.join(lines)
