"""How a run is made: from a recipe and flags to devices, data, a run folder and what it leaves."""
