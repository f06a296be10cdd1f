"""Body parts, depth and normals from one backbone."""
import torch
from mmengine.model import ModuleDict
from mmseg.models.segmentors.base import BaseSegmentor
from mmseg.registry import MODELS
from torch import Tensor

from .depth import SapiensDepthEstimator
from .head import TASKS
from .normal import SapiensNormalEstimator
from .segmentor import SapiensPartsSegmentor, batch_of_test, with_samples, write_predictions

SEGMENTORS = {
    segmentor.task: segmentor
    for segmentor in (SapiensPartsSegmentor, SapiensDepthEstimator, SapiensNormalEstimator)
}


@MODELS.register_module()
class SapiensMultiTask(BaseSegmentor):
    """One backbone with a head for each of several tasks, trained together and run in one pass.

    A data sample that lacks a task's label counts for the other tasks only. To begin with public models, let backbone
    and heads read their parts of them: ``init_cfg=dict(type='Pretrained', checkpoint=..., prefix='decode_head.')`` in a
    head.

    Args:
        backbone: Config of the backbone.
        heads: Task (``parts``, ``depth``, ``normal``) -> config of its ``SapiensDenseHead``.
        loss_weights: Task -> factor of its losses, above 0; by default 1.
        train_cfg: Unused; a runner's config has it.
        test_cfg: ``flip_test``, ``flip_indices`` (see :class:`SapiensPartsSegmentor`). The image is taken whole.
        data_preprocessor: Config of the preprocessor.
        init_cfg: See :class:`mmengine.model.BaseModule`.
    """

    def __init__(self,
                 backbone: dict,
                 heads: dict[str, dict],
                 loss_weights: dict[str, float] | None = None,
                 train_cfg: dict | None = None,
                 test_cfg: dict | None = None,
                 data_preprocessor: dict | None = None,
                 init_cfg: dict | None = None):
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        loss_weights = loss_weights or {}
        if not heads or not set(heads) <= set(SEGMENTORS):
            raise ValueError(f'heads has {sorted(heads)}, but needs one or more of {", ".join(SEGMENTORS)}')
        if not set(loss_weights) <= set(heads):
            raise ValueError(f'loss_weights has {sorted(loss_weights)}, but heads only {sorted(heads)}')
        if not all(weight > 0 for weight in loss_weights.values()):
            raise ValueError(f'loss_weights is {dict(loss_weights)}, but each must be above 0: leave out the head of a '
                             'task that shall not be learnt')
        if (test_cfg or {}).get('mode', 'whole') != 'whole':
            raise ValueError(f"test_cfg has mode='{test_cfg['mode']}', but {type(self).__name__} takes the image whole")
        self.backbone = MODELS.build(backbone)
        # MMEngine's, which draws or loads the weights of what is in it.
        self.heads = ModuleDict({task: MODELS.build({'task': task, **head}) for task, head in heads.items()})
        for task, head in self.heads.items():
            if head.task != task:
                raise ValueError(f"the head of {task} has task='{head.task}': leave task out")
        self.loss_weights = {task: float(loss_weights.get(task, 1.)) for task in heads}
        self.train_cfg = train_cfg
        self.test_cfg = test_cfg

    def extract_feat(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Feature maps of images (B, 3, H, W)."""
        return self.backbone(inputs)

    def encode_decode(self, inputs: Tensor, batch_data_samples: list | None = None) -> dict[str, Tensor]:
        """The heads' outputs (B, C, h, w) by task, at the sizes that they have."""
        feats = self.extract_feat(inputs)
        return {task: head(feats) for task, head in self.heads.items()}

    def _forward(self, inputs: Tensor, data_samples: list | None = None) -> dict[str, Tensor]:
        return self.encode_decode(inputs, data_samples)

    def loss(self, inputs: Tensor, data_samples: list) -> dict[str, Tensor]:
        """Computes the losses of all tasks.

        Args:
            inputs: Normalised images (B, 3, H, W).
            data_samples: B data samples with the labels of one task or more.

        Returns:
            ``{task}.{name}`` for everything that the task's head computes, the losses times the task's weight. A task
            that no sample has a label for is ``{task}.loss_none``, 0 with a gradient of 0 for every parameter.
        """
        feats = self.extract_feat(inputs)
        losses = {}
        for task, head in self.heads.items():
            labelled = [i for i, sample in enumerate(data_samples) if TASKS[task][0] in sample]
            if not labelled:
                # Not left out: all processes must run the same modules, and every parameter needs a gradient.
                losses[f'{task}.loss_none'] = head([feat[:1] for feat in feats]).float().sum() * 0
                continue
            if len(labelled) == len(data_samples):
                chosen = feats
            else:
                chosen = [torch.stack([feat[i] for i in labelled]) for feat in feats]
            found = head.loss(chosen, [data_samples[i] for i in labelled], self.train_cfg)
            for name, value in found.items():
                losses[f'{task}.{name}'] = value * self.loss_weights[task] if 'loss' in name else value
        return losses

    def predict(self, inputs: Tensor, data_samples: list | None = None) -> list:
        """Predicts all tasks in one pass of the backbone.

        Args:
            inputs: Normalised images (B, 3, H, W).
            data_samples: See :meth:`sapiens_mm.dense.segmentor.DenseSegmentor.predict`.

        Returns:
            The data samples with the fields that the tasks' own segmentors write.
        """
        data_samples = with_samples(inputs, data_samples)
        test_cfg = self.test_cfg or {}
        images = batch_of_test(inputs, self.backbone, test_cfg)
        feats = self.extract_feat(images)
        for task, head in self.heads.items():
            write_predictions(SEGMENTORS[task], head(feats), inputs.shape[-2:], images.shape[-2:], data_samples,
                              test_cfg)
        return data_samples
