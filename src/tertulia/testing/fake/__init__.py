"""The inside of the fake model server: what it says on each wire, what it keeps, what it refuses."""
