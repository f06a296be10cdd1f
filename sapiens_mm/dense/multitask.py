"""Multi-task model: one backbone with a dense head for each task."""
import torch
from mmengine.config import Config
from mmengine.model import ModuleDict
from mmseg.models.segmentors.base import BaseSegmentor
from mmseg.registry import MODELS
from torch import Tensor

from ..tasks import ALIASES, canonical_name, dense_tasks
from .estimators import batch_of_test, with_samples, write_predictions


@MODELS.register_module()
class SapiensMultiTask(BaseSegmentor):
    """One backbone with a head for each of several dense tasks, trained together and run in one pass.

    A data sample without a task's label counts for the other tasks only. To start from public models, set
    ``init_cfg=dict(type='Pretrained', checkpoint=..., prefix='decode_head.')`` in a head.

    Args:
        heads: Task (``seg``, ``depth``, ``normal``, ``foreground``) -> config of its ``SapiensDenseHead``.
        loss_weights: Task -> factor of its losses, above 0; 1 by default.
        test_cfg: ``flip_test``, ``flip_indices`` (see :class:`SapiensPartsSegmentor`). Images are predicted whole.
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
        heads, loss_weights = _by_canonical_name(heads), _by_canonical_name(loss_weights)
        if not heads or not heads.keys() <= dense_tasks().keys():
            raise ValueError(f'heads: got {sorted(heads)}, expected one or more of {", ".join(dense_tasks())}')
        if not loss_weights.keys() <= heads.keys():
            raise ValueError(f'loss_weights: got {sorted(loss_weights)}, expected some of heads, {sorted(heads)}')
        if not all(weight > 0 for weight in loss_weights.values()):
            raise ValueError(f'loss_weights: got {loss_weights}, expected values above 0; to skip a task, remove its '
                             'head')
        if (test_cfg or {}).get('mode', 'whole') != 'whole':
            raise ValueError(f"test_cfg.mode: got '{test_cfg['mode']}', expected 'whole' for {type(self).__name__}")
        self.backbone = MODELS.build(backbone)
        # MMEngine's ModuleDict also initializes its modules' weights.
        self.heads = ModuleDict({task: MODELS.build({'task': task, **head}) for task, head in heads.items()})
        for task, head in self.heads.items():
            if head.task != task:
                raise ValueError(f"heads.{task}.task: got '{head.task}', expected '{task}'; remove it")
        self.loss_weights = {task: float(loss_weights.get(task, 1.)) for task in heads}
        self.train_cfg = train_cfg
        self.test_cfg = test_cfg
        self._register_load_state_dict_pre_hook(_rename_heads)

    def extract_feat(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Returns the feature maps of images (B, 3, H, W)."""
        return self.backbone(inputs)

    def encode_decode(self, inputs: Tensor, batch_data_samples: list | None = None) -> dict[str, Tensor]:
        """Returns the head outputs (B, C, h, w) by task, each at its own size."""
        feats = self.extract_feat(inputs)
        return {task: head(feats) for task, head in self.heads.items()}

    def _forward(self, inputs: Tensor, data_samples: list | None = None) -> dict[str, Tensor]:
        return self.encode_decode(inputs, data_samples)

    def loss(self, inputs: Tensor, data_samples: list) -> dict[str, Tensor]:
        """Computes the losses of all tasks for normalized images (B, 3, H, W) with labels of one task or more.

        Returns ``{task}.{name}`` for each value of the task's head, losses times the task's weight. A task without a
        label in the batch has ``{task}.loss_none``, 0 with a gradient of 0 for every parameter.
        """
        feats = self.extract_feat(inputs)
        losses = {}
        for task, head in self.heads.items():
            field = dense_tasks()[task].label.field
            labeled = [i for i, sample in enumerate(data_samples) if field in sample]
            if not labeled:
                # All processes must run the same modules, and every parameter needs a gradient.
                losses[f'{task}.loss_none'] = head([feat[:1] for feat in feats]).float().sum() * 0
                continue
            chosen = feats
            if len(labeled) < len(data_samples):
                chosen = [torch.stack([feat[i] for i in labeled]) for feat in feats]
            for name, value in head.loss(chosen, [data_samples[i] for i in labeled], self.train_cfg).items():
                losses[f'{task}.{name}'] = value * self.loss_weights[task] if 'loss' in name else value
        return losses

    def predict(self, inputs: Tensor, data_samples: list | None = None) -> list:
        data_samples = with_samples(inputs, data_samples)
        test_cfg = self.test_cfg or {}
        images = batch_of_test(inputs, self.backbone, test_cfg)
        feats = self.extract_feat(images)
        for task, head in self.heads.items():
            write_predictions(task, head(feats), inputs.shape[-2:], images.shape[-2:], data_samples, test_cfg)
        return data_samples


def _by_canonical_name(values: dict | None) -> dict:
    """Renames tasks; a former name comes from a config that overrides an inherited head, so its values win."""
    values = values or {}
    renamed = {canonical_name(task): values.get(canonical_name(task)) for task in values}
    for alias in values.keys() & ALIASES.keys():
        value, inherited = values[alias], renamed[ALIASES[alias]]
        both = isinstance(value, dict) and isinstance(inherited, dict)
        renamed[ALIASES[alias]] = Config._merge_a_into_b(value, inherited) if both else value
    return renamed


def _rename_heads(state_dict: dict, prefix: str, *args) -> None:
    for alias, task in ALIASES.items():
        old = f'{prefix}heads.{alias}.'
        for key in [key for key in state_dict if key.startswith(old)]:
            state_dict[f'{prefix}heads.{task}.{key.removeprefix(old)}'] = state_dict.pop(key)
