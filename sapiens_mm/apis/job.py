"""Inference over sources with counts of what was done and what failed, in this process or in one for each device."""
import errno
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

from ..utils.shards import Make, run_in_processes
from ..utils.text import count
from .boxes import BoxFile, have_area
from .collect import Ended
from .frames import InputError, Source
from .inferencer import SapiensInferencer
from .result import Result
from .streams import prefetch
from .writer import ResultWriter

#: Images of a chunk for each image of a batch. Batches end with a chunk, so that they are the same with any devices.
_BATCHES = 16


@dataclass
class Summary:
    """Counts and messages of a run; ``stopped`` says why it ended early."""
    done: dict[str, int] = field(default_factory=lambda: dict(image=0, frame=0))
    skipped: int = 0  # inputs that were done before
    unread: list[str] = field(default_factory=list)  # messages
    unwritten: dict[str, str] = field(default_factory=dict)  # messages by source
    without_people: int = 0  # images and frames without detected people
    no_area: int = 0  # given boxes without area in their frame
    ended: list[Ended] = field(default_factory=list)  # inputs that the parent collects
    stopped: str = ''

    def add(self, other: 'Summary') -> None:
        for noun, number in other.done.items():
            self.done[noun] += number
        self.unread += other.unread
        self.unwritten |= other.unwritten
        self.without_people += other.without_people
        self.no_area += other.no_area
        self.ended += other.ended
        self.stopped = self.stopped or other.stopped

    def text(self, out: str, boxes: str | None, images_only: bool) -> str:
        done = {noun: number for noun, number in self.done.items() if number}
        done = done or {'image' if images_only else 'frame': 0}
        text = ' and '.join(count(number, noun) for noun, number in done.items()) + f' in {out}'
        if self.without_people:
            text += f', no people in {self.without_people if sum(done.values()) > 1 else "it"}'
            text += ' of them' if sum(done.values()) > 1 else ''
        if self.no_area:
            text += f', {count(self.no_area, "box", "boxes")} of {boxes} without area in the frame (score 0)'
        if self.skipped:
            text += f', {count(self.skipped, "input")} done before'
        if self.stopped:
            text += f'; {self.stopped}; continue with --resume'
        for messages, verb in ((self.unread, 'read'), (self.unwritten.values(), 'written')):
            if messages:
                text += f'; {len(messages)} could not be {verb}:\n  ' + '\n  '.join(messages)
        return text


def chunks(sources: Sequence[Source], batch_size: int) -> Iterator[list[Source]]:
    """Splits sources into lists of images, up to a number of batches, and single videos."""
    chunk: list[Source] = []
    for source in sources:
        if chunk and (source.kind != 'image' or chunk[-1].kind != 'image' or len(chunk) == _BATCHES * batch_size):
            yield chunk
            chunk = []
        chunk.append(source)
    if chunk:
        yield chunk


def process(inferencer: SapiensInferencer, sources: Sequence[Source], boxes: BoxFile | None, writer: ResultWriter,
            stop: threading.Event, say: Callable[[str], None] = lambda message: None,
            advance: Callable[[Result | None], None] = lambda result: None) -> Summary:
    """Runs inference and writes the results until ``stop`` is set or the disk is full.

    ``say`` gets messages of errors at once; ``advance`` gets each result, and None for an unreadable source.
    """
    summary = Summary()

    def not_read(source: Source, error: InputError) -> None:
        summary.unread.append(str(error))
        writer.mark_broken(source, str(error))
        say(f'sapiens-mm: {error}')
        advance(None)

    report_unwritten(writer, summary, say)
    with writer:
        for chunk in chunks(sources, inferencer.batch_size):
            start, before = perf_counter(), sum(summary.done.values())
            chunk = [writer.remaining(source, inferencer.tasks) for source in chunk]
            results = prefetch(inferencer.stream(chunk, boxes, not_read, stop), 2, lambda result: result.nbytes)
            try:
                for result in results:
                    summary.done['image' if result.index is None else 'frame'] += writer.write(result)
                    summary.without_people += boxes is None and not len(result.boxes)
                    summary.no_area += int(np.sum(~have_area(result.boxes, result.image.shape[:2])))
                    advance(result)
                    if stop.is_set() or summary.stopped:
                        break
            finally:
                results.close()
            stopped = stop.is_set() or summary.stopped
            writer.close(complete=not stopped)
            if chunk[0].kind == 'tar' and not stopped:
                writer.end_tar(chunk[0])
            number = sum(summary.done.values()) - before
            ended = writer.take_ended((perf_counter() - start) / number if number else None)
            if writer.collector is None:
                summary.ended += ended
            else:
                writer.collect(ended)
            if stopped or summary.stopped:
                break
    return summary


def report_unwritten(writer: ResultWriter, summary: Summary, say: Callable[[str], None]) -> None:
    """Makes errors in writing part of a summary; a full disk or a lost folder stops the run."""
    def not_written(source: Source, error: OSError) -> None:
        if source.name not in summary.unwritten:  # once for all frames of a video
            summary.unwritten[source.name] = f'{source.name}: {error.strerror or error}'
            say(f'sapiens-mm: cannot write {summary.unwritten[source.name]}')
        summary.stopped = summary.stopped or _disk_problem(writer, error)

    writer.on_error = not_written


def _disk_problem(writer: ResultWriter, error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return 'disk full; free some space'
    try:
        writer.make_folder()
    except OSError as error:
        return str(error)
    return ''


def process_on_devices(makes: Sequence[Make], sources: Sequence[Source], batch_size: int, threads: int,
                       is_stopped: Callable[[], bool]) -> Iterator[tuple[list[Source], Summary]]:
    """Runs a function from chunks of sources to summaries in a process for each of ``makes``.

    Yields chunks with their summaries. The sources of a process that dies are repeated once, each on its own; those on
    which a process dies again count as unreadable.
    """
    lost: list[Source] = []

    def give_back(chunk: list[Source]) -> tuple[list[Source], Summary]:
        lost.extend(chunk)
        return [], Summary()

    def fail(chunk: list[Source]) -> tuple[list[Source], Summary]:
        reason = 'its process died twice, perhaps for lack of memory; use fewer devices or a smaller batch'
        return chunk, Summary(unread=[f'{source.path}: {reason}' for source in chunk],
                              ended=[Ended(source, reason) for source in chunk])

    def until_stopped(items: Iterable) -> Iterator:
        for item in items:
            if is_stopped():
                break
            yield item

    yield from run_in_processes(makes, until_stopped(chunks(sources, batch_size)), threads=threads, died=give_back)
    yield from run_in_processes(makes, until_stopped([source] for source in lost), threads=threads, died=fail)
