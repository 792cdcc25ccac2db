"""What people meet the codec by: the command line, Pillow, and which model they mean when they name none."""
