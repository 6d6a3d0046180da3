"""A finished evaluation for people: its words, its pictures, its page, its folder."""
