"""Table of tasks: what a model predicts, and how its labels and predictions are named, stored and filled."""
from dataclasses import dataclass

__all__ = ['ALIASES', 'INSTANCE_LABEL', 'MASKING', 'MASK_LABEL', 'TASKS', 'Label', 'Task', 'canonical_name',
           'dense_tasks', 'get_task', 'is_pose', 'labels']


@dataclass(frozen=True)
class Label:
    """A kind of label file and what becomes of it.

    Attributes:
        path_key: Key of the file's path in a dataset's sample, and of its folder in ``data_prefix``.
        key: Key of the array in a pipeline's results.
        field: Field of the data sample.
        folder: Default folder below ``data_root``.
        fill: Value of pixels without a label.
        noun: Its name in messages, on the web page and in the guide's heading "Invalid <noun>".
        arrays: Whether the files may be arrays (npy, npz, exr), not only images.
    """
    path_key: str
    key: str
    field: str
    folder: str
    fill: int
    noun: str
    arrays: bool = True


@dataclass(frozen=True)
class Task:
    """What a head predicts.

    Attributes:
        name: The release's name: ``'pose'``, ``'seg'``, ``'depth'``, ``'normal'``, ``'foreground'``.
        kind: ``'keypoints'``, ``'classes'`` (argmax over channels), ``'mask'`` (argmax over two channels: 1 on people),
            ``'depth'`` (of unknown scale, small is near, 0 off the person), ``'vectors'`` (of unit length, 0 off the
            person) or ``'values'`` (one channel from 0 to 1).
        result: Attribute of a :class:`~sapiens_mm.apis.result.Result`, key of its maps and drawings, and part of the
            names of saved files.
        raw_output: Name of the exported output before decoding.
        decoded_output: Name of the exported output after decoding.
        title: Title of its visualization.
        label: Its training label; None for keypoints, which mmpose reads.
        pred_field: Field of a prediction in a data sample; None for keypoints.
        channels: Channels of the head's output; None for one per keypoint or class.
        loss: Type of the default loss.
        estimator: Registered type of the single-task model; a dense task's defaults to the one of its head's task.
        bias: Initial bias of the head's last layer.
        flip_signs: Sign of each channel in a mirrored image; None where all keep their sign.
    """
    name: str
    kind: str
    result: str
    raw_output: str
    decoded_output: str
    title: str
    label: Label | None = None
    pred_field: str | None = None
    channels: int | None = None
    loss: str | None = None
    estimator: str = 'SapiensDenseEstimator'
    bias: float = 0.
    flip_signs: tuple[int, ...] | None = None

    @property
    def is_integer(self) -> bool:
        """Whether predictions are uint8, the argmax of the channels: classes, or 1 on people."""
        return self.kind in ('classes', 'mask')


#: Labels that several tasks use.
MASK_LABEL = Label('mask_path', 'gt_person_mask', 'gt_person_mask', 'masks', 0, 'mask', arrays=False)
INSTANCE_LABEL = Label('instance_map_path', 'gt_instance_map', 'gt_instance_map', 'instances', 0, 'instances')
TASKS = {task.name: task for task in (
    Task('pose', 'keypoints', 'keypoints', 'heatmaps', 'keypoints', 'left orange, right blue',
         estimator='SapiensPoseEstimator'),
    Task('seg', 'classes', 'parts', 'logits', 'labels', 'parts',
         label=Label('seg_map_path', 'gt_seg_map', 'gt_sem_seg', 'parts', 255, 'parts'),
         pred_field='pred_sem_seg', loss='mmseg.SapiensWeightedCrossEntropyLoss', estimator='SapiensPartsSegmentor'),
    # SiLog has no gradient where a prediction is not positive, so depth starts from a bias above 0.
    Task('depth', 'depth', 'depth', 'depth', 'depth', 'depth, yellow is near', channels=1, bias=0.5,
         label=Label('depth_map_path', 'gt_depth_map', 'gt_depth_map', 'depths', 0, 'depth'),
         pred_field='pred_depth_map', loss='mmseg.SapiensSiLogLoss', estimator='SapiensDepthEstimator'),
    Task('normal', 'vectors', 'normal', 'normals', 'normals', 'normals', channels=3, flip_signs=(-1, 1, 1),
         label=Label('normal_map_path', 'gt_normal_map', 'gt_normal_map', 'normals', 0, 'normals'),
         pred_field='pred_normal_map', loss='mmseg.SapiensNormalLoss', estimator='SapiensNormalEstimator'),
    Task('foreground', 'mask', 'foreground', 'foreground_logits', 'foreground', 'foreground', channels=2,
         label=MASK_LABEL, pred_field='pred_foreground', loss='mmseg.SapiensWeightedCrossEntropyLoss',
         estimator='SapiensForegroundSegmentor'),
)}
#: Tasks whose predictions bound those of depth and normals, the preferred one first.
MASKING = ('foreground', 'seg')
#: Former names, which configs, checkpoints and commands may still use.
ALIASES = {'parts': 'seg', 'seg-28': 'seg'}


def dense_tasks() -> dict[str, Task]:
    """Returns the tasks with one prediction per pixel by name, in the order in which they are drawn."""
    return {name: task for name, task in TASKS.items() if task.label}


def labels() -> tuple[Label, ...]:
    """Returns all labels: those that several tasks use, then one per dense task."""
    return tuple(dict.fromkeys((MASK_LABEL, INSTANCE_LABEL, *(task.label for task in dense_tasks().values()))))


def canonical_name(name: str) -> str:
    """Returns a task's name for its alias, and any other name unchanged."""
    return ALIASES.get(name, name)


def is_pose(name: str) -> bool:
    """Returns whether a name is ``'pose'`` or a keypoint model's ``'pose-<keypoints>'``."""
    return name == 'pose' or name.startswith('pose-')


def get_task(name: str) -> Task:
    """Returns the entry of a task.

    Args:
        name: A key of `TASKS`, an alias, or a keypoint model's ``'pose-<keypoints>'``.

    Raises:
        ValueError: The task is unknown.
    """
    task = TASKS.get('pose' if is_pose(name) else canonical_name(name))
    if task is None:
        raise ValueError(f"task: got '{name}', expected one of {', '.join(TASKS)}")
    return task
