"""What a machine gives with a network: one clip, the first label, a whole video."""
