"""What marey does with a video: the one room that joins video and networks."""
