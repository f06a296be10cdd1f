"""Base of transforms."""
import inspect

from mmcv.transforms import BaseTransform


class SapiensTransform(BaseTransform):
    """Transform whose ``repr`` shows its arguments, which it keeps as attributes of their names."""

    def __repr__(self) -> str:
        arguments = ', '.join(f'{name}={getattr(self, name)!r}' for name in inspect.signature(type(self)).parameters)
        return f'{type(self).__name__}({arguments})'
