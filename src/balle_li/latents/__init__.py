"""Ways of coding latents: likelihood in training, integer tables when it ends, encode and decode, side by side in one file."""
