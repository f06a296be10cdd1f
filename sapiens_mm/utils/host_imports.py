"""Import of mmpretrain beside newer releases of transformers."""
import importlib.util
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def spare_mmpretrain() -> None:
    """Leaves the multimodal models out of mmpretrain, if it is imported later, beside transformers 5.

    mmpretrain 1.2.0 defines them where it finds transformers, and fails with a TypeError beside version 5, in which
    classes that they derive from are elsewhere. mmdet imports mmpretrain, and fails with it.
    """
    name = 'mmpretrain.utils.dependency'  # decides once, when it is imported
    try:
        if int(version('transformers').partition('.')[0]) < 5 or 'mmpretrain' in sys.modules:
            return
    except PackageNotFoundError:
        return
    package = importlib.util.find_spec('mmpretrain')  # which does not import it
    if package is None:
        return
    spec = importlib.util.spec_from_file_location(name, Path(package.submodule_search_locations[0],
                                                             'utils', 'dependency.py'))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if hasattr(module, 'WITH_MULTIMODAL'):
        module.WITH_MULTIMODAL = False
        sys.modules[name] = module
