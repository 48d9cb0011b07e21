"""A network on images of your own: read other layouts, encode, rank, evaluate, export."""
