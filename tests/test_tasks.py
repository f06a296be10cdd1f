"""Table of tasks: consistent entries, aliases, and the parts that each task needs elsewhere."""
import pytest

from sapiens_mm.tasks import ALIASES, MASKING, TASKS, canonical_name, dense_tasks, get_task, labels


@pytest.mark.parametrize('name', ['poses', '', 'seg-20', 'part'])
def test_unknown_tasks_are_named(name):
    with pytest.raises(ValueError, match=f"got '{name}'"):
        get_task(name)


def test_names_and_aliases():
    assert [get_task(name).name for name in ('pose-308', 'pose', 'seg', 'parts', 'normal')] == [
        'pose', 'pose', 'seg', 'seg', 'normal']
    assert [canonical_name(name) for name in ('parts', 'seg', 'pose-17')] == ['seg', 'seg', 'pose-17']
    assert not ALIASES.keys() & TASKS.keys()
    assert set(ALIASES.values()) <= TASKS.keys()
    assert all(TASKS[name].is_integer for name in MASKING)


@pytest.mark.parametrize('attribute', ['path_key', 'key', 'field', 'folder', 'noun'])
def test_labels_do_not_share_names(attribute):
    assert len({getattr(label, attribute) for label in labels()}) == len(labels())


@pytest.mark.parametrize('name', dense_tasks())
def test_a_dense_task_has_all_its_parts(name):
    from mmseg.registry import MODELS

    import sapiens_mm.dense  # noqa: F401
    from sapiens_mm.dense.metrics.streaming import ScoringMetric
    from sapiens_mm.visualization.maps import DRAWINGS
    task = get_task(name)
    assert task.kind in ('classes', 'mask', 'depth', 'vectors', 'values')
    assert (task.channels is None) == (task.kind == 'classes')
    assert MODELS.get(task.estimator).task in (None, name)
    assert MODELS.get(task.loss)
    assert sum(kind.task == name for kind in ScoringMetric.__subclasses__()) == 1
    assert name in DRAWINGS
