"""What a migration did to a config, and the arguments of a component under their names here."""
from collections.abc import Iterable
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

    ``complete`` is False where something must be replaced by hand.
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

    def by_hand(self, path: str, text: str) -> None:
        """Notes a part without a counterpart that the config needs."""
        self.not_mapped.append(Note(path, f'{text}; replace it by hand'))
        self.complete = False

    def ask(self, path: str, text: str) -> None:
        """Notes what the user must fill in."""
        self.fill_in.append(Note(path, text))

    def __str__(self) -> str:
        lines = []
        for title, notes in (('changed', self.changed), ('not mapped', self.not_mapped), ('to fill in', self.fill_in)):
            lines += [f'{title}:', *[f'  {note}' for note in notes or ['nothing']]]
        return '\n'.join(lines)


def arguments(config: dict, path: str, report: Report, *, kept: Iterable[str] = (), ignored: Iterable[str] = (),
              **new_names: str) -> dict:
    """The arguments of a component under their names here, without ``type``.

    Args:
        config: The public component.
        path: Its place.
        report: Gets the other arguments; where they are set they are left in place.
        kept: Names that stay.
        ignored: Names of arguments that ours does not need.
        **new_names: New name by public name.
    """
    new_names |= {name: name for name in kept}
    out = {}
    for key, value in config.items():
        if key in new_names:
            out[new_names[key]] = value
        elif key not in ('type', *ignored) and value is not None and value is not False and value not in ((), [], {}):
            report.by_hand(f'{path}.{key}', f'{key}={value!r} of {config.get("type")} has no counterpart')
            out[key] = value
    return out


def check_arguments(config: dict, path: str, report: Report, known: Iterable[str] = ()) -> None:
    """Reports the arguments of a component that the caller leaves out, but for the known ones."""
    arguments(config, path, report, ignored=known)


def converted(config: dict, new: str, path: str, report: Report, **names) -> dict:
    """A component as ``new``; the rest as in :func:`arguments`."""
    if config.get('type') != new:
        report.change(path, f'{config.get("type")} -> {new}')
    return dict(type=new, **arguments(config, path, report, **names))


def no_counterpart(config: dict, path: str, report: Report) -> dict:
    """Reports a component without a counterpart and returns it unchanged."""
    report.by_hand(path, f'{config.get("type")} has no counterpart')
    return config
