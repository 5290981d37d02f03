"""Names of older frameworks, for programs that come from there; nothing of ours depends on them."""
