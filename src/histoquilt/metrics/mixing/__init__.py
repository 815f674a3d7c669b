"""How well sections mix and domains stay apart in an embedding."""
