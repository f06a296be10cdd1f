"""Loading of images whole, upright and of the size that they were annotated at."""
import cv2
from mmengine.fileio import get
from mmpose.datasets.transforms import LoadImage
from mmpose.registry import TRANSFORMS

from ...utils.images import decode
from ...utils.problems import Problem, guide, report


@TRANSFORMS.register_module()
class SapiensLoadImage(LoadImage):
    """mmpose's ``LoadImage``, with one clear error for each way in which a file is not the annotated image.

    The image is turned as its EXIF orientation says, in every format. Its arguments are ``LoadImage``'s, of which
    ``color_type`` and ``imdecode_backend`` have no effect: it decodes to BGR by OpenCV.
    """

    def transform(self, results: dict) -> dict | None:
        """Read ``results['img_path']`` into ``results['img']``, unless the image is there already.

        Args:
            results: A sample, with ``img_path`` or with ``img`` (height, width, 3), and with ``annotated_shape``
                (height, width) if it was annotated.

        Returns:
            The sample with ``img`` (height, width, 3) in BGR, ``img_shape`` and ``ori_shape`` (height, width).

        Raises:
            FileNotFoundError: If the file doesn't exist.
            ValueError: If it cannot be decoded whole, or has another size than was annotated.
        """
        if 'img' not in results:
            results['img'] = self._read(results['img_path'])
        results = super().transform(results)
        expected = results.get('annotated_shape')
        if expected is not None and tuple(expected) != results['img'].shape[:2]:
            height, width = results['img'].shape[:2]
            turned = ', as if its EXIF orientation had been ignored' if tuple(expected) == (width, height) else ''
            report(Problem('image sizes', f"image '{results['img_path']}'", f'{width} x {height} pixels (w x h)',
                           f'{expected[1]} x {expected[0]} as in its annotation{turned}; take the image that was '
                           'annotated, or scale the annotations'))
        return results

    def _read(self, path: str):
        try:
            return decode(get(path, backend_args=self.backend_args), cv2.IMREAD_COLOR)
        except (FileNotFoundError, IsADirectoryError) as error:
            raise FileNotFoundError(f"image '{path}' does not exist. Check the dataset's data_root and data_prefix and "
                                    f'file_name in its annotations. {guide("missing files")}') from error
        except ValueError as error:
            raise ValueError(f"image '{path}' cannot be decoded: {error}. Replace it, or remove its entry from the "
                             f'annotations. {guide("unreadable images")}') from error
