# Tests on the output of tools/dataset_converters/render_scans.py for Hi4D. Set the environment variable, or change
# this line.
_base_ = './depth_render_people.py'

test_root = '{{$HI4D_ROOT:data/hi4d}}/'
test_dataloader = dict(dataset=dict(type='SapiensHi4DDataset', data_root=test_root))
