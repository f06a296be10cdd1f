"""Loading of images, with errors that name the file."""

from mmpose.datasets.transforms import LoadImage
from mmpose.registry import TRANSFORMS


@TRANSFORMS.register_module()
class SapiensLoadImage(LoadImage):
    """mmpose's ``LoadImage``, with one clear error for a missing image and one for an image that can't be decoded."""

    def transform(self, results: dict) -> dict | None:
        """Read ``results['img_path']`` into ``results['img']``, unless the image is there already.

        Args:
            results: A sample, with ``img_path`` or with ``img`` (height, width, 3).

        Returns:
            The sample with ``img`` (height, width, 3) in BGR, ``img_shape`` and ``ori_shape`` (height, width).

        Raises:
            FileNotFoundError: If the file doesn't exist.
            ValueError: If it is not an image that the decoder reads.
        """
        if 'img' in results:
            return super().transform(results)
        path = results['img_path']
        try:
            return super().transform(results)
        except FileNotFoundError as error:
            raise FileNotFoundError(f"image '{path}' does not exist. Check the dataset's data_root and data_prefix and "
                                    'file_name in its annotations') from error
        except PermissionError:
            raise
        except Exception as error:  # every decoder has errors of its own
            raise ValueError(f"image '{path}' cannot be decoded ({type(error).__name__}): it is empty, damaged or no "
                             'image. Replace it, or remove its entry from the annotations') from error
