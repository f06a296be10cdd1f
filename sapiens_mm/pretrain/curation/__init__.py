"""Selection of images of people from WebDataset shards by the Sapiens paper's rules (arXiv 2408.12569, section 3.1)."""
from .report import merge_reports
from .rules import Rules
from .shards import Detect, check_names, curate_shard, curate_with_ray, finished_report, shard_name
from .tables import read_boxes

__all__ = ['Detect', 'Rules', 'check_names', 'curate_shard', 'curate_with_ray', 'finished_report', 'merge_reports',
           'read_boxes', 'shard_name']
