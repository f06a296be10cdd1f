"""What a migration did to a config, as three lists, and the text that stands for code in what it writes."""
from dataclasses import dataclass, field
from typing import NamedTuple


class MigrationError(ValueError):
    """A config cannot be migrated."""


class Note(NamedTuple):
    """A remark on a place in the public config, such as ``train_dataloader.dataset.pipeline.3``."""
    path: str
    text: str

    def __str__(self) -> str:
        return f'{self.path}: {self.text}'


@dataclass
class Report:
    """What was changed, what could not be mapped, and what the user must fill in.

    ``complete`` is False where something without a counterpart was left in place, since a config without it would be
    another: such a config does not build.
    """
    changed: list[Note] = field(default_factory=list)
    not_mapped: list[Note] = field(default_factory=list)
    fill_in: list[Note] = field(default_factory=list)
    complete: bool = True

    def change(self, path: str, text: str) -> None:
        """Notes a change."""
        self.changed.append(Note(path, text))

    def drop(self, path: str, text: str) -> None:
        """Notes a part without a counterpart that the config can do without."""
        self.not_mapped.append(Note(path, text))

    def keep(self, path: str, text: str) -> None:
        """Notes a part without a counterpart that changes the model or its training.

        The caller leaves it in place, also as an argument that ours does not have, so that the config does not build.
        """
        self.not_mapped.append(Note(path, f'{text} Left as it is; replace it by hand'))
        self.complete = False

    def ask(self, path: str, text: str) -> None:
        """Notes what the user must fill in."""
        self.fill_in.append(Note(path, text))

    def __str__(self) -> str:
        lines = []
        for title, notes in (('changed', self.changed), ('not mapped', self.not_mapped), ('to fill in', self.fill_in)):
            lines += [f'{title}:', *[f'  {note}' for note in notes or ['nothing']]]
        return '\n'.join(lines)


def same(names: str) -> dict[str, str]:
    """A table of arguments that keep their names."""
    return {name: name for name in names.split()}


def renamed(config: dict, path: str, table: dict[str, str | None], report: Report) -> dict:
    """The arguments of a component under their names here, without ``type``.

    Args:
        config: The public component.
        path: Its place.
        table: New name by public name; None for what has no effect here.
        report: Gets the arguments that are not in the table; they are left in place where they are set.
    """
    out = {}
    for key, value in config.items():
        if key == 'type':
            continue
        if key in table:
            if table[key]:
                out[table[key]] = value
        elif value not in (None, False, (), [], {}):
            report.keep(f'{path}.{key}', f'{key}={value!r} is no known argument of {config.get("type")}.')
            out[key] = value
    return out
