"""The finished codec: model folders, bitstream, entropy coding, transforms, command line and Pillow plugin."""
