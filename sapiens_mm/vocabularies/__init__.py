"""Names, colours and mirror images of the keypoints and body parts, for every room; plain Python."""
