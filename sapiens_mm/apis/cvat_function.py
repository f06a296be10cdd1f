"""Function for ``cvat-cli task auto-annotate``: people as skeletons, without files in between.

    cvat-cli task auto-annotate 7 --function-module sapiens_mm.apis.cvat_function -p size=str:1b

It needs ``pip install cvat-cli``, and in the task the skeleton label of ``sapiens-mm convert --to cvat``.
"""
from collections.abc import Sequence
from typing import Any

from ..formats import results
from ..formats.labels import HALF_PIXEL, Labels, keypoint_set, select
from ..tasks import is_pose
from .convert import default_format
from .inferencer import SapiensInferencer
from .model_zoo import default_tasks


class KeypointFunction:
    """A detection function of cvat-sdk; keypoints below the threshold are outside. An ImportError without cvat-sdk."""

    def __init__(self, inferencer: SapiensInferencer, keypoint_format: str = '', keypoint_threshold: float = .3):
        try:
            import cvat_sdk.auto_annotation as cvat
        except ImportError as error:
            raise ImportError(f'cvat_sdk: got no module ({error}), expected cvat-sdk; pip install cvat-cli') from error
        names = tuple(inferencer.metainfo['pose']['keypoint_id2name'].values())
        nobody = Labels('', 1, 1, [], keypoint_set(names))
        self.cvat, self.inferencer, self.threshold = cvat, inferencer, keypoint_threshold
        self.keypoint_format = keypoint_format or default_format('cvat', nobody)
        labels, = select([nobody], self.keypoint_format)
        self.spec = cvat.DetectionFunctionSpec(labels=[cvat.skeleton_label_spec('person', 0, [
            cvat.keypoint_spec(name, index) for index, name in enumerate(labels.keypoint_set.names)])])

    def detect(self, context: Any, image: Any) -> Sequence[Any]:
        """Returns the skeletons of an image of Pillow; people below the context's ``conf_threshold`` are left out."""
        result, = self.inferencer([image])
        labels, = select([results.parse(result.to_json(), result.name, result.name)], self.keypoint_format,
                         self.threshold, context.conf_threshold or 0)
        return [self.cvat.skeleton(0, [
            self.cvat.keypoint(index, point.tolist(), outside=not visible)
            for index, (point, visible) in enumerate(zip(person.keypoints + HALF_PIXEL, person.visible))])
            for person in labels.people]


def create(size: str = '1b', config: str = '', checkpoint: str = '', device: str = '', keypoint_format: str = '',
           keypoint_threshold: float = .3) -> KeypointFunction:
    """Returns the function for parameters of ``cvat-cli``, such as ``-p size=str:tiny -p device=str:cpu``.

    ``config`` and ``checkpoint`` are of your own model; ``keypoint_format`` is one of
    :data:`sapiens_mm.names.KEYPOINT_FORMATS`, by default that of ``sapiens-mm convert --to cvat``.
    """
    weights = (config, checkpoint) if config else checkpoint or None
    inferencer = SapiensInferencer(None if weights else default_tasks(size)[:1], size, weights, device or None)
    return KeypointFunction(inferencer.only(list(filter(is_pose, inferencer.tasks))), keypoint_format,
                            keypoint_threshold)
