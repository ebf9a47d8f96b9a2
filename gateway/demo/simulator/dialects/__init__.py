"""How each kind of upstream spells the protocol, one file each."""
