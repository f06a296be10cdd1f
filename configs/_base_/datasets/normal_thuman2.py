# Tests on the output of tools/dataset_converters/render_scans.py for THuman2.0. Set the environment variable, or change
# this line.
_base_ = './normal_render_people.py'

test_root = '{{$THUMAN2_ROOT:data/thuman2}}/'
test_dataloader = dict(dataset=dict(type='SapiensTHuman2Dataset', data_root=test_root))
