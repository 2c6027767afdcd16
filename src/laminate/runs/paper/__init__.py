"""The tables and figures of the papers that are implemented here: what they print, and what gives ours."""
