"""A tiny model (5.5 M parameters in the encoder) pretrained on your photos, on a laptop.

The file data/photos.txt lists the photos, one path per line. This example lists the training images of
docs/datasets.md; images of a test set do not belong in it.
Data:  sed 's|.*|ccp/images/&.jpg|' data/ccp/train.txt > data/photos.txt
       python -c "import json; [print('lsp/images/' + image['file_name']) for name in ('lspet', 'lsp', 'parse') for image in json.load(open(f'data/lsp/annotations/{name}_train.json'))['images']]" >> data/photos.txt
Train: tools/dist_train.sh configs/sapiens_pretrain/photos/sapiens_tiny-2000it_photos-256x192.py 2
Look:  tools/reconstruct.py configs/sapiens_pretrain/photos/sapiens_tiny-2000it_photos-256x192.py \
           work_dirs/sapiens_tiny-2000it_photos-256x192/iter_2000.pth photo.jpg
"""
_base_ = '../synthetic/sapiens_tiny-2000it_synthetic-384x288.py'

# The list of photos, with paths relative to its folder: set the environment variable, or change this line.
photos = dict(_delete_=True, type='list', path='{{$PHOTO_LIST:data/photos.txt}}')

model = dict(backbone=dict(img_size=(256, 192)))
train_dataloader = dict(batch_size=16, dataset=dict(source=photos, size=(256, 192)))
