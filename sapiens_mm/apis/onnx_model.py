"""ONNX files of ``sapiens-mm export``, run by ONNX Runtime in place of the models that they were made from."""
import torch
from torch import Tensor

from ..engine.fetch import CheckpointError
from ..utils.files import parse_json
from .models import TaskModel

#: The output of each task; ``pose`` stands for ``pose-17`` and so on.
RAW_OUTPUTS = {'pose': 'heatmaps', 'parts': 'logits', 'depth': 'depth', 'normal': 'normals'}
INPUT = 'images'
#: What is read of the metadata.
METADATA = ('tasks', 'input_size', 'with_decode', 'metainfo', 'codec')


class OnnxNetwork:
    """An ONNX file as a function of images.

    Args:
        path: The file.
        device: ``cuda`` for a GPU; what is computed there starts and ends in host memory all the same.

    Attributes:
        metadata: `METADATA` by name, parsed.

    Raises:
        ImportError: There is no ONNX Runtime.
        CheckpointError: The file cannot be run, or is none of ours.
        ValueError: ONNX Runtime does not know the device.
    """

    def __init__(self, path: str, device: torch.device):
        try:
            import onnxruntime
        except ModuleNotFoundError as error:
            raise ImportError(f"{path} is run by ONNX Runtime ({error}): pip install 'sapiens_mm[export]'") from error
        provider = f'{device.type.upper()}ExecutionProvider'
        if provider not in onnxruntime.get_available_providers():
            raise ValueError(f"this ONNX Runtime has no {provider} for device '{device}'; take device='cpu', or for "
                             'NVIDIA cards pip install onnxruntime-gpu in its place')
        try:
            # Its errors have no common class but Exception.
            options = dict(device_id=device.index or 0) if device.type == 'cuda' else {}
            self._session = onnxruntime.InferenceSession(path, providers=[(provider, options)])
        except Exception as error:
            raise CheckpointError(f'ONNX Runtime cannot run {path}: {str(error).splitlines()[0]}') from error
        found = self._session.get_modelmeta().custom_metadata_map
        try:  # other tools add entries of their own
            self.metadata = {name: parse_json(found[name]) for name in METADATA}
        except (KeyError, ValueError) as error:
            raise CheckpointError(f"{path} does not say what its outputs are; make it with 'sapiens-mm "
                                  "export'") from error
        self.device = device
        self.outputs = [output.name for output in self._session.get_outputs()]

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """Outputs by name of RGB images (B, 3, H, W), 0 to 255 in any dtype."""
        found = self._session.run(None, {INPUT: images.float().cpu().numpy()})
        return {name: torch.from_numpy(array).to(self.device) for name, array in zip(self.outputs, found, strict=True)}


def load_onnx_model(path: str, device: str | torch.device = 'cpu') -> TaskModel:
    """Reads a file of ``sapiens-mm export --format onnx``.

    Args:
        path: The file; large models have another one beside it, ``<path>.data``.
        device: ``'cpu'`` or ``'cuda'``.

    Raises:
        ImportError: There is no ONNX Runtime, or no mmpose to decode keypoints.
        CheckpointError: The file cannot be run, is none of ours, or decodes by itself.
        ValueError: ONNX Runtime does not know the device.
    """
    device = torch.device(device)
    network = OnnxNetwork(path, device)
    metadata = network.metadata
    if metadata['with_decode']:
        raise CheckpointError(f'{path} was exported with --with-decode, and what it puts out can neither be brought to '
                              'other sizes nor averaged; export it without')
    codec, metainfo = None, metadata['metainfo']
    try:
        if metadata['codec'] is not None:
            from ..pose.codec import SapiensUDPHeatmap
            codec = SapiensUDPHeatmap(**metadata['codec'])
            for meta in metainfo.values():  # JSON has no numbers for keys
                meta['keypoint_id2name'] = dict(enumerate(meta['keypoint_id2name'].values()))
        tasks, (height, width) = tuple(metadata['tasks']), metadata['input_size']
        names = {task: RAW_OUTPUTS[task.partition('-')[0]] for task in tasks}
        if not names or not set(names.values()) <= set(network.outputs) or set(metainfo) != set(names):
            raise ValueError(f'tasks are {tasks}, outputs {network.outputs}')
    except (AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} does not say what its outputs are ({error}); make it with 'sapiens-mm "
                              "export'") from error

    def by_task(images: Tensor) -> dict[str, Tensor]:
        outputs = network(images)
        return {task: outputs[name] for task, name in names.items()}

    return TaskModel(tasks, (height, width), metainfo, by_task, path, path, device, codec)
