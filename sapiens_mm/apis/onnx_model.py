"""Exported ONNX models, run by ONNX Runtime in place of the original model."""
import torch
from torch import Tensor

from ..engine.checkpoint import CheckpointError
from ..tasks import canonical_name, get_task
from ..utils.files import parse_json
from .network import DTYPES, TaskModel

#: Name of the input.
INPUT = 'images'
#: Keys of the metadata.
METADATA = ('tasks', 'input_size', 'with_decode', 'metainfo', 'codec')


class OnnxNetwork:
    """An ONNX file as a function of images on a CPU or CUDA device; inputs and outputs are copied through the host."""

    def __init__(self, path: str, device: torch.device):
        try:
            import onnxruntime
        except ModuleNotFoundError as error:
            raise ImportError(f"{path} needs ONNX Runtime ({error}): pip install 'sapiens_mm[export]'") from error
        provider = f'{device.type.upper()}ExecutionProvider'
        if provider not in onnxruntime.get_available_providers():
            raise ValueError(f"device: got '{device}', which needs {provider}, expected cpu; for NVIDIA GPUs replace "
                             'onnxruntime by onnxruntime-gpu')
        try:
            options = dict(device_id=device.index or 0) if device.type == 'cuda' else {}
            self._session = onnxruntime.InferenceSession(path, providers=[(provider, options)])
        except Exception as error:  # its errors have no other common base class
            raise CheckpointError(f'{path} cannot be run by ONNX Runtime: {str(error).splitlines()[0]}') from error
        stored = self._session.get_modelmeta().custom_metadata_map
        try:
            self.metadata = {name: parse_json(stored[name]) for name in METADATA}
            self.license = parse_json(stored.get('license', 'null'))
            self.dtype = DTYPES[parse_json(stored['dtype'])]
        except (KeyError, ValueError) as error:
            raise CheckpointError(f"{path} has no valid metadata; export it with 'sapiens-mm export'") from error
        self.device = device
        self.outputs = [output.name for output in self._session.get_outputs()]

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        outputs = self._session.run(None, {INPUT: images.float().cpu().numpy()})
        return {name: torch.from_numpy(array).to(self.device)
                for name, array in zip(self.outputs, outputs, strict=True)}


def load_onnx_model(path: str, device: str | torch.device = 'cpu') -> TaskModel:
    """Loads a file of ``sapiens-mm export --format onnx``.

    Raises:
        ImportError: ONNX Runtime is missing, or for keypoints mmpose.
        ValueError: ONNX Runtime does not support the device.
        CheckpointError: The file cannot be run, was not exported by this package, or decodes its outputs itself.
    """
    device = torch.device(device)
    network = OnnxNetwork(path, device)
    metadata = network.metadata
    if metadata['with_decode']:
        raise CheckpointError(f'{path} was exported with --with-decode, whose outputs cannot be resized or averaged; '
                              'export it without')
    try:
        codec, metainfo = None, {canonical_name(task): meta for task, meta in metadata['metainfo'].items()}
        if metadata['codec'] is not None:
            from ..pose.codec import SapiensUDPHeatmap
            codec = SapiensUDPHeatmap(**metadata['codec'])
            for meta in metainfo.values():  # JSON keys are text
                meta['keypoint_id2name'] = dict(enumerate(meta['keypoint_id2name'].values()))
        tasks, (height, width) = tuple(map(canonical_name, metadata['tasks'])), metadata['input_size']
        names = {task: get_task(task).raw_output for task in tasks}
        if not names or not set(names.values()) <= set(network.outputs) or set(metainfo) != set(names):
            raise ValueError(f'tasks {tasks}, outputs {network.outputs}')
    except (AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} has no valid metadata ({error}); export it with 'sapiens-mm export'") from error

    def by_task(images: Tensor) -> dict[str, Tensor]:
        outputs = network(images)
        return {task: outputs[name] for task, name in names.items()}

    return TaskModel(tasks, (height, width), metainfo, by_task, path, path, device, codec, runtime='onnx',
                     dtype=network.dtype, license=network.license)
