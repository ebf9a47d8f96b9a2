"""Chaos: a whole installation is killed, frozen, cut off and starved at random, and then its books must balance."""
